"""Every page as every role: no secret in it (S12), foreign text is text (S17), the headers (S20, S24); and what templates may not do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from batchui.keyfiles import read_or_make
from jobs.engine.connections import save_connection
from jobs.models import Connection
from tests.security.test_matrix import BACKEND, RULES
from tests.security.world import World, build

ROOT = Path(settings.BASE_DIR)
TAGS = ["script", "img", "svg", "iframe", "object", "embed", "video", "audio", "math", "base", "details", "form", "input", "button"]
TAGS += ["select", "textarea", "a", "link", "meta", "style", "marquee", "body", "isindex"]
PAYLOADS = [
    "<script>x(1)</script>",
    "</script><script>x(2)</script>",
    "<img src=x onerror=x(3)>",
    '"><img src=x onerror=x(4)>',
    "'><svg onload=x(5)>",
    '" autofocus onfocus="x(6)',
    "' onmouseover='x(7)",
    "<svg/onload=x(8)>",
    "<iframe src=javascript:x(9)>",
    '<a href="javascript:x(10)">go</a>',
    "javascript:x(11)",
    "</title><script>x(12)</script>",
    "</textarea><script>x(13)</script>",
    "<!--><script>x(14)</script>-->",
    "{{ 7*7 }}<b>15</b>",
    "{% debug %}<i>16</i>",
    "<math><mtext></mtext><x onclick=x(17)>",
    "<base href=//evil.example/>",
    '<div hx-get="/costs/" hx-trigger="load">19</div>',
    '<div data-hx-on="load:x(20)">20</div>',
    "</script ><ScRiPt>x(21)</sCrIpT>",
    "<details open ontoggle=x(22)>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<style>*{display:none}</style>",
    "<form action=//evil.example><button>25</button></form>",
    *[f"<{tag} id=evil{i} onload=x({i}) src=//evil.example/{i}>" for i, tag in enumerate(TAGS, 26)],
]
LINKS = ("href", "src", "action", "formaction", "hx-get", "hx-post")


class Nodes(HTMLParser):
    """What a browser would make of a page: everything in it that runs, calls out or was not written by us."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("iframe", "object", "embed", "img", "base", "style", "math", "video", "audio", "marquee", "isindex", "x"):
            self.found.append(f"<{tag}>")
        if tag == "script" and not given.get("src", "").startswith("/static/") and given.get("type") != "application/json":
            self.found.append("<script>")
        for name, value in given.items():
            if name == "style" or name.startswith(("on", "hx-on", "data-hx-")):
                self.found.append(f"{tag} {name}=")
            if name in LINKS and value and not value.startswith(("/", "#", "?", "data:")):
                self.found.append(f"{tag} {name}={value[:60]}")
        if given.get("id", "").startswith("evil"):
            self.found.append(f"#{given['id']}")


def names() -> Iterator[str]:
    """Hostile names, another one each time."""
    while True:
        yield from PAYLOADS


def hostile_table() -> bytes:
    """Every payload as a cell, some as headers."""
    quoted = ['"' + text.replace('"', '""') + '"' for text in PAYLOADS]
    header = f"ticket,text,{quoted[0]},{quoted[3]}"
    return "\n".join([header, *(f"{i},{text},{text},x" for i, text in enumerate(quoted))]).encode() + b"\n"


@pytest.fixture
def hostile(people: Any, sandbox: Any, data_folder: Any) -> World:
    """All that a person or a provider can name is hostile; so are the names of the workspace and of its people."""
    some = names()
    people.home.name = PAYLOADS[3]
    people.home.save()
    return build(people, sandbox, lambda plain: f"{next(some)}", hostile_table())


def pages(world: World, client: Client) -> Iterator[tuple[str, Any]]:
    """Each address by GET, whole and as htmx asks for its part."""
    for name, (get, _) in RULES.items():
        if get is None:
            continue
        for part in (False, True):
            headers = {"HX-Request": "true"} if part else {}
            yield f"{name}{' part' if part else ''}", client.get(world.url(name), headers=headers)


