from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.costs.tokens import TokenModel, _encoding, rule_for

GPT = TokenModel("openai", "gpt-4o")


@pytest.mark.parametrize(
    ("provider", "model", "encoding", "factor"),
    [
        ("openai", "gpt-4o-mini", "o200k_base", "1"),
        ("openai", "gpt-4.1", "o200k_base", "1"),
        ("openai", "gpt-5-mini", "o200k_base", "1"),
        ("openai", "o3", "o200k_base", "1"),
        ("openai", "gpt-4", "cl100k_base", "1"),
        ("openai", "gpt-4-turbo", "cl100k_base", "1"),
        ("openai", "gpt-3.5-turbo", "cl100k_base", "1"),
        ("openai", "text-embedding-3-small", "cl100k_base", "1"),
        ("openai", "gpt-6-luna", "o200k_base", "1"),
        ("openai-compatible", "openai/gpt-oss-20b", "o200k_base", "1"),
        ("openai-compatible", "mistral-large-4", "o200k_base", "1.2"),
        ("openai-compatible", "gemini-3.8-flash", "o200k_base", "1.1"),
        ("anthropic", "claude-3-5-haiku-20241022", "o200k_base", "1.2"),
        ("anthropic", "claude-sonnet-4-20250514", "o200k_base", "1.2"),
        ("anthropic", "claude-haiku-4-5", "o200k_base", "1.2"),
        ("anthropic", "claude-opus-4-6", "o200k_base", "1.2"),
        ("anthropic", "claude-opus-4-7", "o200k_base", "1.55"),
        ("anthropic", "claude-haiku-5-5-20261001", "o200k_base", "1.55"),
        ("anthropic", "claude-fable-5", "o200k_base", "1.55"),
    ],
)
def test_rules(provider: str, model: str, encoding: str, factor: str) -> None:
    rule = rule_for(provider, model)
    assert (rule.encoding, rule.factor) == (encoding, Decimal(factor))


def test_unpublished_tokenizers_are_called_approximate() -> None:
    assert TokenModel("openai", "gpt-6-luna").basis == "approximate: OpenAI's o200k count; this model's own is not published"
    assert GPT.basis == "counted with OpenAI's o200k tokenizer"


def test_text_like_a_special_token_is_text() -> None:
    assert GPT.count("hello <|endoftext|> world") == 9


def test_factor_and_calibration_round_up() -> None:
    assert TokenModel("anthropic", "claude-haiku-4-5").count("hello world") == 3  # 2 × 1.2
    calibrated = TokenModel("anthropic", "claude-haiku-4-5", Decimal("0.5"))
    assert calibrated.count("hello world") == 2
    assert calibrated.margin < TokenModel("anthropic", "claude-haiku-4-5").margin
    assert calibrated.basis.endswith("corrected by 0.500, as measured on finished jobs")


def test_chat_overhead_and_schema() -> None:
    assert GPT.count_chat("", "hello world") == 2 + 3 + 3
    assert GPT.count_chat("be kind", "hello world") == 2 + 2 + 3 + 3 + 3
    assert GPT.count_chat("", "hello world", {"type": "object"}) > GPT.count_chat("", "hello world")


def most(text: str) -> int:
    """Its bytes: no byte-level tokenizer makes more tokens of a text."""
    return len(text.encode("utf-8", "replace"))


@pytest.mark.parametrize("text", ["a" * 1_100_000, " " * 1_100_000, "👩‍👩‍👧" * 60_000, "\U0001f9ff\U000e0041" * 150_000, "x \ud800 y"])
def test_long_and_odd_texts_are_counted(text: str) -> None:
    assert 0 < GPT.count(text) <= most(text)


def test_cutting_changes_next_to_nothing() -> None:
    text = "Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich.\n" * 2500  # 145,000 characters: three cuts
    whole = len(_encoding("o200k_base").encode_ordinary(text))
    assert abs(GPT.count(text) - whole) <= 4


@settings(max_examples=50)
@given(st.text(max_size=300))
def test_no_count_exceeds_the_bound(text: str) -> None:
    assert GPT.count_chat(text, text) <= 2 * (most(text) + 3) + 3
