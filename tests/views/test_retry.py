"""Retry: one click, one round; ticked rows, a cause, a filter; changes and their price."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.urls import reverse

from jobs.engine.places import rows_file
from jobs.engine.retry import Changes
from jobs.forms.retry import price_of, tokens_per_row
from jobs.models import Job, PromptVersion, Round
from jobs.rows.render import selected_rows
from tests.jobs import settled

TOKEN = "a" * 32


def rows_of(round_: Round) -> list[int]:
    path = rows_file(round_)
    assert path is not None
    return np.asarray(selected_rows(path)).tolist()


@pytest.mark.parametrize(
    ("query", "data", "rows"),
    [
        ("", {}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ("", {"kind": "invalid", "cause": "cut_off"}, [6, 7]),
        ("", {"row": ["1", "6"], "all": ""}, [1, 6]),
        ("?kind=failed", {"row": ["1"], "all": "1"}, [0, 1, 2]),
        ("?q=charged+twice", {"all": "1"}, [0, 6]),
        ("?kind=succeeded&kind=missing", {"all": "1"}, [3]),
    ],
)
def test_post_retries_exactly_the_rows_that_are_meant(query: str, data: dict[str, Any], rows: list[int], job: Job, as_owner: Any) -> None:
    answer = as_owner.post(reverse("job-retry", args=[job.pk]) + query, {**data, "token": TOKEN})
    assert (answer.status_code, answer["Location"]) == (302, reverse("job-detail", args=[job.pk]))
    made = job.rounds.get(number=2)
    assert (rows_of(made), made.n_rows, made.changes) == (rows, len(rows), {})


def test_double_click_makes_one_round(job: Job, as_owner: Any) -> None:
    for _ in range(2):
        assert as_owner.post(reverse("job-retry", args=[job.pk]), {"token": TOKEN}).status_code == 302
    assert job.rounds.count() == 2


@pytest.mark.parametrize(
    ("query", "data", "words"),
    [
        ("", {"all": "", "token": TOKEN}, "No row is ticked."),
        ("", {"row": ["x"], "token": TOKEN}, "Those are not rows of this job."),
        ("", {"row": ["20"], "token": TOKEN}, "There is nothing to retry here."),
        ("?q=nobody+wrote+this", {"all": "1", "token": TOKEN}, "There is nothing to retry here."),
        ("?kind=succeeded", {"all": "1", "token": TOKEN}, "There is nothing to retry here."),
        ("", {"kind": "succeeded", "token": TOKEN}, "That outcome or cause cannot be retried."),
        ("", {"cause": "nonsense", "token": TOKEN}, "That outcome or cause cannot be retried."),
        ("", {"cause": "expired", "token": TOKEN}, "There is nothing to retry"),
        ("", {}, "The form is not complete."),
    ],
)
def test_bad_input_is_422_and_makes_nothing(query: str, data: dict[str, Any], words: str, job: Job, as_owner: Any) -> None:
    answer = as_owner.post(reverse("job-retry", args=[job.pk]) + query, data)
    assert (answer.status_code, job.rounds.count()) == (422, 1)
    assert words in answer.content.decode()


def form_of(job: Job, **changed: Any) -> dict[str, Any]:
    assert job.connection_id
    given = {
        "max_output_tokens": 200,
        "model": job.model,
        "connection": str(job.connection_id),
        "prompt_version": str(job.prompt_version_id),
    }
    return {**given, "kind": "invalid", "cause": "cut_off", "token": TOKEN, **changed}


def test_changes_are_frozen_on_the_round(job: Job, as_owner: Any) -> None:
    assert job.prompt_version is not None
    newer = PromptVersion.objects.create(
        prompt=job.prompt_version.prompt, number=2, user="Again: {{ text }}", schema=job.prompt_version.schema
    )
    data = form_of(job, max_output_tokens=900, model="gpt-6-luna", prompt_version=str(newer.pk))
    answer = as_owner.post(reverse("job-retry", args=[job.pk]), data)
    assert answer.status_code == 302
    made = job.rounds.get(number=2)
    assert made.changes == {"model": "gpt-6-luna", "prompt": "Intents v2", "max_output_tokens": "900"}
    assert (made.spec["model"], made.spec["max_output_tokens"], made.prompt_version_id) == ("gpt-6-luna", 900, newer.pk)
    assert rows_of(made) == [6, 7]
    job = settled(job)
    assert (job.n_succeeded, job.n_invalid) == (18, 2)


def test_form_shows_rows_and_price_of_the_changes(job: Job, as_owner: Any) -> None:
    url = reverse("job-retry", args=[job.pk])
    page = as_owner.get(url, {"kind": "invalid", "cause": "cut_off"}).content.decode()
    assert "A new round over 2 rows" in page
    assert "Nothing is changed yet" in page
    changed = as_owner.get(url, form_of(job, max_output_tokens=5000, model="gpt-6-luna")).content.decode()
    assert "max_output_tokens: 5000" in changed
    assert "if every answer reaches its limit" in changed


@pytest.mark.parametrize("changed", [{"max_output_tokens": "0"}, {"model": ""}, {"connection": "x"}, {"prompt_version": ""}])
def test_bad_changes_are_422_with_the_same_form(changed: dict[str, Any], job: Job, as_owner: Any) -> None:
    answer = as_owner.post(reverse("job-retry", args=[job.pk]), form_of(job, **changed))
    assert (answer.status_code, job.rounds.count()) == (422, 1)
    assert "another look" in answer.content.decode()


def test_price_of_another_model_is_its_own_sheet_times_the_tokens_seen(job: Job) -> None:
    asked, answered = tokens_per_row(job) or (Decimal(0), Decimal(0))
    price = price_of(job, 10, Changes(model="gpt-6-luna", params={"max_output_tokens": 1000}))
    assert asked > 0
    assert price.about == (asked * Decimal("0.05") + answered * Decimal("0.25")) * 10 / 1_000_000
    assert price.most == (asked * Decimal("0.05") + 1000 * Decimal("0.25")) * 10 / 1_000_000
    assert price_of(job, 10, Changes(model="no-such-model")).about is None


def test_foreign_connection_cannot_be_chosen(job: Job, people: Any, as_owner: Any, sandbox: Any) -> None:
    from tests.jobs import make_connection

    foreign = make_connection(people.away, people.outsider, sandbox, "Theirs")
    assert as_owner.post(reverse("job-retry", args=[job.pk]), form_of(job, connection=str(foreign.pk))).status_code == 422
    assert job.rounds.count() == 1
