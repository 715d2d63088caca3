"""Fixed text first: proposed with what it saves, never done by itself, and the receipt of a real job shows that it does save."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse

from jobs.engine import caching, drafts
from jobs.engine.launch import Plan, launch, new_token
from jobs.engine.receipts import receipt_of
from jobs.models import Job, Prompt, PromptVersion
from jobs.words import Lane
from tests.jobs import make_connection, make_dataset, settled
from tests.views.launching import make_connection as make_other

pytestmark = pytest.mark.django_db(transaction=True)
RULES = "\n".join(f"{n}. A ticket about matter {n} belongs to drawer {n * 7}, unless it names drawer {n} itself." for n in range(80))
MODEL = "gpt-6-luna"


def make_prompt(people: Any, user: str, system: str = "You sort support tickets.", **params: Any) -> PromptVersion:
    prompt = Prompt.objects.create(workspace=people.home, name=f"Drawers {Prompt.objects.count()}")
    return PromptVersion.objects.create(
        prompt=prompt, number=1, system=system, user=user, params={"max_output_tokens": 60, **params}, created_by=people.owner
    )


def make_draft(people: Any, sandbox: Any, user: str, **more: Any) -> Job:
    connection = more.pop("connection", None) or make_connection(people.home, people.owner, sandbox)
    draft = drafts.start(people.home, people.owner, make_dataset(people.home, people.owner, 40), make_prompt(people, user, **more))
    return drafts.choose_model(draft, connection, MODEL if connection.kind == "openai" else "claude-haiku-4-5", {})


def test_it_is_proposed_on_the_review_page_and_made_only_on_demand(people: Any, sandbox: Any, as_owner: Any) -> None:
    draft = make_draft(people, sandbox, f"Ticket {{{{ ticket }}}}: {{{{ text }}}}\n\n{RULES}")
    found = caching.proposal_of(draft)
    assert found is not None
    assert (found.moved, found.marks, found.now) == ((RULES,), False, 0)
    assert found.then % 128 == 0
    assert found.then >= 1_024
    assert found.saving.most == found.then * (Decimal("0.045") * 39 - Decimal("0.0125")) / 1_000_000
    page = as_owner.get(reverse("launch-review", args=[draft.pk])).content.decode()
    assert "The fixed text could come first" in page
    assert draft.prompt_version is not None
    prompt = draft.prompt_version.prompt
    assert prompt.versions.count() == 1
    as_owner.post(reverse("launch-fixed-first", args=[draft.pk]))
    draft.refresh_from_db()
    assert draft.prompt_version is not None
    assert (draft.prompt_version.number, draft.prompt_version.note) == (2, caching.NOTE)
    assert draft.prompt_version.system == f"You sort support tickets.\n\n{RULES}"
    assert draft.prompt_version.user == "Ticket {{ ticket }}: {{ text }}"
    assert prompt.versions.get(number=1).user.endswith(RULES)
    assert caching.proposal_of(draft) is None
    assert "could come first" not in as_owner.get(reverse("launch-review", args=[draft.pk])).content.decode()
    as_owner.post(reverse("launch-fixed-first", args=[draft.pk]))
    assert prompt.versions.count() == 2


def test_the_receipts_of_both_orders_show_what_it_saved(people: Any, sandbox: Any) -> None:
    draft = make_draft(people, sandbox, f"Ticket {{{{ ticket }}}}: {{{{ text }}}}\n\n{RULES}")
    promised = caching.proposal_of(draft)
    assert promised is not None
    assert draft.prompt_version is not None
    assert draft.connection is not None
    assert draft.dataset_version is not None

    def run(prompt: PromptVersion) -> Any:
        assert draft.connection
        assert draft.dataset_version
        plan = Plan(people.home, draft.dataset_version, prompt, draft.connection, MODEL, lane=Lane.BATCH, token=new_token())
        return receipt_of(settled(launch(plan, people.owner)))

    before = run(draft.prompt_version)
    after = run(caching.adopt(draft, people.owner))
    assert before.hit_rate == 0
    assert after.hit_rate is not None
    assert after.hit_rate > Decimal("0.3")
    assert 0 < after.cache_saved <= promised.saving.most * Decimal("1.1")
    assert after.paid.amount < before.paid.amount


def test_nothing_is_proposed_where_nothing_is_gained(people: Any, sandbox: Any) -> None:
    connection = make_connection(people.home, people.owner, sandbox)
    for user in ("Ticket {{ text }}", "{{ text }}\n\nBe brief.", f"{RULES}\n\nTicket {{{{ text }}}}"):
        assert caching.proposal_of(make_draft(people, sandbox, user, connection=connection)) is None


def test_columns_with_one_value_count_as_fixed(people: Any, sandbox: Any) -> None:
    connection = make_connection(people.home, people.owner, sandbox)
    text = "product,text\n" + "".join(f"Phone,Ticket {i}\n" for i in range(30))
    version = make_dataset(people.home, people.owner, name="One product", content=text.encode())
    assert caching.constants_of(version) == ({"product"}, {"product"})
    prompt = make_prompt(people, f"{{{{ text }}}}\n\nAbout {{{{ product }}}}:\n{RULES}")
    draft = drafts.choose_model(drafts.start(people.home, people.owner, version, prompt), connection, MODEL, {})
    found = caching.proposal_of(draft)
    assert found is not None
    assert found.moved == (f"About {{{{ product }}}}:\n{RULES}",)


def test_anthropic_is_marked_and_the_least_length_of_the_model_is_kept(people: Any) -> None:
    anthropic = make_other(people.home, "Claude", kind="anthropic", seen=["claude-haiku-4-5"])
    assert caching.proposal_of(make_draft(people, None, "{{ text }}", connection=anthropic, system=RULES)) is None  # below 4,096 tokens
    long = "\n".join([RULES] * 4)
    draft = make_draft(people, None, "{{ text }}", connection=anthropic, system=long)
    found = caching.proposal_of(draft)
    assert found is not None
    assert (found.moved, found.marks, found.now) == ((), True, 0)
    assert found.then >= 4_096
    version = caching.adopt(draft, people.owner)
    assert (version.system, version.user, version.note) == (long, "{{ text }}", caching.MARK)
    assert version.params["cache_prefix"] is True
    assert caching.proposal_of(draft) is None
