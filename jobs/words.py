"""The words of batchui. Each value knows how a person sees it; every screen, file and test reads this one map."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Look:
    """How a value is shown: a label in words, one of six tones, and an icon's name, always together."""

    label: str
    tone: str  # neutral | active | good | warn | bad | off
    icon: str


class Lane(StrEnum):
    """How a round travels to the provider."""

    BATCH = "batch"
    FLEX = "flex"
    DIRECT = "direct"

    @property
    def label(self) -> str:
        return {"batch": "Batch", "flex": "Flex", "direct": "Real time"}[self]


class PromptKind(StrEnum):
    GENERATE = "generate"
    EMBED = "embed"
    MODERATE = "moderate"


class Role(StrEnum):
    """What a member of a workspace may do; each role may do all that the ones before it may."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    ADMIN = "admin"

    @property
    def label(self) -> str:
        return self.value.capitalize()

    @property
    def rank(self) -> int:
        return list(Role).index(self)

    def may(self, needed: Role) -> bool:
        return self.rank >= needed.rank


class JobState(StrEnum):
    DRAFT = "draft"
    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    COMPLETED_WITH_FAILURES = "completed_with_failures"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def look(self) -> Look:
        return _JOB_LOOKS[self]

    @property
    def terminal(self) -> bool:
        return self in _JOB_TERMINAL


_JOB_LOOKS = {
    JobState.DRAFT: Look("Draft", "neutral", "circle"),
    JobState.QUEUED: Look("Queued", "neutral", "circle"),
    JobState.PREPARING: Look("Preparing", "active", "half"),
    JobState.RUNNING: Look("Running", "active", "half"),
    JobState.CANCELLING: Look("Cancelling", "active", "half"),
    JobState.COMPLETED: Look("Completed", "good", "check"),
    JobState.COMPLETED_WITH_FAILURES: Look("Completed with failures", "warn", "alert"),
    JobState.CANCELLED: Look("Cancelled", "off", "dash"),
    JobState.FAILED: Look("Failed", "bad", "cross"),
}
_JOB_TERMINAL = {JobState.COMPLETED, JobState.COMPLETED_WITH_FAILURES, JobState.CANCELLED, JobState.FAILED}


class RoundReason(StrEnum):
    """Why a pass over rows happened."""

    FIRST = "first"
    AUTO_RETRY = "auto_retry"
    RETRY = "retry"
    PILOT = "pilot"
    RESCUE = "rescue"

    @property
    def label(self) -> str:
        return {
            "first": "First pass",
            "auto_retry": "Automatic retry",
            "retry": "Retry",
            "pilot": "Pilot",
            "rescue": "Rescue",
        }[self]


class RoundState(StrEnum):
    PLANNING = "planning"
    RUNNING = "running"
    SETTLED = "settled"


class BatchState(StrEnum):
    """The life of a batch. Its rows are free for another round only in a terminal state."""

    READY = "ready"  # request file whole; may be held back (`wait_reason`)
    SUBMITTING = "submitting"  # the mark is committed: from here a create may exist at the provider
    UNKNOWN = "unknown"  # the create had no clear answer; it is looked for, never re-sent on a guess
    SUBMITTED = "submitted"  # the provider named it
    ENDED = "ended"  # the provider is done with it, whatever it calls that
    FETCHED = "fetched"  # its files are whole on our disk
    SETTLED = "settled"  # every row has its outcome
    REJECTED = "rejected"  # definitely never ran; every row has its outcome, unpaid

    @property
    def look(self) -> Look:
        return _BATCH_LOOKS[self]

    @property
    def terminal(self) -> bool:
        return self in (BatchState.SETTLED, BatchState.REJECTED)

    @property
    def billable(self) -> bool:
        """Whether the provider may still bill rows of it that we do not know of."""
        return self in (BatchState.SUBMITTING, BatchState.UNKNOWN, BatchState.SUBMITTED, BatchState.ENDED, BatchState.FETCHED)


_BATCH_LOOKS = {
    BatchState.READY: Look("Ready", "neutral", "circle"),
    BatchState.SUBMITTING: Look("Submitting", "active", "half"),
    BatchState.UNKNOWN: Look("Looking for it", "warn", "alert"),
    BatchState.SUBMITTED: Look("At the provider", "active", "half"),
    BatchState.ENDED: Look("Collecting", "active", "half"),
    BatchState.FETCHED: Look("Collecting", "active", "half"),
    BatchState.SETTLED: Look("Settled", "good", "check"),
    BatchState.REJECTED: Look("Refused", "bad", "cross"),
}
# The states in which a batch's rows have their outcomes and are free; as a list, for queries of the ledger.
CLOSED = [state for state in BatchState if state.terminal]
# Those in which a create may or may not have been carried out.
UNDECIDED = [BatchState.SUBMITTING, BatchState.UNKNOWN]


class OutcomeKind(StrEnum):
    """What became of one row in one round."""

    SUCCEEDED = "succeeded"
    INVALID = "invalid"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    MISSING = "missing"

    @property
    def look(self) -> Look:
        return _OUTCOME_LOOKS[self]


PENDING = "pending"  # a standing, never an outcome

_OUTCOME_LOOKS = {
    OutcomeKind.SUCCEEDED: Look("Succeeded", "good", "check"),
    OutcomeKind.INVALID: Look("Invalid", "warn", "alert"),
    OutcomeKind.FAILED: Look("Failed", "bad", "cross"),
    OutcomeKind.EXPIRED: Look("Expired", "off", "clock"),
    OutcomeKind.CANCELLED: Look("Cancelled", "off", "dash"),
    OutcomeKind.MISSING: Look("Missing", "bad", "question"),
}
PENDING_LOOK = Look("Pending", "neutral", "circle")
NEEDS_LOOK = Look("Needs you", "warn", "alert")  # of a job that goes on only when a person decides


class Remedy(StrEnum):
    """What fits a cause by default."""

    AUTO = "auto"  # passes by itself: retried without a person
    RETRY = "retry"  # safe to retry as it is, once a person has looked
    CHANGE = "change"  # the same request will fail again: retry with a change
    NONE = "none"  # retrying does not help


@dataclass(frozen=True, slots=True)
class Advice:
    label: str
    meaning: str
    action: str
    remedy: Remedy


class Cause(StrEnum):
    """The reason class of an outcome that did not succeed."""

    RATE_LIMITED = "rate_limited"
    PROVIDER_ERROR = "provider_error"
    TIMEOUT = "timeout"
    CONTEXT_TOO_LONG = "context_too_long"
    CONTENT_FILTERED = "content_filtered"
    REFUSED = "refused"
    CUT_OFF = "cut_off"
    SCHEMA_MISMATCH = "schema_mismatch"
    EMPTY = "empty"
    INVALID_REQUEST = "invalid_request"
    TEMPLATE_ERROR = "template_error"
    BATCH_REJECTED = "batch_rejected"
    AUTH = "auth"
    BILLING = "billing"
    MODEL_GONE = "model_gone"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    MISSING = "missing"
    NO_ANSWER = "no_answer"
    UNREADABLE = "unreadable"
    UNKNOWN = "unknown"

    @property
    def advice(self) -> Advice:
        return _ADVICE[self]

    @property
    def label(self) -> str:
        return _ADVICE[self].label


_ADVICE = {
    Cause.RATE_LIMITED: Advice(
        "Rate limited", "The provider was too busy or your limit was reached. Nothing is wrong with the rows.", "Retry", Remedy.AUTO
    ),
    Cause.PROVIDER_ERROR: Advice(
        "Provider error", "Something broke at the provider. The same request usually works later.", "Retry", Remedy.AUTO
    ),
    Cause.TIMEOUT: Advice("Timed out", "The provider gave up on the request before it answered.", "Retry", Remedy.AUTO),
    Cause.CONTEXT_TOO_LONG: Advice(
        "Too long for the model",
        "Prompt and answer together are longer than the model can take. The same request will fail again.",
        "Retry with a model that takes more, or a shorter prompt",
        Remedy.CHANGE,
    ),
    Cause.CONTENT_FILTERED: Advice(
        "Content filtered",
        "The provider's safety filter stopped the prompt or the answer.",
        "Retry with another prompt or model",
        Remedy.CHANGE,
    ),
    Cause.REFUSED: Advice("Refused by the model", "The model declined to answer.", "Retry with another prompt or model", Remedy.CHANGE),
    Cause.CUT_OFF: Advice(
        "Cut off",
        "The answer reached the limit of output tokens and stops in the middle. It was paid for.",
        "Retry with more output tokens",
        Remedy.CHANGE,
    ),
    Cause.SCHEMA_MISMATCH: Advice(
        "Does not fit the schema",
        "The model answered, but not in the form that the output schema asks for.",
        "Retry, or change the prompt",
        Remedy.RETRY,
    ),
    Cause.EMPTY: Advice("Empty answer", "The provider reported success but the answer is empty.", "Retry", Remedy.RETRY),
    Cause.INVALID_REQUEST: Advice(
        "Request not accepted",
        "The provider found something wrong with the request itself. The same request will fail again.",
        "Read the message, then retry with a change",
        Remedy.CHANGE,
    ),
    Cause.TEMPLATE_ERROR: Advice(
        "Template failed",
        "The prompt template could not be filled in for this row. Nothing was sent.",
        "Retry with a corrected prompt",
        Remedy.CHANGE,
    ),
    Cause.BATCH_REJECTED: Advice(
        "Batch refused because of other rows",
        "The provider refused the whole batch because of another line. These rows never ran and cost nothing.",
        "Retry",
        Remedy.AUTO,
    ),
    Cause.AUTH: Advice(
        "Key not accepted",
        "The provider did not accept the API key of this connection.",
        "Ask an admin to correct the key, then retry",
        Remedy.RETRY,
    ),
    Cause.BILLING: Advice(
        "Credit or quota used up",
        "The provider's account has no credit left or a spending limit was reached.",
        "Top up, then retry",
        Remedy.RETRY,
    ),
    Cause.MODEL_GONE: Advice(
        "Model not available",
        "The provider does not know this model, or your account may not use it.",
        "Retry with another model",
        Remedy.CHANGE,
    ),
    Cause.EXPIRED: Advice(
        "Expired", "The provider did not get to the row within its time window. It was not charged.", "Retry", Remedy.AUTO
    ),
    Cause.CANCELLED: Advice("Cancelled", "The row had not run when the batch was cancelled. It was not charged.", "Retry", Remedy.RETRY),
    Cause.MISSING: Advice(
        "Not in the answer",
        "The provider finished the batch but never mentioned the row. Whether it was charged is not known.",
        "Retry",
        Remedy.AUTO,
    ),
    Cause.NO_ANSWER: Advice(
        "No answer came back",
        "The row was sent, but its answer was lost before it reached us. It may have been charged.",
        "Retry, and pay again if it was charged",
        Remedy.RETRY,
    ),
    Cause.UNREADABLE: Advice("Unreadable answer", "The provider's line for this row is not valid JSON.", "Retry", Remedy.RETRY),
    Cause.UNKNOWN: Advice(
        "Not recognised",
        "The provider answered in a way that batchui does not know yet. The raw line is kept.",
        "Look at a row, then decide",
        Remedy.RETRY,
    ),
}


class ProviderKind(StrEnum):
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OPENAI_COMPATIBLE = "openai-compatible"

    @property
    def label(self) -> str:
        return {"openai": "OpenAI", "anthropic": "Anthropic", "openai-compatible": "OpenAI-compatible"}[self]


# The kinds of token that providers price apart, in the order of a receipt.
TOKEN_KINDS = ("input", "cached", "cache_write", "cache_write_1h", "output")
TOKEN_KIND_LABELS = {
    "input": "Input",
    "cached": "Cached input",
    "cache_write": "Cache write",
    "cache_write_1h": "Cache write, 1 hour",
    "output": "Output",
}


# What providers call the state of a batch, as a person reads it behind "Batch 3:".
_REMOTE_STATUS = {
    "validating": "being checked",
    "in_progress": "running",
    "finalizing": "finishing",
    "cancelling": "being cancelled",
    "canceling": "being cancelled",
    "canceled": "cancelled",
}


def remote_status(status: str) -> str:
    """A provider's word for the state of a batch, in ours; a word that is not known stays as it is, without its underscores."""
    return _REMOTE_STATUS.get(status.lower(), status.replace("_", " "))
