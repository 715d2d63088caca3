"""What a batch holds against a cap is not less than it can cost, whatever its texts are made of, and for ordinary text not much more."""

from __future__ import annotations

import base64
import random
from decimal import Decimal
from typing import Any

import pytest

from jobs.costs.prices import PriceSheet, Usage, price_row
from jobs.engine.estimates import sample_of, token_model
from jobs.engine.launch import Plan, launch, new_token
from jobs.models import Batch, Job, Round
from tests.engine.world import connect, plan_here
from tests.jobs import make_dataset, make_prompt

pytestmark = pytest.mark.django_db

MODELS = [("openai", "gpt-6-luna"), ("openai", "gpt-4o-mini"), ("anthropic", "claude-haiku-4-5"), ("anthropic", "claude-sonnet-5-5")]
chance = random.Random(4)
PROSE = "The printer on the second floor has not worked since Monday, and I would like to know when somebody can come and look at it. "
TEXTS = {
    "base64": [base64.b64encode(chance.randbytes(1_500)).decode() for _ in range(20)],
    "hex": [chance.randbytes(800).hex() for _ in range(20)],
    "digits": [" ".join(chance.choices("0123456789", k=900)) for _ in range(20)],
    "emoji": ["".join(chance.choices([chr(i) for i in range(0x1F300, 0x1F650)], k=500)) for _ in range(20)],
    "Tibetan": ["".join(chance.choices([chr(i) for i in range(0xF40, 0xFBC)], k=600)) for _ in range(20)],
    "prose": [f"{i} {PROSE * 12}" for i in range(20)],
}


def cut_job(people: Any, sandbox: Any, kind: str, model: str, texts: list[str], **params: Any) -> tuple[Job, Batch, int]:
    """A job whose rows are in one batch, that batch, and the input tokens of all rows, as far as tokens can be counted here:
    never more than bytes."""
    content = ("ticket,text\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(texts))).encode()
    version = make_dataset(people.home, people.owner, content=content)
    prompt = make_prompt(people.home, people.owner, f"Sort {Job.objects.count()}", schema=None, **params)
    connection = connect(people, sandbox, kind)
    job = launch(Plan(people.home, version, prompt, connection, model, token=new_token()), people.owner)
    plan_here(job)
    tokens = token_model(connection, model)
    counts = [min(tokens.count_chat(*both), len("".join(both).encode())) for both in sample_of(version, prompt).texts]
    return job, job.batches.get(), sum(counts)


def cost(job: Job, n_tokens: int, n_rows: int, output: int, kind: str = "input_tokens") -> Decimal:
    """Dollars for so many tokens of input of a kind, none of its rows in a dearer tier."""
    sheet = PriceSheet.from_json(job.sheet)
    share = Usage(**{"input_tokens": n_tokens // n_rows, kind: n_tokens // n_rows}, output_tokens=output)
    found = price_row(sheet, "batch", share)
    assert found is not None
    return found * n_rows


@pytest.mark.parametrize("text", [name for name in TEXTS if name != "prose"])
@pytest.mark.parametrize(("kind", "model"), MODELS)
def test_strange_text_cannot_pass_the_reserve(people: Any, sandbox: Any, data_folder: Any, kind: str, model: str, text: str) -> None:
    job, batch, n_tokens = cut_job(people, sandbox, kind, model, TEXTS[text], max_output_tokens=1)
    assert batch.reserve_usd is not None
    dearest = "cache_write_tokens" if kind == "openai" else "input_tokens"  # OpenAI may cache by itself
    assert cost(job, n_tokens, 20, 1, dearest) <= batch.reserve_usd


@pytest.mark.parametrize(("kind", "model"), MODELS)
def test_ordinary_text_is_not_held_at_far_more(people: Any, sandbox: Any, data_folder: Any, kind: str, model: str) -> None:
    job, batch, n_tokens = cut_job(people, sandbox, kind, model, TEXTS["prose"], max_output_tokens=1)
    assert batch.reserve_usd is not None
    dearest = "cache_write_tokens" if kind == "openai" else "input_tokens"
    least = cost(job, n_tokens, 20, 1, dearest)
    assert least <= batch.reserve_usd < 2 * least


def test_a_cache_that_is_asked_for_is_held_at_the_price_of_its_writes(people: Any, sandbox: Any, data_folder: Any) -> None:
    found = [
        cut_job(people, sandbox, "anthropic", "claude-haiku-4-5", TEXTS["prose"], max_output_tokens=1, **params)[1].reserve_usd
        for params in ({}, {"cache_prefix": True}, {"cache_control": {"type": "ephemeral", "ttl": "1h"}})
    ]
    plain, prefix, own = (each for each in found if each is not None)
    assert Decimal("1.8") * plain < prefix  # written for an hour: twice the input
    assert Decimal("1.8") * plain < own


def test_tools_are_held_with_what_the_provider_says_of_them(people: Any, sandbox: Any, data_folder: Any) -> None:
    tool = {"name": "sort", "description": "Sorts a ticket.", "input_schema": {"type": "object", "properties": {}}}
    job, batch, n_tokens = cut_job(people, sandbox, "anthropic", "claude-haiku-4-5", ["x"] * 20, max_output_tokens=1, tools=[tool])
    assert batch.reserve_usd is not None
    assert cost(job, n_tokens + 20 * 500, 20, 1) <= batch.reserve_usd
    assert Round.objects.get(job=job).spec["params"] == {"tools": [tool]}
