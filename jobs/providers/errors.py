"""What went wrong at a provider, as one ProviderError or one Cause. The tables are data: a new code is one line."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from jobs.errors import ProviderError
from jobs.providers import lines
from jobs.words import Cause

# Codes and types of errors, of HTTP answers, result lines and whole batches. OpenAI, Azure, Anthropic, Mistral and Groq share one table.
CODES: dict[str, Cause] = {
    "rate_limit_exceeded": Cause.RATE_LIMITED,
    "rate_limit_error": Cause.RATE_LIMITED,
    "rate_limited": Cause.RATE_LIMITED,
    "too_many_requests": Cause.RATE_LIMITED,
    "resource_unavailable": Cause.RATE_LIMITED,
    "capacity_exceeded": Cause.RATE_LIMITED,
    "overloaded_error": Cause.RATE_LIMITED,
    "slow_down": Cause.RATE_LIMITED,
    "token_limit_exceeded": Cause.RATE_LIMITED,
    "server_error": Cause.PROVIDER_ERROR,
    "internal_error": Cause.PROVIDER_ERROR,
    "internal_server_error": Cause.PROVIDER_ERROR,
    "service_unavailable": Cause.PROVIDER_ERROR,
    "api_error": Cause.PROVIDER_ERROR,
    "input_modified": Cause.PROVIDER_ERROR,
    "conflict_error": Cause.PROVIDER_ERROR,
    "timeout": Cause.TIMEOUT,
    "timeout_error": Cause.TIMEOUT,
    "request_timeout": Cause.TIMEOUT,
    "context_length_exceeded": Cause.CONTEXT_TOO_LONG,
    "model_context_window_exceeded": Cause.CONTEXT_TOO_LONG,
    "string_above_max_length": Cause.CONTEXT_TOO_LONG,
    "request_too_large": Cause.CONTEXT_TOO_LONG,
    "content_filter": Cause.CONTENT_FILTERED,
    "content_policy_violation": Cause.CONTENT_FILTERED,
    "responsibleaipolicyviolation": Cause.CONTENT_FILTERED,
    "invalid_prompt": Cause.CONTENT_FILTERED,
    "authentication_error": Cause.AUTH,
    "permission_error": Cause.AUTH,
    "permission_denied": Cause.AUTH,
    "invalid_api_key": Cause.AUTH,
    "incorrect_api_key": Cause.AUTH,
    "account_deactivated": Cause.AUTH,
    "organization_on_hold": Cause.AUTH,
    "organization_disabled": Cause.AUTH,
    "cmek_key_disabled": Cause.AUTH,
    "input_no_permissions": Cause.AUTH,
    "not_available_for_plan": Cause.AUTH,
    "billing_error": Cause.BILLING,
    "insufficient_quota": Cause.BILLING,
    "billing_hard_limit_reached": Cause.BILLING,
    "billing_not_active": Cause.BILLING,
    "credit_balance_exhausted": Cause.BILLING,
    "enforced_spend_limit_reached": Cause.BILLING,
    "spend_limit_reached": Cause.BILLING,
    "quota_exceeded": Cause.BILLING,
    "model_not_found": Cause.MODEL_GONE,
    "model_not_available": Cause.MODEL_GONE,
    "model_deprecated": Cause.MODEL_GONE,
    "deploymentnotfound": Cause.MODEL_GONE,
    "not_found_error": Cause.MODEL_GONE,
    "batch_expired": Cause.EXPIRED,
    "batch_cancelled": Cause.CANCELLED,
    "batch_canceled": Cause.CANCELLED,
    "request_cancelled": Cause.CANCELLED,
    "invalid_json_line": Cause.INVALID_REQUEST,
    "duplicate_custom_id": Cause.INVALID_REQUEST,
    "missing_required_parameter": Cause.INVALID_REQUEST,
    "mismatched_model": Cause.INVALID_REQUEST,
    "model_mismatch": Cause.INVALID_REQUEST,
    "invalid_url": Cause.INVALID_REQUEST,
    "url_mismatch": Cause.INVALID_REQUEST,
    "streaming_unsupported": Cause.INVALID_REQUEST,
    "empty_file": Cause.INVALID_REQUEST,
    "empty_batch": Cause.INVALID_REQUEST,
    "too_many_tasks": Cause.INVALID_REQUEST,
    "invalid_request": Cause.INVALID_REQUEST,
    "invalid_request_error": Cause.INVALID_REQUEST,
    "unsupported_parameter": Cause.INVALID_REQUEST,
}
# Codes that say little: words of the message may say more, so they are looked at first.
_VAGUE = frozenset({"invalid_request", "invalid_request_error", "not_found_error", "api_error", "server_error", "rate_limit_error"})
# Batch-level codes with which the same file may be sent again later.
LATER = frozenset({"token_limit_exceeded"})
# Batch-level codes that name a line and speak of what all lines of a file have alike.
SHARED = frozenset({"model_not_found", "mismatched_model", "model_mismatch", "invalid_url", "url_mismatch", "streaming_unsupported"})
# The parts of a line that are its own; an error about any other part is one about all lines.
_OWN_PARTS = re.compile(r"^(body\.)?(custom_id|messages|input|system|prompt)\b|^body$")
# Files or batches that are too long, in bytes or in lines: their rows go again in shorter ones.
TOO_LARGE = frozenset({"request_too_large", "file_too_large", "too_many_tasks", "too_many_requests_in_batch"})
_TOO_LARGE_WORDS = re.compile(
    r"(file|batch|payload|entity|body).{0,40}\btoo (large|big|long)"
    r"|(file|batch).{0,60}(exceed|more than|over)\w*.{0,40}(size|bytes|MB\b|requests|tasks|lines)",
    re.IGNORECASE,
)

WORDS: tuple[tuple[re.Pattern[str], Cause], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), cause)
    for pattern, cause in (
        (r"credit balance is too low|exceeded your current quota|billing hard limit", Cause.BILLING),
        (r"insufficient (credit|balance|funds)|spend(ing)? limit", Cause.BILLING),
        (r"maximum context length|context window|exceeds? the context", Cause.CONTEXT_TOO_LONG),
        (r"(prompt|input) is too long|too many input tokens", Cause.CONTEXT_TOO_LONG),
        (r"content (management )?policy|content filter|safety system|flagged", Cause.CONTENT_FILTERED),
        (r"model.{0,120}(does not exist|not found|not available|no longer available|deprecated|retired)|^model: ", Cause.MODEL_GONE),
        (r"(invalid|incorrect|wrong).{0,12}api.?key", Cause.AUTH),
    )
)

STATUS: dict[int, Cause] = {
    0: Cause.PROVIDER_ERROR,
    401: Cause.AUTH,
    402: Cause.BILLING,
    403: Cause.AUTH,
    408: Cause.TIMEOUT,
    409: Cause.PROVIDER_ERROR,
    425: Cause.PROVIDER_ERROR,
    429: Cause.RATE_LIMITED,
    498: Cause.RATE_LIMITED,  # Groq's flex tier
    504: Cause.TIMEOUT,
    529: Cause.RATE_LIMITED,
}
LONGEST_WAIT = 86_400.0  # seconds that a Retry-After is taken for, at most
_AMBIGUOUS = frozenset({408, 409, 425})  # a create may still have happened


def cause_of(status: int | None, codes: tuple[str, ...], message: str) -> Cause:
    """The reason class of an error: a telling code first, then telling words, then vague codes and the status."""
    names = [code.lower() for code in codes if code]
    for name in names:
        if name in CODES and name not in _VAGUE:
            return CODES[name]
    if status is None or status == 0 or 400 <= status < 500:
        for pattern, cause in WORDS:
            if pattern.search(message):
                return cause
    if status in STATUS:
        return STATUS[status]
    if status is not None and status >= 500:
        return Cause.PROVIDER_ERROR
    for name in names:
        if name in CODES:
            return CODES[name]
    if status is None:
        return Cause.UNKNOWN
    return Cause.INVALID_REQUEST if status >= 400 else Cause.UNKNOWN


def error_parts(body: Any) -> tuple[str, tuple[str, ...], str]:
    """(code, all codes, message) of an error body in any shape seen: nested twice, flat, a bare string, a JSON string."""
    if isinstance(body, str):
        try:
            inner = lines.loads(body.encode("utf-8", "replace"))
        except ValueError:
            return "", (), lines.message_of(body)
        return error_parts(inner) if isinstance(inner, dict) else ("", (), lines.message_of(body))
    if not isinstance(body, dict):
        return "", (), lines.message_of(body)
    inner = body.get("error")
    if isinstance(inner, dict | str) and inner:
        return error_parts(inner)
    details = body.get("details")
    detail = details.get("error_code") if isinstance(details, dict) else None
    codes = tuple(str(code) for code in (body.get("code"), detail, body.get("type")) if isinstance(code, str | int) and str(code))
    message = body.get("message") or body.get("detail") or body.get("msg") or ""
    return (codes[0] if codes else ""), codes, lines.message_of(message)


def is_shared(code: str, cause: Cause, param: Any) -> bool:
    """Whether an error that names a line is about what all lines have alike."""
    if code.lower() in SHARED or cause in (Cause.MODEL_GONE, Cause.AUTH, Cause.BILLING, Cause.RATE_LIMITED, Cause.PROVIDER_ERROR):
        return True
    return isinstance(param, str) and bool(param) and _OWN_PARTS.match(param) is None


def is_too_large(status: int | None, codes: tuple[str, ...], message: str) -> bool:
    """Whether an upload, a create or a whole batch was refused for its length."""
    if status not in (None, 400, 413, 422):
        return False
    return status == 413 or any(code.lower() in TOO_LARGE for code in codes) or _TOO_LARGE_WORDS.search(message) is not None


def definite(status: int | None) -> bool:
    """Whether an HTTP status says that a create certainly made nothing."""
    return status is not None and 400 <= status < 500 and status not in _AMBIGUOUS


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait by the Retry-After header (seconds or an HTTP date), between 1 s and a day; None where there is none."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError):
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return min(LONGEST_WAIT, max(1.0, seconds)) if seconds == seconds else None


# Statuses of an ordinary call that are about the row, and causes that are about the account or the moment all the same.
_ROW_STATUS = frozenset({400, 404, 413, 422})
_NOT_ROW = frozenset({Cause.AUTH, Cause.BILLING, Cause.RATE_LIMITED})


def is_about_row(exc: ProviderError) -> bool:
    """Whether an error of an ordinary call is the row's outcome: the same request would fail again."""
    return exc.definite and exc.status in _ROW_STATUS and exc.cause not in _NOT_ROW and exc.raw.lstrip().startswith("{")


