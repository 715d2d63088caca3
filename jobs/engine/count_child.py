"""The child process that counts tokens: the tokenizer takes 135 MB, which neither the web process nor a worker keeps."""

from __future__ import annotations

from typing import Any

from jobs.costs.tokens import count_all


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """`texts` → `counted`: each text with its tokens by encoding."""
    return {"counted": count_all(request["texts"])}
