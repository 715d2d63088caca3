"""What may go wrong, as shown to a person: what happened, why, what to do now."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.words import Cause


class BatchuiError(Exception):
    """An error whose text may be shown to a person."""


class BadInput(BatchuiError):
    """What a person gave cannot be used. `message` says what, `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message if not hint else f"{message} {hint}")
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file: 1-based line, and what was found there against what was expected."""

    line: int | None = None
    found: str = ""
    expected: str = ""


class BadTable(BadInput):
    """A table that cannot be read."""

    def __init__(self, message: str, where: Where = Where(), hint: str = "") -> None:
        super().__init__(message, hint)
        self.where = where


class BadTemplate(BadInput):
    """A template that cannot be used; `line` is 1-based."""

    def __init__(self, message: str, line: int | None = None, hint: str = "") -> None:
        super().__init__(message, hint)
        self.line = line


class ProviderError(BatchuiError):
    """A call to a provider that did not give what was asked.

    `definite` says that a create certainly made nothing: a 4xx other than 408, 409, 425. Everything
    else (5xx, timeouts, resets, HTML, redirects, unparsable 200s) leaves a create unknown, unless the request is `unsent`: no
    connection was ever made.
    """

    def __init__(
        self,
        message: str,
        *,
        cause: Cause,
        status: int | None = None,
        code: str = "",
        definite: bool = False,
        unsent: bool = False,
        retry_after: float | None = None,
        raw: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.status = status
        self.code = code
        self.definite = definite
        self.unsent = unsent
        self.retry_after = retry_after
        self.raw = raw[:2000]
