"""The receipt: its columns add up as shown, JSON and CSV are exact, and it works while the job runs."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any

import pytest

from jobs import formats
from jobs.costs.prices import PriceSheet, Tier
from jobs.costs.receipt import RoundUsage, Sums, receipt
from jobs.engine.audit import audit_job
from jobs.models import Job
from jobs.queries.job_money import money_of
from jobs.queries.receipts import receipt_page
from jobs.words import JobState, Lane, RoundReason
from tests.jobs import make_job, make_prompt

D = Decimal


def usage(number: int, sheet: PriceSheet, *sums: Sums, reason: RoundReason = RoundReason.FIRST, lane: Lane = Lane.BATCH) -> RoundUsage:
    return RoundUsage(number, reason, lane, sheet, sums)


def sheet_of(**lanes: str) -> PriceSheet:
    made = {lane: (Tier(0, *[D(price)] * 5),) for lane, price in lanes.items()}
    return PriceSheet("test", "2026-11-21", "openai", "m", bool(made), (), made)


def sums(tokens: int, useful: bool = True, billed: str = "paid") -> Sums:
    return Sums(0, billed, useful, 1, {"input": tokens, "output": tokens // 3})


def job() -> Job:
    return Job(name="j", lane=Lane.BATCH, state=JobState.COMPLETED, n_rows=3, n_succeeded=2)


@pytest.mark.parametrize("seed", range(0, 4000, 371))
def test_shown_parts_add_up(seed: int) -> None:
    sheet = sheet_of(batch="0.37", direct="0.91")
    rounds = [usage(n, sheet, sums(1_000_003 * n + seed), sums(77_777 + seed * n, useful=False)) for n in (1, 2, 3)]
    page = receipt_page(job(), receipt(rounds, n_rows=3, standings={"succeeded": 2}))
    lines = [line for each in page.rounds for line in each.lines]
    for name in ("paid", "wasted", "realtime"):
        shown = [getattr(line, name) for line in lines]
        assert sum(shown) == getattr(page, name) == sum(getattr(each, name) for each in page.rounds)
        exact = getattr(page.receipt, name).amount
        assert abs(getattr(page, name) - exact) <= D(1).scaleb(-page.places) / 2
        assert all(value == value.quantize(D(1).scaleb(-page.places)) for value in shown)
    assert page.saved == page.realtime - page.paid  # type: ignore[operator]


def test_unknown_prices_are_none_and_not_zero() -> None:
    rounds = [usage(1, sheet_of(direct="1"), sums(1000)), usage(2, sheet_of(batch="1", direct="2"), sums(3_000_000))]
    page = receipt_page(job(), receipt(rounds, n_rows=3, standings={"succeeded": 2}))
    assert [line.paid for line in page.rounds[0].lines] == [None, None]
    assert (page.rounds[0].paid, page.paid, page.at_least) == (None, D("4.00"), True)
    assert page.saved == D("4.00")


def test_uncertain_charges_stand_apart() -> None:
    rounds = [usage(1, sheet_of(batch="1", direct="2"), sums(3_000_000), sums(3_000_000, False, "unknown"), sums(9, False, "unpaid"))]
    page = receipt_page(job(), receipt(rounds, n_rows=3, standings={"succeeded": 2}))
    assert (page.paid, page.uncertain_total, page.n_unpaid_tokens) == (D("4.00"), D("4.00"), 12)


@pytest.fixture
def settled(people: Any, sandbox: Any, data_folder: Any) -> Job:
    return make_job(people.home, people.owner, sandbox, model="gpt-6-luna+badschema=4,errors=2", n_rows=24)


def test_page_json_and_csv_say_the_same(as_owner: Any, settled: Job, django_assert_max_num_queries: Any) -> None:
    url = f"/jobs/{settled.pk}/receipt"
    with django_assert_max_num_queries(13):  # a savepoint and its release are counted here as well
        page = as_owner.get(f"{url}/")
    data = as_owner.get(f"{url}.json").json()
    rows = list(csv.DictReader(io.StringIO(as_owner.get(f"{url}.csv").content.decode())))
    settled.refresh_from_db()
    assert D(data["paid"]) == settled.paid_usd == sum(D(row["amount_usd"]) for row in rows if row["billed"] == "paid")
    assert D(data["realtime"]) == settled.realtime_usd
    assert D(data["wasted"]) == settled.wasted_usd == sum(D(r["amount_usd"]) for r in rows if r["billed"] == "paid" and r["useful"] == "no")
    totals = {row["reason"]: D(row["amount_usd"]) for row in rows if row["round"] == "total"}
    assert (totals["paid"], totals["saved"]) == (settled.paid_usd, settled.saved_usd)
    assert (data["job"]["name"], data["job"]["so_far"], data["rows"], data["job"]["sandbox"]) == ("Sort tickets", False, 24, True)
    assert "Sandbox: nothing was really paid." in page.content.decode()
    text = page.content.decode()
    assert ("prices of" in text, "genai-prices" in text, "data-live=" in text) == (True, True, False)
    assert page.context["page"].receipt.wasted.amount > 0


def test_so_far_while_it_runs(as_owner: Any, people: Any, sandbox: Any, data_folder: Any) -> None:
    running = make_job(people.home, people.owner, sandbox, n_rows=6, settle=False)
    url = f"/jobs/{running.pk}/receipt/"
    running.refresh_from_db()
    part = as_owner.get(url, headers={"HX-Request": "true"})
    assert ("<html" in part.content.decode(), 'data-live="10"' in part.content.decode()) == (False, True)
    assert as_owner.get(f"{url}?seen={running.version}", headers={"HX-Request": "true"}).status_code == 204
    assert as_owner.get(f"/jobs/{running.pk}/receipt.json").json()["job"]["so_far"] is True


def test_other_tenants_get_404(client: Any, people: Any, settled: Job) -> None:
    client.force_login(people.outsider, backend="django.contrib.auth.backends.ModelBackend")
    assert [client.get(f"/jobs/{settled.pk}/receipt{end}").status_code for end in ("/", ".json", ".csv")] == [404, 404, 404]


def test_rows_of_unknown_billing_are_uncertain_with_a_bound(as_owner: Any, people: Any, sandbox: Any, data_folder: Any) -> None:
    """Three rows that the answer never mentions: nothing of them is paid, and nobody may say that nothing was."""
    found = make_job(people.home, people.owner, sandbox, model="gpt-6-luna+missing=3", n_rows=3)
    batch = found.batches.get()
    tier = PriceSheet.from_json(found.sheet).tiers("batch")[0]
    most = batch.reserve_usd  # of all three rows: their input, and each answer at its limit
    assert most is not None
    assert (batch.n_tokens * tier.input + 3 * 200 * tier.output) / 1_000_000 <= most
    url = f"/jobs/{found.pk}/receipt"
    data = as_owner.get(f"{url}.json").json()
    assert (data["paid"], data["wasted"], D(data["uncertain"]), data["uncertain_rows"]) == ("0", "0", most, 3)
    assert (D(data["rounds"][0]["uncertain"]), data["rounds"][0]["uncertain_rows"], len(data["notes"])) == (most, 3, 1)
    rows = list(csv.DictReader(io.StringIO(as_owner.get(f"{url}.csv").content.decode())))
    assert [(row["kind"], row["billed"], row["tokens"], D(row["amount_usd"])) for row in rows[:1]] == [("rows", "unknown", "3", most)]
    assert next(D(row["amount_usd"]) for row in rows if row["reason"] == "uncertain") == most
    text = as_owner.get(f"{url}/").content.decode()
    assert ("Whether 3 rows were charged is not known; see below. Nothing else was charged" in text, "3 rows whose answer" in text) == (
        True,
        True,
    )
    assert (batch.usage, audit_job(found)) == ({"unknown_rows": 3, "unknown_usd": f"{most:f}"}, [])


def test_uncertain_without_a_bound_is_null(as_owner: Any, people: Any, sandbox: Any, data_folder: Any) -> None:
    prompt = make_prompt(people.home, people.owner, max_output_tokens=None)
    found = make_job(people.home, people.owner, sandbox, model="gpt-6-luna+missing=1", n_rows=3, prompt=prompt)
    data = as_owner.get(f"/jobs/{found.pk}/receipt.json").json()
    assert (data["uncertain"], data["uncertain_rows"], data["lines"][-1]["amount"]) == (None, 1, None)
    assert "Uncertain</th>" in as_owner.get(f"/jobs/{found.pk}/receipt/").content.decode()


def test_percent_is_of_exact_amounts_and_small_ones_add_up() -> None:
    """Paid 0.0011343 against 0.0022686 is half, however it is rounded."""
    rounds = [usage(1, sheet_of(batch="1", direct="2"), Sums(0, "paid", True, 1, {"input": 1000, "output": 134}))]
    rounds += [usage(2, sheet_of(batch="1", direct="2"), Sums(0, "paid", False, 1, {"input": 1}))]
    page = receipt_page(job(), receipt(rounds, n_rows=3, standings={"succeeded": 2}))
    assert (page.paid, page.realtime, page.saved, page.saved_percent) == (D("0.001135"), D("0.002270"), D("0.001135"), "50 %")


def test_job_page_tells_the_percent_of_the_receipt() -> None:
    job = Job(lane="batch", paid_usd=D("0.02641645"), realtime_usd=D("0.0525021"), sheet=sheet_of(batch="1", direct="2").to_json())
    assert money_of(job).saved_share == "50 % less than real time"


def test_unknown_price_is_said_apart_from_no_success() -> None:
    unpriced = [usage(1, sheet_of(), sums(1000), sums(50, useful=False))]
    page = receipt_page(job(), receipt(unpriced, n_rows=3, standings={"succeeded": 2}))
    assert (page.wasted, page.no_per_thousand) == (None, "a price is not known")
    nothing = [usage(1, sheet_of(batch="1", direct="2"), sums(1000, useful=False))]
    assert receipt_page(job(), receipt(nothing, n_rows=3, standings={})).no_per_thousand == "so what 1,000 cost is not known"


def test_a_trace_is_never_shown_as_nothing() -> None:
    rounds = [usage(1, sheet_of(batch="1", direct="2"), Sums(0, "paid", True, 1, {"input": 9_000_000, "output": 7}))]
    page = receipt_page(job(), receipt(rounds, n_rows=3, standings={"succeeded": 2}))
    assert [formats.usd(line.paid, page.places) for line in page.rounds[0].lines] == ["$9.00", "<$0.01"]
    assert (page.paid, page.rounds[0].paid, formats.usd(page.wasted, page.places)) == (D("9.00"), D("9.00"), "$0")