# A gateway that would not wait for the answer any longer; and pages of gateways that say that nobody behind them took the call.
_GAVE_UP = frozenset({408, 504, 524})
_NOBODY_THERE = frozenset({429, 503, 521, 522, 523, 529})


def maybe_answered(exc: ProviderError) -> bool:
    """Whether an ordinary call that failed may have been answered, and charged, all the same: no answer came, one that cannot be read, or
    that of something in between, which does not know what the provider did. An error in the provider's own words is none of these."""
    if exc.status is None:
        return not exc.unsent
    if exc.status < 300:
        return not _names_error(exc.raw)
    is_page = exc.raw.lstrip().startswith("<")
    return exc.status in _GAVE_UP or exc.cause is Cause.TIMEOUT or (is_page and exc.status >= 500 and exc.status not in _NOBODY_THERE)


def _names_error(raw: str) -> bool:
    """Whether the body of an answer is an error in JSON."""
    try:
        value = lines.loads(raw.encode())
    except ValueError:
        return False
    return isinstance(value, dict) and bool(value.get("error"))


def body_of(exc: ProviderError) -> bytes:
    """The error body to keep in the raw line, as far as it is still JSON after cutting and scrubbing."""
    try:
        return lines.dumps(lines.loads(exc.raw.encode()))
    except ValueError:
        return lines.dumps({"error": {"message": exc.message, "code": exc.code}})


