"""The same job on a smaller model: said on the receipt and in the table of models, with what its own tokens cost there."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse

from jobs.engine import drafts, offers
from jobs.engine.smaller import smaller_of
from jobs.models import Batch, Job
from jobs.queries.offers import Wanted, page_of
from tests.jobs import make_job

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_receipt_names_a_smaller_model_and_starts_a_try_on_it(people: Any, sandbox: Any, as_owner: Any) -> None:
    job = make_job(people.home, people.owner, sandbox, model="gpt-6-sol")
    found = smaller_of(job)
    assert found is not None
    assert found.model == "gpt-6-luna"
    usages = list(Batch.objects.filter(job=job).values_list("usage", flat=True))
    tokens = [round(sum(usage[name] for usage in usages) / 24) * 24 for name in ("input_tokens", "output_tokens")]
    assert found.usd == (tokens[0] * Decimal("0.05") + tokens[1] * Decimal("0.25")) / 1_000_000
    assert found.instead_of == (tokens[0] * Decimal(1) + tokens[1] * Decimal(5)) / 1_000_000
    assert found.percent == 95
    page = as_owner.get(reverse("job-receipt", args=[job.pk])).content.decode()
    assert "The same job on a smaller model" in page
    assert f"{reverse('batch-advice')}?job={job.pk}" in page
    answer = as_owner.post(reverse("launch-like", args=[job.pk]), {"model": "gpt-6-luna"})
    draft = Job.objects.get(state="draft")
    assert (draft.model, draft.dataset_version, draft.connection) == ("gpt-6-luna", job.dataset_version, job.connection)
    assert answer["Location"] == reverse("launch-try", args=[draft.pk])


def test_the_smallest_has_no_smaller_one(people: Any, sandbox: Any) -> None:
    assert smaller_of(make_job(people.home, people.owner, sandbox, model="gpt-6-luna")) is None


def test_the_table_of_models_says_it_of_the_one_that_is_picked(people: Any, sandbox: Any) -> None:
    job = make_job(people.home, people.owner, sandbox, model="gpt-6-sol")
    draft = drafts.start_like(job, people.owner)
    found = offers.offers_of(draft)
    words = page_of(found, Wanted(), 1).smaller
    assert words.startswith("The same job on gpt-6-luna, a smaller model: ")
    assert words.endswith(" less than on gpt-6-sol.")
    small = next(offer.key for offer in found if offer.model == "gpt-6-luna" and offer.connection.pk == draft.connection_id)
    assert page_of(found, Wanted(pick=small), 1).smaller == ""
