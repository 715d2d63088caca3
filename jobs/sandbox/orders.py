"""Faults on order: the grammar behind a model's `+`, and which row of a batch each order falls on.

    model "+" order {"," order}        order = name ["=" value]

A row order's value is a share (`5%`, drawn by the hash of the request body), a number of rows (`3`, the first rows that no
earlier order took) or one row (`#7`, the 7th); without a value it falls on every row. A batch order's value is its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from jobs.sandbox.models import plain

# Rows that get an error instead of an answer: (OpenAI status, type, code, param, message), (Anthropic status, type, message).
ERRORS: dict[str, tuple[tuple[int, str, str | None, str | None, str], tuple[int, str, str]]] = {
    "errors": (
        (500, "server_error", "server_error", None, "The server had an error while processing your request."),
        (500, "api_error", "Internal server error"),
    ),
    "ratelimit": (
        (429, "requests", "rate_limit_exceeded", None, "Rate limit reached for requests. Please try again later."),
        (429, "rate_limit_error", "This request would exceed your rate limit. Please try again later."),
    ),
    "overloaded": (
        (503, "server_error", "server_overloaded", None, "The engine is currently overloaded, please try again later."),
        (529, "overloaded_error", "Overloaded"),
    ),
    "timeout": (
        (504, "server_error", "timeout", None, "The request timed out."),
        (504, "timeout_error", "The request timed out."),
    ),
    "resource": (
        (429, "server_error", "resource_unavailable", None, "Resource unavailable. Please try again later."),
        (529, "overloaded_error", "Overloaded"),
    ),
    "quota": (
        (429, "insufficient_quota", "insufficient_quota", None, "You exceeded your current quota, check your plan and billing details."),
        (402, "billing_error", "Your account has reached its spend limit."),
    ),
    "credit": (
        (429, "insufficient_quota", "insufficient_quota", None, "You exceeded your current quota, check your plan and billing details."),
        (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    ),
    "context": (
        (400, "invalid_request_error", "context_length_exceeded", "messages", "This model's maximum context length is 400000 tokens."),
        (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
    ),
    "invalid": (
        (400, "invalid_request_error", "invalid_value", "messages", "Invalid value in 'messages'."),
        (400, "invalid_request_error", "messages.0.content: value is not valid"),
    ),
    "invalid_prompt": (
        (
            400,
            "invalid_request_error",
            "invalid_prompt",
            None,
            "Invalid prompt: your prompt was flagged as potentially violating our policy.",
        ),
        (400, "invalid_request_error", "Output blocked by content filtering policy"),
    ),
    "model_gone": (
        (404, "invalid_request_error", "model_not_found", "model", "The model does not exist or you do not have access to it."),
        (404, "not_found_error", "model: no such model"),
    ),
    "auth": (
        (401, "invalid_request_error", "invalid_api_key", None, "Incorrect API key provided."),
        (401, "authentication_error", "API key is invalid."),
    ),
}
# Rows that get an answer that is not what was asked for; each is paid.
ANSWERS = frozenset(
    [
        "filter",
        "refusal",
        "cutoff",
        "badschema",
        "notjson",
        "empty",
        "nul",
        "surrogate",
        "u2028",
        "u0085",
        "huge",
        "nan",
        "bigint",
        "deep",
        "wrong_model",
    ]
)
# What happens to a row's line in the result file. `missing` and the like were executed (and billed) or not, as the name says.
LINES = frozenset(
    ["missing", "lost", "expired", "cancelled", "status0", "unknowntype", "broken", "duplicate", "conflict", "stray", "glued", "blank"]
)
ROWS = frozenset(ERRORS) | ANSWERS | LINES
BATCH = frozenset(
    [
        "slow",
        "once",
        "never",
        "stuck",
        "expire",
        "cancel",
        "fail",
        "status",
        "counts",
        "ids",
        "emptyerror",
        "noshuffle",
        "crlf",
        "bom",
        "notail",
        "broke",
        "create",
        "content",
    ]
)


# One word for what a first visit should meet: some rows pass by themselves in an automatic round, some wait for a person's click.
FLAKY = "errors=4%,badschema=12%,once"  # on the sample: four rows of each


class BadOrder(ValueError):
    """An order that the grammar does not know."""


@dataclass(frozen=True, slots=True)
class RowOrder:
    """One row order: falls on a share of the rows, on the first `count`, or on row `at` (from 0)."""

    name: str
    share: float = 1.0
    count: int | None = None
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Orders:
    """What was ordered for one batch or one model: row orders in their order, batch orders by name."""

    rows: tuple[RowOrder, ...] = ()
    batch: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """A batch order's value, "" where it has none, None where it was not ordered."""
        return dict(self.batch).get(name)

    def draw(self, index: int, digest: bytes) -> str | None:
        """The order that falls on the row at `index` of its file whose body has `digest`, or None."""
        first, floor = 0, 0.0
        luck = int.from_bytes(digest[:6], "big") / (1 << 48)
        for order in self.rows:
            if order.at is not None:
                if order.at == index:
                    return order.name
            elif order.count is not None:
                if first <= index < first + order.count:
                    return order.name
                first += order.count
            else:
                if floor <= luck < floor + order.share:
                    return order.name
                floor += order.share
        return None


def _row_order(name: str, value: str) -> RowOrder:
    if not value:
        return RowOrder(name)
    if value.endswith("%"):
        return RowOrder(name, share=float(value[:-1]) / 100)
    if value.startswith("#"):
        return RowOrder(name, at=int(value[1:]) - 1)
    return RowOrder(name, count=int(value))


def parse(text: str) -> Orders:
    """Orders from text without the model's name. Raises BadOrder with a sentence that names what is wrong."""
    rows: list[RowOrder] = []
    batch: list[tuple[str, str]] = []
    pieces = [piece.strip() for piece in text.split(",")]
    for part in filter(None, ",".join(FLAKY if piece == "flaky" else piece for piece in pieces).split(",")):
        name, _, value = part.partition("=")
        if name in BATCH:
            batch.append((name, value))
        elif name in ROWS:
            try:
                rows.append(_row_order(name, value))
            except ValueError as error:
                raise BadOrder(f"{part}: expected a share (5%), a number of rows (3) or one row (#7)") from error
        else:
            raise BadOrder(f"{name}: no such order")
    return Orders(tuple(rows), tuple(batch))


def text_of(model: str) -> str:
    """The orders in a model's name, as text ("" for none)."""
    return model[len(plain(model)) + 1 :]


def seconds(value: str) -> float:
    """`10s`, `2m`, `1h` or a plain number of seconds."""
    units = {"s": 1, "m": 60, "h": 3600}
    return float(value[:-1]) * units[value[-1]] if value[-1:] in units else float(value)


def share(value: str, default: float = 0.5) -> float:
    """`30%` as 0.3; `default` where there is no value."""
    return float(value.rstrip("%")) / 100 if value else default