_KEYS = re.compile(r"(?i)\b(?:sk|pk|rk|gsk|xai|key|api)-[A-Za-z0-9_\-*.]{6,}|(?<=bearer )\S+|AIza[0-9A-Za-z_-]{20,}")


def scrub(text: str, key: str = "") -> str:
    """The text without the key and without anything like one, cleaned, at most 2,000 bytes."""
    text = lines.clean(text)
    if len(key) >= 4:
        text = text.replace(key, "[key]")
    return _KEYS.sub("[key]", text).encode()[:2000].decode("utf-8", "ignore")


def from_response(status: int, headers: Mapping[str, str], body: bytes, key: str = "") -> ProviderError:
    """The ProviderError of an HTTP answer that is not what was asked for, a 200 in another shape included."""
    text = body[:100_000].decode("utf-8", "replace")
    is_page = text.lstrip()[:1] == "<"
    try:
        parsed: Any = None if is_page else lines.loads(body[:100_000])
    except ValueError:
        parsed = None
    code, codes, said = error_parts(parsed) if parsed is not None else ("", (), "")
    cause = cause_of(status, codes, said) if status >= 400 else Cause.PROVIDER_ERROR
    if status == 404 and cause is Cause.MODEL_GONE and "model" not in said.lower():
        cause = Cause.INVALID_REQUEST  # Anthropic's not_found_error is also that of an unknown batch
    if status == 400 and said.lower().startswith("cannot find file"):
        code = "file_not_visible"  # seconds after an upload: the same create works a little later
    elif is_too_large(status, codes, said):
        code = "too_large"
    wait = retry_after(headers)
    return ProviderError(
        scrub(_sentence(status, cause, said, is_page), key),
        cause=cause,
        status=status,
        code=scrub(code, key)[:100],
        # A page of HTML comes from something in between, which knows nothing of what the provider did; but a 413 was not passed on.
        definite=definite(status) and (not is_page or status == 413),
        retry_after=wait,
        raw=scrub(text, key),
    )