def test_hostile_names_and_cells_are_text_on_every_page(hostile: World, people: Any, client: Client) -> None:
    client.force_login(people.owner, backend=BACKEND)
    wrong, seen = {}, set()
    for name, response in pages(hostile, client):
        assert response.status_code < 500, name
        if not response.get("Content-Type", "").startswith("text/html"):
            continue
        text = response.content.decode()
        nodes = Nodes()
        nodes.feed(text)
        if nodes.found:
            wrong[name] = sorted(set(nodes.found))[:6]
        seen |= {payload for payload in PAYLOADS if payload.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")[:12] in text}
    assert wrong == {}
    assert len(seen) > 40  # the corpus did reach the pages


def test_no_page_holds_a_secret(people: Any, sandbox: Any, data_folder: Any, client: Client) -> None:
    world = build(people, sandbox)
    keys = ["sk-proj-CANARYCANARYCANARY0001", "sk-ant-CANARYCANARYCANARY0002", "none-CANARYCANARY0003"]
    for key, kind in zip(keys, ("openai", "anthropic", "openai-compatible"), strict=True):
        save_connection(people.home, people.owner, name=f"C {kind}", kind=kind, base_url=sandbox.openai_url, key=key, by_operator=True)
    sealed = list(Connection.objects.values_list("sealed_key", flat=True))
    canaries = [
        *keys,
        "sk-test-1234567890",
        settings.SECRET_KEY,
        *sealed,
        people.owner.password,
        people.viewer.password,
        *settings.SEAL_KEYS,
    ]
    seal = Path(settings.DATA) / "seal.key"
    if seal.exists():
        canaries.append(read_or_make(seal))
    assert all(len(canary) > 12 for canary in canaries)
    leaks = {}
    for person in ("viewer", "analyst", "owner"):
        client.force_login(getattr(people, person), backend=BACKEND)
        for name, response in pages(world, client):
            body = b"".join(response.streaming_content) if response.streaming else response.content
            whole = body.decode("utf-8", "replace") + str(dict(response.items()))
            if found := [canary[:12] for canary in canaries if canary in whole]:
                leaks[f"{person}: {name}"] = found
    assert leaks == {}


def test_a_refused_key_is_not_printed_back(as_owner: Any, people: Any, data_folder: Any) -> None:
    key = "sk-CANARY with a space"
    response = as_owner.post("/connections/new/", {"name": "", "kind": "openai", "key": key})
    assert response.status_code == 422
    assert "CANARY" not in response.content.decode()


POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)
HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def test_headers_on_every_address(people: Any, sandbox: Any, data_folder: Any, client: Client) -> None:
    world = build(people, sandbox)
    client.force_login(people.owner, backend=BACKEND)
    wanted = set(POLICY.split("; "))
    wrong = {}
    for name, response in [*pages(world, client), ("nowhere", client.get("/nowhere/")), ("sign-in", Client().get("/sign-in/"))]:
        missing = {header: response.get(header) for header, value in HEADERS.items() if response.get(header) != value}
        if not wanted <= set(response.get("Content-Security-Policy", "").split("; ")):  # a download may be stricter
            missing["Content-Security-Policy"] = response.get("Content-Security-Policy")
        if "no-store" not in response.get("Cache-Control", ""):
            missing["Cache-Control"] = response.get("Cache-Control")
        if "HX-Request" not in response.get("Vary", ""):
            missing["Vary"] = response.get("Vary")
        if missing:
            wrong[name] = missing
    assert wrong == {}


def test_templates_and_code_never_switch_escaping_off() -> None:
    banned = re.compile(r"\|\s*safe\b|\bmark_safe\b|autoescape\s+off|\bsafeseq\b")
    sources = [*(ROOT / "templates").rglob("*.html"), *(ROOT / "jobs").rglob("*.py"), *(ROOT / "batchui").rglob("*.py")]
    found = {str(path.relative_to(ROOT)): match[0] for path in sources if (match := banned.search(path.read_text()))}
    assert found == {}
