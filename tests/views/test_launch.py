"""The launch steps: one draft on the server, who may, what is refused, and one job however often it is launched."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.utils import timezone

from jobs.engine import drafts, offers, samples
from jobs.engine.prices import save_price
from jobs.models import Job, PriceOverride, Prompt
from jobs.rows.schema import check_schema
from jobs.rows.template import check
from tests.views.launching import MODEL, login, make_connection, make_draft, make_prompt, make_table

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
TERMS = {"name": "Mine", "lane": "batch", "max_attempts": "3", "cap_usd": ""}
STEPS = ("data", "prompt", "model", "try", "review")


def at(draft: Job, step: str) -> str:
    return f"/launch/{draft.pk}/{step}/"


@pytest.fixture
def draft(people: Any, data_folder: Any) -> Job:
    return make_draft(people)


def terms(draft: Job, **changed: str) -> dict[str, str]:
    return {**TERMS, "mark": drafts.mark_of(Job.objects.get(pk=draft.pk)), **changed}


@pytest.mark.parametrize("step", [*STEPS, "go", "discard"])
def test_steps_are_for_analysts_of_the_workspace(client: Any, people: Any, draft: Job, step: str) -> None:
    ask = client.get if step in STEPS else client.post
    login(client, people.viewer)
    assert ask(at(draft, step)).status_code == 403
    login(client, people.outsider)
    assert ask(at(draft, step)).status_code == 404
    client.logout()
    assert ask(at(draft, step))["Location"].startswith("/sign-in/")
    login(client, people.analyst)
    assert ask(at(draft, step)).status_code in (200, 302, 422)


def test_table_that_a_prompt_was_written_for_is_chosen_beforehand(client: Any, people: Any, data_folder: Any) -> None:
    login(client, people.analyst)
    version, other = make_table(people.home, people.owner), make_prompt(people.home, people.owner)
    box = f'<input type="radio" name="dataset_version" value="{version.pk}" required'
    assert f"{box}>" in client.get(f"/launch/?prompt={other.pk}").content.decode()
    Prompt.objects.filter(pk=other.prompt_id).update(dataset=version.dataset)
    assert f"{box} checked>" in client.get(f"/launch/?prompt={other.pk}").content.decode()


def test_new_changes_nothing_until_a_dataset_is_chosen(client: Any, people: Any, data_folder: Any) -> None:
    table = make_table(people.home, people.owner)
    login(client, people.analyst)
    page = client.get(f"/launch/?dataset={table.pk}")
    assert f'value="{table.pk}" required checked' in page.content.decode()
    assert Job.objects.count() == 0
    response = client.post("/launch/", {"dataset_version": str(table.pk)})
    made = Job.objects.get()
    assert response["Location"] == at(made, "prompt")
    assert (made.state, made.n_rows, made.created_by, made.dataset_version) == ("draft", 40, people.analyst, table)
    login(client, people.viewer)
    assert client.get("/launch/").status_code == 403


def test_steps_lead_to_a_draft_that_keeps_everything(client: Any, people: Any, data_folder: Any) -> None:
    connection, table, prompt = make_connection(people.home), make_table(people.home, people.owner), make_prompt(people.home)
    login(client, people.analyst)
    client.post("/launch/", {"dataset_version": str(table.pk)})
    made = Job.objects.get()
    assert client.post(at(made, "prompt"), {"prompt_version": str(prompt.pk)})["Location"] == at(made, "model")
    given = {"pick": f"{connection.pk}:{MODEL}", "max_output_tokens": "80", "temperature": "0.5", "other": '{"top_p": 0.9}'}
    assert client.post(at(made, "model"), given)["Location"] == at(made, "try")
    made.refresh_from_db()
    assert drafts.params_of(made) == {"max_output_tokens": 80, "temperature": 0.5, "top_p": 0.9}
    assert client.post(at(made, "data"), {"dataset_version": str(table.pk)})["Location"] == at(made, "prompt")
    assert client.get(f"/launch/{made.pk}/")["Location"] == at(made, "review")
    made.refresh_from_db()
    assert (made.prompt_version, made.connection, made.model, made.name) == (prompt, connection, MODEL, "Sort × Tickets")


def test_objects_of_another_workspace_cannot_be_chosen(client: Any, people: Any, draft: Job) -> None:
    table, prompt = make_table(people.away, people.outsider), make_prompt(people.away)
    theirs = make_connection(people.away)
    login(client, people.analyst)
    assert client.post("/launch/", {"dataset_version": str(table.pk)}).status_code == 404
    assert client.post(at(draft, "data"), {"dataset_version": str(table.pk)}).status_code == 404
    assert client.post(at(draft, "prompt"), {"prompt_version": str(prompt.pk)}).status_code == 404
    assert client.post(at(draft, "model"), {"pick": f"{theirs.pk}:{MODEL}"}).status_code == 404
    assert client.get(f"/launch/?dataset={table.pk}").status_code == 404
    assert client.post(f"/launch/like/{draft.pk}/").status_code == 302


def test_bad_input_is_422_with_words(client: Any, people: Any, draft: Job) -> None:
    login(client, people.analyst)
    for step, given, words in (
        ("data", {}, "Choose a dataset."),
        ("prompt", {"prompt_version": "x"}, "Choose a prompt."),
        ("model", {"pick": ""}, "Choose a model."),
        ("model", {"pick": f"{draft.connection_id}:{MODEL}", "other": "{"}, "This is not JSON"),
        ("model", {"pick": f"{draft.connection_id}:{MODEL}", "max_output_tokens": "0"}, "Enter 1 or more."),
        ("go", {**TERMS, "name": ""}, "Give the job a name."),
        ("go", {**TERMS, "cap_usd": "-1"}, "or more."),
    ):
        response = client.post(at(draft, step), given)
        assert (response.status_code, words in response.content.decode()) == (422, True), (step, given)


def test_unknown_variables_are_named_and_block_the_launch(client: Any, people: Any, data_folder: Any) -> None:
    draft = make_draft(people, user="Sort: {{ txt }}")
    login(client, people.analyst)
    assert "txt" in client.get(at(draft, "prompt")).content.decode().split("pick-problem")[1][:400]
    review = client.get(at(draft, "review"))
    assert [(t.step, "txt" in t.words) for t in review.context["troubles"]] == [("prompt", True)]
    assert client.post(at(draft, "go"), terms(draft)).status_code == 422
    assert Job.objects.get().state == "draft"


def test_prompt_step_shows_the_first_row(client: Any, people: Any, draft: Job) -> None:
    login(client, people.analyst)
    part = client.get(f"{at(draft, 'prompt')}?show={draft.prompt_version_id}", headers=HTMX).content.decode()
    assert part.startswith('<aside id="first-row"')
    assert "Sort: Where is parcel 0?" in part


def test_model_table_prices_this_job_and_marks_the_choice(client: Any, people: Any, draft: Job) -> None:
    make_connection(people.home, "Real", "https://api.openai.com/v1", is_sandbox=False, seen=[])
    make_connection(people.home, "Own", "http://127.0.0.1:8/v1", kind="openai-compatible", is_sandbox=False, seen=["llama-x"])
    login(client, people.analyst)
    page = client.get(at(draft, "model")).content.decode()
    assert 'hx-trigger="load"' in page
    assert "gpt-5.4" not in page
    part = client.get(f"{at(draft, 'model')}?show=all&sort=-context", headers=HTMX)
    table = part.context["table"]
    assert table.n_all > 90
    text = part.content.decode()
    assert text.startswith('<div id="models"')
    (own,) = [line for line in tables_of(draft) if line.model == "llama-x"]
    assert (own.cost, own.price("direct", "input"), own.fits) == (None, None, True)
    shown = client.get(f"{at(draft, 'model')}?q=llama-x", headers=HTMX).content.decode()
    assert ">unknown</span>" in shown
    assert "$0<" not in shown
    marks = {mark for offer in tables_of(draft) for mark in offer.marks}
    assert marks == {"chosen", "cheapest", "suggested", "small"}


def test_a_model_by_name_starts_on_a_connection_that_works(client: Any, people: Any, draft: Job) -> None:
    real = {"is_sandbox": False, "seen": []}
    make_connection(people.home, "A broken one", "http://127.0.0.1:8/v1", test_ok=False, **real)
    make_connection(people.home, "B in trouble", "http://127.0.0.1:8/v1", test_ok=True, problem="The key is not accepted.", **real)
    good = make_connection(people.home, "C that works", "http://127.0.0.1:8/v1", test_ok=True, **real)
    login(client, people.analyst)
    assert client.get(at(draft, "model")).context["other"] == str(draft.connection_id)
    fresh = drafts.start(people.home, people.analyst, draft.dataset_version, draft.prompt_version)
    page = client.get(at(fresh, "model"))
    assert page.context["other"] == str(good.pk)
    assert f'<option value="{good.pk}" selected>C that works</option>' in page.content.decode()


def tables_of(draft: Job) -> list[offers.Offer]:
    return offers.offers_of(Job.objects.select_related("dataset_version__dataset", "prompt_version__prompt", "workspace").get(pk=draft.pk))


def test_offers_equal_the_engines_own_estimate(draft: Job) -> None:
    from jobs.engine.estimates import estimate_for, sample_of

    assert draft.dataset_version
    assert draft.prompt_version
    assert draft.connection
    (offer,) = [each for each in tables_of(draft) if each.model == MODEL]
    expected, sheet = estimate_for(
        sample_of(draft.dataset_version, draft.prompt_version), draft.prompt_version, draft.connection, MODEL, 50
    )
    assert (offer.estimate, offer.sheet) == (expected, sheet)


def test_model_table_counts_once_and_follows_the_limit_and_overrides(
    client: Any, people: Any, draft: Job, django_assert_max_num_queries: Any
) -> None:
    login(client, people.analyst)
    before = client.post(at(draft, "model"), {"max_output_tokens": "50"}, headers=HTMX).context["table"].lines[0].offer.cost
    assert Job.objects.get().draft["counts"]["n_failed"] == 0
    with django_assert_max_num_queries(13):
        part = client.post(at(draft, "model"), {"max_output_tokens": "500", "q": "gpt", "connection": ""}, headers=HTMX)
    assert part.context["table"].lines[0].offer.cost > before
    assert "q=gpt" in part.content.decode()  # the links of the table keep its filters …
    assert "max_output_tokens" not in part.content.decode()  # … and leave to the draft what is the draft's
    assert drafts.changes_of(Job.objects.get()) == {"max_output_tokens": 500}  # who leaves and comes back finds what was typed
    for wrong in ({"max_output_tokens": "7", "other": "{"}, {"max_output_tokens": "-7"}, {"temperature": "0,5"}):
        client.post(at(draft, "model"), wrong, headers=HTMX)
        assert drafts.changes_of(Job.objects.get()) == {"max_output_tokens": 500}
    client.post(at(draft, "model"), {"max_output_tokens": "50"}, headers=HTMX)
    PriceOverride.objects.create(
        workspace=people.home, kind="openai", model=MODEL, prices={"input": "0", "output": "0", "batch_discount": "0.5"}
    )
    (offer,) = [each for each in tables_of(draft) if each.model == MODEL]
    assert offer.cost == Decimal(0)


def test_embedding_prompts_are_offered_embedding_models(client: Any, people: Any, draft: Job) -> None:
    make_connection(people.home, "Real", "https://api.openai.com/v1", is_sandbox=False, seen=[])
    drafts.choose_prompt(draft, make_prompt(people.home, name="Vectors", kind="embed", params={}))
    found = {offer.model for offer in tables_of(draft) if "chosen" not in offer.marks}
    assert found == {"text-embedding-3-large", "text-embedding-3-small", "text-embedding-ada-002"}


def test_moderation_prompts_are_offered_what_is_free(people: Any, draft: Job) -> None:
    make_connection(people.home, "Real", "https://api.openai.com/v1", is_sandbox=False, seen=[])
    drafts.choose_prompt(draft, make_prompt(people.home, name="Judge", kind="moderate", params={}))
    found = [(offer.model, offer.cost) for offer in tables_of(draft) if "chosen" not in offer.marks]
    assert found == [("omni-moderation-latest", Decimal(0))]


def test_try_shows_rendered_rows_with_tokens(client: Any, people: Any, draft: Job) -> None:
    login(client, people.analyst)
    part = client.get(f"{at(draft, 'try')}?n=3&how=first", headers=HTMX)
    assert [row.rendered.user for row in part.context["rows"]] == [f"Sort: Where is parcel {n}?" for n in range(3)]
    assert all(row.tokens > 5 for row in part.context["rows"])
    assert "Try 3 rows now, under $0.0001" in part.content.decode()
    assert len(client.get(f"{at(draft, 'try')}?n=999&how=x", headers=HTMX).context["rows"]) == 20
    named = client.get(f"{at(draft, 'try')}?how=chosen&rows=3,+7-8,+99", headers=HTMX)
    assert [row.rendered.row for row in named.context["rows"]] == [2, 6, 7]
    assert "Enter the numbers of the rows" in client.get(f"{at(draft, 'try')}?how=chosen", headers=HTMX).content.decode()


def test_the_number_of_a_row_on_the_pages_is_the_one_that_a_try_takes(client: Any, people: Any, draft: Job) -> None:
    """Row 17 is the 17th everywhere on the pages; `_row` of files and addresses is 16."""
    login(client, people.analyst)
    table = draft.dataset_version.dataset  # type: ignore[union-attr]
    listed = client.get(f"/datasets/{table.pk}/?tab=rows").context["rows"][16]
    assert (listed.number, [text for text, _ in listed.cells]) == (17, ["16", "Where is parcel 16?"])
    tried = client.get(f"{at(draft, 'try')}?how=chosen&rows=17", headers=HTMX)
    assert [(row.rendered.row, row.rendered.user) for row in tried.context["rows"]] == [(16, "Sort: Where is parcel 16?")]
    assert "<h3>Row 17</h3>" in tried.content.decode()
    assert client.get(f"/jobs/{draft.pk}/rows/16/").context["title"] == "Row 17"


def test_try_posts_one_pilot_round_for_a_double_click(client: Any, people: Any, draft: Job) -> None:
    login(client, people.analyst)
    token = client.get(f"{at(draft, 'try')}?n=3&how=first", headers=HTMX).context["token"]
    given = {"n": "3", "how": "first", "token": token}
    first, second = client.post(at(draft, "try"), given), client.post(at(draft, "try"), given)
    assert first["Location"] == second["Location"] == f"{at(draft, 'try')}?n=3&how=first&seed=1"
    assert [(r.reason, r.n_rows) for r in draft.rounds.all()] == [("pilot", 3)]
    part = client.get(f"{at(draft, 'try')}?n=3&how=first", headers=HTMX).content.decode()
    assert "Trying 3 rows in real time" in part
    assert 'data-live="1"' in part
    assert 'name="stop"' in part
    client.post(at(draft, "discard"))
    assert Job.objects.get().state == "cancelling"  # what is paid stays in the books, and nothing runs on unseen


def test_review_says_the_act_and_keeps_the_terms(client: Any, people: Any, draft: Job, django_assert_max_num_queries: Any) -> None:
    login(client, people.analyst)
    page = client.get(at(draft, "review"))
    bill = page.context["bill"]
    assert bill.button == f"Launch 40 rows, about {bill.range}" == "Launch 40 rows, about $0.0001–0.0007"
    assert bill.button in page.content.decode()
    with django_assert_max_num_queries(12):
        client.get(at(draft, "review"))
    part = client.post(at(draft, "review"), {**TERMS, "lane": "direct", "cap_usd": "0.0001"}, headers=HTMX)
    assert part.status_code == 200
    assert part.context["bill"].range == bill.realtime
    assert "above its cap of $0.0001" in part.content.decode()
    assert 'id="launch-go" disabled' in part.content.decode()
    kept = Job.objects.get()
    assert (kept.lane, kept.cap_usd, kept.name, kept.state) == ("direct", Decimal("0.0001"), "Mine", "draft")


def test_unknown_price_is_said_and_never_zero(client: Any, people: Any, draft: Job) -> None:
    own = make_connection(people.home, "Own", "http://127.0.0.1:8/v1", kind="openai-compatible", is_sandbox=False, seen=["llama-x"])
    drafts.choose_model(draft, own, "llama-x", {})
    login(client, people.analyst)
    text = client.get(at(draft, "review")).content.decode()
    assert "Launch 40 rows, price unknown" in text
    assert "$0" not in text


def test_unknown_price_launches_only_knowingly(client: Any, people: Any, draft: Job) -> None:
    own = make_connection(people.home, "Own", "http://127.0.0.1:8/v1", kind="openai-compatible", is_sandbox=False, seen=["llama-x"])
    drafts.choose_model(draft, own, "llama-x", {})
    login(client, people.analyst)
    given = terms(draft, lane="direct")
    assert client.get(at(draft, "review")).context["asks_unpriced"] is True
    refused = client.post(at(draft, "go"), given)
    assert refused.status_code == 422
    assert "The price of this model is not known." in refused.content.decode()
    assert Job.objects.get().state == "draft"
    # A cap cannot be kept without a price: then an admin is asked, and the tick is not.
    capped = client.post(at(draft, "review"), {**given, "cap_usd": "5"}, headers=HTMX)
    assert (capped.context["asks_unpriced"], len(capped.context["crossings"])) == (False, 1)
    assert client.post(at(draft, "go"), {**given, "unpriced": "1"})["Location"] == f"/jobs/{draft.pk}/"
    assert Job.objects.get().state == "queued"


def test_a_known_price_asks_for_nothing_more(client: Any, people: Any, draft: Job) -> None:
    login(client, people.owner)
    found = client.get(at(draft, "review"))
    assert (found.context["asks_unpriced"], found.context["asks_approval"]) == (False, False)
    page = found.content.decode()
    assert '<fieldset class="ask" data-ask="unpriced" hidden disabled>' in page
    assert '<fieldset class="ask" data-ask="approve" hidden disabled>' in page


def test_terms_that_are_not_accepted_are_named_and_the_rest_stays(client: Any, people: Any, draft: Job) -> None:
    login(client, people.analyst)
    part = client.post(at(draft, "review"), {**TERMS, "max_attempts": "99"}, headers=HTMX)
    assert part.status_code == 422
    text = part.content.decode()
    assert "<li>Attempts per row: Enter 10 or less.</li>" in text
    assert "data-focus" not in text  # who types on keeps the focus
    assert (Job.objects.get().max_attempts, Job.objects.get().name) == (3, draft.name)


@pytest.mark.parametrize("step", ["go", "discard"])
def test_reload_after_a_refused_post_leads_back(client: Any, people: Any, draft: Job, step: str) -> None:
    login(client, people.analyst)
    back = {"go": at(draft, "review"), "discard": f"/launch/{draft.pk}/"}[step]
    response = client.get(at(draft, step))
    assert (response.status_code, response["Location"]) == (302, back)
    assert Job.objects.get().state == "draft"
    assert client.put(at(draft, step)).status_code == 405


def test_launch_freezes_the_estimate_and_leads_to_the_job(client: Any, people: Any, draft: Job) -> None:
    login(client, people.analyst)
    shown = client.get(at(draft, "review")).context["bill"]
    response = client.post(at(draft, "go"), terms(draft))
    job = Job.objects.get()
    assert response["Location"] == f"/jobs/{job.pk}/"
    assert (job.state, job.n_rows, job.name, job.created_by, job.rounds.count()) == ("queued", 40, "Mine", people.analyst, 1)
    kept = {name: value for name, value in job.estimate.items() if name != "uncorrected_input"}
    assert kept == {**shown.estimate.to_json(), "words": shown.words}
    assert job.launched_at is not None
    assert job.launched_at <= timezone.now()
    for step in STEPS:  # back, forward and refresh never launch again
        assert client.get(at(draft, step))["Location"] == f"/jobs/{job.pk}/"
    assert client.post(at(draft, "go"), TERMS)["Location"] == f"/jobs/{job.pk}/"
    assert job.rounds.count() == 1


def test_only_an_admin_may_approve_a_launch_over_the_monthly_cap(client: Any, people: Any, draft: Job) -> None:
    people.home.monthly_cap_usd = Decimal("0.000001")
    people.home.save()
    login(client, people.analyst)
    assert client.post(at(draft, "go"), terms(draft, approve="1")).status_code == 422
    assert Job.objects.get().state == "draft"
    login(client, people.owner)
    assert client.post(at(draft, "go"), terms(draft)).status_code == 422
    assert client.post(at(draft, "go"), terms(draft, approve="1"))["Location"] == f"/jobs/{draft.pk}/"
    assert (Job.objects.get().state, Job.objects.get().approved_by) == ("queued", people.owner)


def test_launch_of_a_draft_that_changed_elsewhere_asks_to_look_again(client: Any, people: Any, draft: Job) -> None:
    login(client, people.analyst)
    stale = terms(draft)
    drafts.choose_model(draft, draft.connection, "gpt-6-astra", {})
    response = client.post(at(draft, "go"), stale)
    assert response.status_code == 422
    assert "was changed meanwhile" in response.content.decode()
    assert Job.objects.get().state == "draft"


def test_price_that_was_changed_after_the_review_launches_nothing(client: Any, people: Any, draft: Job) -> None:
    login(client, people.analyst)
    shown = terms(draft)
    assert draft.connection is not None
    save_price(people.home, people.owner, kind=draft.connection.kind, model=MODEL, prices={"input": "1000", "output": "2000"})
    response = client.post(at(draft, "go"), shown)
    draft.refresh_from_db()
    assert (response.status_code, draft.state) == (422, "draft")
    assert "This draft, or a price of its model, was changed meanwhile." in response.content.decode()
    assert client.post(at(draft, "go"), {**terms(draft), "unpriced": "1"}).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_once_launch_one_job_with_one_round(people: Any, data_folder: Any) -> None:
    draft = make_draft(people)
    given, gate, places = terms(draft), threading.Barrier(2), []
    clients = [Client(), Client()]
    for each in clients:
        login(each, people.analyst)

    def click(client: Client) -> None:
        gate.wait()
        try:
            places.append(client.post(at(draft, "go"), given).headers.get("Location"))
        finally:
            database.close()

    threads = [threading.Thread(target=click, args=(each,)) for each in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert places == [f"/jobs/{draft.pk}/"] * 2
    job = Job.objects.get()
    assert (job.state, job.rounds.count(), job.events.filter(kind="launched").count()) == ("queued", 1, 1)


def test_like_makes_a_draft_with_the_same_choices(client: Any, people: Any, draft: Job) -> None:
    login(client, people.analyst)
    drafts.choose_model(draft, draft.connection, MODEL, {"max_output_tokens": 99})
    client.post(at(draft, "go"), terms(draft))
    response = client.post(f"/launch/like/{draft.pk}/")
    made = Job.objects.exclude(pk=draft.pk).get()
    assert response["Location"] == at(made, "review")
    assert (made.state, made.model, drafts.params_of(made)["max_output_tokens"]) == ("draft", MODEL, 99)
    login(client, people.viewer)
    assert client.post(f"/launch/like/{draft.pk}/").status_code == 403
    login(client, people.outsider)
    assert client.post(f"/launch/like/{draft.pk}/").status_code == 404


def test_discard_deletes_a_draft_and_nothing_else(client: Any, people: Any, draft: Job) -> None:
    login(client, people.analyst)
    assert client.post(at(draft, "discard"))["Location"] == "/jobs/"
    assert Job.objects.count() == 0
    assert client.get(at(draft, "review")).status_code == 404


def test_sample_prompt_fits_the_sample_table(people: Any, data_folder: Any) -> None:
    version = make_table(people.home, people.owner, samples.TABLE.read_text(), "Sample")
    assert check(samples.SYSTEM, samples.USER, version.columns) == []
    check_schema(samples.SCHEMA)
    assert version.n_rows == 60