def _sentence(status: int, cause: Cause, said: str, is_page: bool) -> str:
    tail = f" It said: {said}" if said else ""
    if is_page:
        return f"The server answered with a web page (HTTP {status}), not as an API. The base URL may be wrong, or a proxy stands between."
    if 300 <= status < 400:
        return f"The server wants to send us to another address (HTTP {status}), which is not followed. Correct the base URL."
    if status < 300:
        return f"The server's answer could not be read as that of this API (HTTP {status}).{tail}"
    if status == 403:
        return f"The provider does not let this API key do that (HTTP 403).{tail}"
    if status == 401 or cause is Cause.AUTH:
        return f"The provider did not accept the API key (HTTP {status}).{tail}"
    if cause is Cause.BILLING:
        return f"The provider's account has no credit left or reached a limit (HTTP {status}).{tail}"
    if status == 404:
        return f"The provider does not know what was asked for (HTTP 404).{tail or ' The base URL may be wrong.'}"
    if status == 429:
        return f"The provider asks us to wait (HTTP 429).{tail}"
    return f"The provider answered with an error (HTTP {status}).{tail}"


def from_exception(exc: BaseException, key: str = "") -> ProviderError:
    """The ProviderError of whatever an SDK or the HTTP client raised. Never definite, unless an HTTP answer says so."""
    if isinstance(exc, ProviderError):
        return exc
    response = getattr(exc, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(status, int) and response is not None:
        return from_response(status, response.headers, _content(response), key)
    chain = _chain(exc)
    for link in chain:
        if isinstance(link, ProviderError):
            return link
    names = {type(link).__name__ for link in chain}
    cause, sentence = _network_words(chain, names)
    told = scrub(" < ".join(f"{type(link).__name__}: {link}" for link in chain), key)
    # No connection, no request: only while connecting do these arise (httpx2's names), and no call of ours is tried twice by itself.
    return ProviderError(scrub(sentence, key), cause=cause, unsent=bool(names & {"ConnectError", "ConnectTimeout"}), raw=told)


def _content(response: Any) -> bytes:
    try:
        return bytes(response.content)
    except Exception:  # noqa: BLE001 - an error body that cannot be read any more says nothing
        return b""


def _chain(exc: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    link: BaseException | None = exc
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    return links


def _network_words(chain: list[BaseException], names: set[str]) -> tuple[Cause, str]:
    if any(isinstance(link, socket.gaierror) for link in chain):
        return Cause.PROVIDER_ERROR, "The host of the base URL was not found."
    if any(isinstance(link, ssl.SSLError) for link in chain):
        return Cause.PROVIDER_ERROR, f"No secure connection could be made (TLS): {next(e for e in chain if isinstance(e, ssl.SSLError))}"
    if any(isinstance(link, ConnectionRefusedError) for link in chain):
        return Cause.PROVIDER_ERROR, "The server refused the connection: nothing listens at that address and port."
    if any("Timeout" in name for name in names):
        return Cause.TIMEOUT, "The provider did not answer in time."
    if names & {"RemoteProtocolError", "ReadError", "WriteError"} or any(isinstance(link, ConnectionError) for link in chain):
        return Cause.PROVIDER_ERROR, "The connection broke before the whole answer was there."
    if any(isinstance(link, OSError) for link in chain) or "ConnectError" in names:
        return Cause.PROVIDER_ERROR, f"The server could not be reached: {chain[-1]}"
    return Cause.PROVIDER_ERROR, f"The call failed: {type(chain[0]).__name__}: {chain[0]}"
