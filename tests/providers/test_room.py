"""What headers say of the room that is left."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jobs.providers.base import Endpoint, RequestSpec
from jobs.providers.registry import provider_for
from jobs.providers.room import Room, room_of
from tests.contract.wire import Reply, Wire

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "room"),
    [
        ({}, None),
        ({"x-ratelimit-remaining-requests": "soon"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "59",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "149984",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            Room(59, 1.0, 149_984, 360.0),
        ),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "120ms"}, Room(0, 0.12)),
        ({"x-ratelimit-remaining-tokens": "7"}, Room(tokens=7)),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "7.5"}, Room(3, 7.5)),
        (
            {"anthropic-ratelimit-requests-remaining": "4", "anthropic-ratelimit-requests-reset": "2026-11-21T12:00:30Z"},
            Room(4, 30.0),
        ),
    ],
)
def test_rooms(headers: dict[str, str], room: Room | None) -> None:
    assert room_of(headers, NOW) == room


def test_the_tightest_of_anthropics_token_limits_counts() -> None:
    headers = {
        "anthropic-ratelimit-tokens-remaining": "90000",
        "anthropic-ratelimit-input-tokens-remaining": "50000",
        "anthropic-ratelimit-output-tokens-remaining": "800",
        "anthropic-ratelimit-output-tokens-reset": "2026-11-21T12:00:05Z",
    }
    assert room_of(headers, NOW) == Room(None, None, 800, 5.0)


def test_an_adapter_keeps_what_the_last_answer_said() -> None:
    wire = Wire()
    try:
        said = {"x-ratelimit-remaining-requests": "2", "x-ratelimit-reset-requests": "20s"}
        body = {"id": "c", "choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
        wire.on("POST", "/v1/chat/completions", Reply(body, headers=said), Reply(body))
        provider = provider_for(Endpoint("openai", f"{wire.url}/v1", "sk-test-1", allow_private=True))
        line = provider.encoder(RequestSpec("generate", "gpt-6-luna"))("a-1", "", "x")
        assert provider.room is None
        provider.call(line, RequestSpec("generate", "gpt-6-luna"))
        assert provider.room == Room(2, 20.0)
        provider.call(line, RequestSpec("generate", "gpt-6-luna"))
        assert provider.room == Room(2, 20.0)
        provider.close()
    finally:
        wire.close()
