"""Which adapter speaks to which kind of provider. Importing this imports no SDK and opens nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from jobs.errors import BadInput
from jobs.providers import anthropic_lines, openai_lines, openai_requests
from jobs.providers.base import Abilities, Answer, Encoder, Endpoint, Limits, Plain, Provider, RequestSpec
from jobs.words import ProviderKind


@dataclass(frozen=True, slots=True)
class _Entry:
    adapter: str  # module:class
    limits: Limits
    abilities: Abilities
    encoder: Callable[[RequestSpec], Encoder]
    decode: Callable[[bytes, RequestSpec], Answer]
    plain: Callable[[bytes], Plain | None] = lambda line: None


_ENTRIES: dict[str, _Entry] = {
    ProviderKind.OPENAI: _Entry(
        "openai:OpenAIProvider",
        Limits(requests_per_batch=50_000, bytes_per_batch=200_000_000, creates_per_minute=30),  # 2,000 creates an hour
        Abilities(flex=True),
        openai_requests.make_openai_encoder,
        openai_lines.decode,
        openai_lines.plain,
    ),
    ProviderKind.ANTHROPIC: _Entry(
        "anthropic:AnthropicProvider",
        Limits(requests_per_batch=100_000, bytes_per_batch=250_000_000, creates_per_minute=60),  # 256 MB, some left for the envelope
        Abilities(metadata=False, serial_creates=True, embeddings=False, result_days=29, results_from="creation"),
        anthropic_lines.make_encoder,
        anthropic_lines.decode,
    ),
    # The smallest figures among those seen at compatible servers (Groq, Together, Parasail: 50,000 and 100 MB).
    ProviderKind.OPENAI_COMPATIBLE: _Entry(
        "compatible:CompatibleProvider",
        Limits(requests_per_batch=50_000, bytes_per_batch=100_000_000),
        Abilities(),
        openai_requests.make_compatible_encoder,
        openai_lines.decode,
        openai_lines.plain,
    ),
}


def _entry(kind: str) -> _Entry:
    try:
        return _ENTRIES[kind]
    except KeyError:
        raise BadInput(f"“{kind}” is not a known kind of provider.") from None


def provider_for(endpoint: Endpoint) -> Provider:
    """An adapter for the endpoint. The SDK is imported here, at the first use."""
    module, name = _entry(endpoint.kind).adapter.split(":")
    provider: Provider = getattr(import_module(f"jobs.providers.{module}"), name)(endpoint)
    return provider


def limits_of(kind: str) -> Limits:
    return _entry(kind).limits


def abilities_of(kind: str) -> Abilities:
    return _entry(kind).abilities


def encoder_for(kind: str, spec: RequestSpec) -> Encoder:
    """A function that writes one request line. Raises BadInput for what cannot be said to the API."""
    return _entry(kind).encoder(spec)


def decoder_for(kind: str) -> Callable[[bytes, RequestSpec], Answer]:
    """The function that reads one result line: pure, so that collecting needs neither key nor network."""
    return _entry(kind).decode


def plain_decoder_for(kind: str) -> Callable[[bytes], Plain | None]:
    """A quick function for the commonest lines: what it says is what the decoder says of them; None where the decoder has to look."""
    return _entry(kind).plain
