"""The models that the sandbox knows, by manner. Any name that starts with `sandbox-` is known to both."""

from __future__ import annotations

OPENAI = {
    "gpt-6.2-astra": 400_000,
    "gpt-6.2-sol": 400_000,
    "gpt-6.1-sol": 400_000,
    "gpt-6.1-terra": 400_000,
    "gpt-6-astra": 400_000,
    "gpt-6-sol": 400_000,
    "gpt-6-luna": 400_000,
    "gpt-5.6-sol": 400_000,
    "gpt-5.6-terra": 400_000,
    "gpt-5.6-luna": 400_000,
    "gpt-5.5": 400_000,
    "gpt-5.4": 400_000,
    "gpt-5.4-mini": 400_000,
    "text-embedding-3-small": 8_192,
    "text-embedding-3-large": 8_192,
    "omni-moderation-latest": 32_768,
}
ANTHROPIC = {
    "claude-opus-5-5": 64_000,
    "claude-sonnet-5-5": 64_000,
    "claude-haiku-5-5": 64_000,
    "claude-opus-5": 64_000,
    "claude-sonnet-5": 64_000,
    "claude-haiku-4-5": 64_000,
}
DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}
CONTEXT_TOKENS = 200_000


def plain(model: str) -> str:
    """The model's name without the orders behind `+`."""
    return model.split("+", 1)[0]


def known(model: object, manner: str) -> bool:
    """Whether the manner ("openai" | "anthropic") offers the model."""
    if not isinstance(model, str):
        return False
    name = plain(model)
    return name.startswith("sandbox-") or name in (OPENAI if manner == "openai" else ANTHROPIC)


def writes_cache_at_a_price(model: str) -> bool:
    """OpenAI counts cache writes apart from GPT-5.6 on."""
    return model.startswith(("gpt-6", "gpt-5.6", "sandbox-"))


def refuses_max_tokens(model: str) -> bool:
    """Chat models from GPT-5 on take `max_completion_tokens` only."""
    return model.startswith(("gpt-5", "gpt-6"))
