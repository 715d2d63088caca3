"""The filter of a job's rows, as it stands in an address: kinds, causes, rounds, answer fields, words."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import QueryDict

from jobs.errors import BadInput
from jobs.rows.query import Filter
from jobs.words import PENDING, Cause, OutcomeKind

KINDS = (*(kind.value for kind in OutcomeKind), PENDING)
CAUSES = tuple(cause.value for cause in Cause)
ANSWER = "answer."
MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class RowFilter:
    """A filter and its way back into an address. `field` and `value` are the pair of the free field of the form."""

    filter: Filter

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Names and values of the address, in one order, so that one filter has one address."""
        found = self.filter
        pairs = [("kind", kind) for kind in found.kinds] + [("cause", cause) for cause in found.causes]
        pairs += [("round", str(number)) for number in found.rounds]
        pairs += [(f"{ANSWER}{name}", value) for name, value in found.answer]
        return pairs + ([("q", found.text)] if found.text else [])

    @property
    def query(self) -> str:
        return urlencode(self.pairs)

    def without(self, name: str, value: str) -> str:
        """The address without one of its parts."""
        return "?" + urlencode([pair for pair in self.pairs if pair != (name, value)])

    @property
    def words(self) -> list[tuple[str, str]]:
        """Each part in words, with the address that takes it away."""
        return [(_word(name, value), self.without(name, value)) for name, value in self.pairs]


def _word(name: str, value: str) -> str:
    if name == "kind":
        return "Pending" if value == PENDING else OutcomeKind(value).look.label
    if name == "cause":
        return Cause(value).label
    if name == "round":
        return f"Round {value}"
    return f"“{value}”" if name == "q" else f"{name.removeprefix(ANSWER)} is {value}"


def row_filter(query: QueryDict) -> RowFilter:
    """Read the filter of an address. Raises BadInput for a kind, cause or round that there is not."""
    kinds = tuple(dict.fromkeys(filter(None, query.getlist("kind"))))
    causes = tuple(dict.fromkeys(filter(None, query.getlist("cause"))))
    if bad := [kind for kind in kinds if kind not in KINDS] or [cause for cause in causes if cause not in CAUSES]:
        raise BadInput(f"There is no outcome “{bad[0][:60]}”.", "Choose one from the list.")
    try:
        rounds = tuple(dict.fromkeys(int(number) for number in query.getlist("round") if number))
    except ValueError as error:
        raise BadInput("A round is a number.", "Choose one from the list.") from error
    answer = tuple(
        (name.removeprefix(ANSWER), value) for name in query if name.startswith(ANSWER) for value in query.getlist(name) if value
    )
    field, value = query.get("field", ""), query.get("value", "")
    if field and value:
        answer = (*answer, (field, value))
    text = query.get("q", "").strip()
    if len(text) > MAX_TEXT or any(len(value) > MAX_TEXT for _, value in answer):
        raise BadInput(f"A search has at most {MAX_TEXT} characters.")
    return RowFilter(Filter(kinds=kinds, causes=causes, answer=answer, text=text.replace("\0", ""), rounds=rounds))


def whole_number(text: str) -> int | None:
    """A number of an address, None for anything else. `isdigit` alone lets ² through, and Python refuses to read 5,000 digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def page_number(query: QueryDict) -> int:
    """`page` of an address, from 1; what is no number is the first page."""
    text = query.get("page", "1")
    return max(1, whole_number(text) or 1)
