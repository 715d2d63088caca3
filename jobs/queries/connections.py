"""What the pages of connections show."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from django.db.models import Count, Q

from jobs.models import Connection, Workspace
from jobs.words import BatchState, Look, ProviderKind

WELL = Look("Works", "good", "check")
FAILED = Look("Does not work", "bad", "cross")
UNTESTED = Look("Not tested", "neutral", "circle")
NEEDS = Look("Needs you", "warn", "alert")
OWN_HOSTS = {ProviderKind.OPENAI: "api.openai.com", ProviderKind.ANTHROPIC: "api.anthropic.com"}
OPEN_BATCHES = ~Q(batches__state__in=[state.value for state in BatchState if state.terminal]) & Q(batches__isnull=False)


@dataclass(frozen=True, slots=True)
class ConnectionLine:
    """A connection as the list shows it; `sentence` says how the last test or call went."""

    connection: Connection
    kind: str
    host: str
    look: Look
    sentence: str
    n_live: int


@dataclass(frozen=True, slots=True)
class Learned:
    """A limit that the provider's refusals taught."""

    model: str
    enqueued_tokens: int


def host_of(connection: Connection) -> str:
    """Where it calls: the host, and the port where it is unusual."""
    if not connection.base_url:
        return OWN_HOSTS.get(ProviderKind(connection.kind), "")
    return urlsplit(connection.base_url).netloc


def look_of(connection: Connection) -> Look:
    if connection.test_ok is False:
        return FAILED
    if connection.problem:
        return NEEDS
    return WELL if connection.test_ok else UNTESTED


def sentence_of(connection: Connection) -> str:
    if connection.problem:
        return connection.problem
    return connection.test_result or "Nobody has tried it yet."


def line_of(connection: Connection, n_live: int) -> ConnectionLine:
    kind = ProviderKind(connection.kind).label
    return ConnectionLine(connection, kind, host_of(connection), look_of(connection), sentence_of(connection), n_live)


def connection_lines(workspace: Workspace) -> list[ConnectionLine]:
    """All that are in use, those that need a person first, the sandbox last."""
    found = (
        Connection.objects.filter(workspace=workspace, archived_at__isnull=True)
        .annotate(n_live=Count("batches", filter=OPEN_BATCHES))
        .order_by("is_sandbox", "name")
    )
    lines = [line_of(connection, connection.n_live) for connection in found]
    return sorted(lines, key=lambda line: line.look not in (FAILED, NEEDS))


def connection_line(pk: UUID) -> ConnectionLine:
    found = Connection.objects.annotate(n_live=Count("batches", filter=OPEN_BATCHES)).get(pk=pk)
    return line_of(found, found.n_live)


def learned_of(connection: Connection) -> list[Learned]:
    limits = connection.learned.get("enqueued_tokens", {})
    return [Learned(model, tokens) for model, tokens in sorted(limits.items()) if isinstance(tokens, int)]
