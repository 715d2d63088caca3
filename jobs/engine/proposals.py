"""What somebody would like to launch, and why it cannot be launched."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User

from jobs.engine.spec import check_spec, spec_for
from jobs.errors import BadInput
from jobs.models import Connection, DatasetVersion, PromptVersion, Workspace
from jobs.providers.registry import abilities_of
from jobs.rows.template import check
from jobs.words import Lane

LAUNCHED = "This draft was launched already."
GONE = "This draft was thrown away meanwhile."


@dataclass(slots=True)
class Plan:
    """All that a launch needs. `token` makes a second launch of the same plan give the first one's job."""

    workspace: Workspace
    dataset_version: DatasetVersion
    prompt_version: PromptVersion
    connection: Connection
    model: str
    name: str = ""
    lane: Lane = Lane.BATCH
    changes: dict[str, Any] = field(default_factory=dict)  # parameters other than the prompt version's
    max_attempts: int = 3
    cap_usd: Decimal | None = None
    estimate: dict[str, Any] = field(default_factory=dict)
    token: str = ""
    approved_by: User | None = None  # the admin who lets it cross a cap


def new_token() -> str:
    return secrets.token_hex(16)


def problems_of(plan: Plan) -> list[str]:
    """Why the plan cannot be launched, in words; empty when it can."""
    found: list[str] = []
    if plan.dataset_version.state != DatasetVersion.READY or not plan.dataset_version.n_rows:
        found.append("The dataset has no rows that can be used.")
    if plan.connection.archived_at:
        found.append("The connection was removed.")
    if plan.lane == Lane.BATCH and not abilities_of(plan.connection.kind).batch:
        found.append("This connection has no batch API; choose real time.")
    found += [problem.message for problem in check(plan.prompt_version.system, plan.prompt_version.user, plan.dataset_version.columns)]
    try:
        check_spec(plan.connection, spec_for(plan.prompt_version, plan.model, plan.lane, plan.changes))
    except BadInput as error:
        found.append(str(error))
    return found
