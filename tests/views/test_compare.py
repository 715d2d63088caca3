"""Jobs side by side: the choice, what is refused, the numbers, the confusion, the rows that differ."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest

from jobs.engine.places import standings_file
from jobs.models import Job
from jobs.queries.compare import pieces
from tests.jobs import make_connection, make_dataset, make_job, make_prompt


@pytest.fixture
def two(people: Any, sandbox: Any, data_folder: Any) -> tuple[Job, Job]:
    version = make_dataset(people.home, people.owner)
    first = make_job(people.home, people.owner, sandbox, version=version, name="Luna")
    return first, make_job(people.home, people.owner, sandbox, version=version, name="Sol", model="gpt-6-sol+errors=3")


def answers(job: Job) -> dict[int, dict[str, Any]]:
    path = standings_file(job, job.n_settled_rounds)
    assert path is not None
    rows = pq.read_table(path, columns=["_row", "kind", "answer"]).to_pylist()
    return {row["_row"]: json.loads(row["answer"]) for row in rows if row["kind"] == "succeeded"}


def get(client: Any, *jobs: Any, **more: Any) -> Any:
    return client.get("/compare/", {"jobs": [getattr(job, "pk", job) for job in jobs], **more})


def test_numbers_agree_with_the_answers(as_owner: Any, two: tuple[Job, Job]) -> None:
    first, second = two
    response = get(as_owner, *two)
    a, b = answers(first), answers(second)
    both = sorted(a.keys() & b.keys())
    pair = response.context["pair"]
    assert (pair.both, pair.only_first, pair.only_second) == (len(both), len(a) - len(both), len(b) - len(both)) == (21, 3, 0)
    for field in pair.fields:
        assert (field.n, field.same) == (21, sum(a[row][field.name] == b[row][field.name] for row in both)), field.name
    intent = next(field for field in pair.fields if field.name == "intent")
    counted = {(cell.first, cell.second): cell.n for _, cells in intent.table for cell in cells if cell.n}
    assert counted == {
        pair_: n
        for pair_ in {(a[row]["intent"], b[row]["intent"]) for row in both}
        for n in [sum((a[row]["intent"], b[row]["intent"]) == pair_ for row in both)]
    }
    sides = response.context["sides"]
    assert [(side.letter, side.job.name, side.paid) for side in sides] == [("A", "Luna", first.paid_usd), ("B", "Sol", second.paid_usd)]
    assert [side.per_thousand for side in sides] == [job.paid_usd * 1000 / job.n_succeeded for job in two]
    assert [(line.label, line.counts) for line in response.context["causes"]] == [("Provider error", (0, 3))]


def test_rows_that_differ_by_field_and_by_cell(as_owner: Any, two: tuple[Job, Job]) -> None:
    a, b = answers(two[0]), answers(two[1])
    differ = [row for row in sorted(a.keys() & b.keys()) if a[row]["intent"] != b[row]["intent"]]
    found = get(as_owner, *two, field="intent").context["found"]
    assert [line.row for line in found.lines] == differ
    same = [row for row in sorted(a.keys() & b.keys()) if a[row]["intent"] == b[row]["intent"] == "bug"]
    response = as_owner.get(
        "/compare/", {"jobs": [job.pk for job in two], "field": "intent", "a": "bug", "b": "bug"}, headers={"HX-Request": "true"}
    )
    page = response.content.decode()
    assert [line.row for line in response.context["found"].lines] == same
    assert (page.count('id="compare-rows"'), "<html" in page) == (1, False)
    if same:
        assert response.context["found"].lines[0].inputs[0] == ("ticket", f"{same[0]:05d}")


def test_refused_with_words(as_owner: Any, people: Any, sandbox: Any, two: tuple[Job, Job]) -> None:
    other = make_job(people.home, people.owner, sandbox, version=make_dataset(people.home, people.owner, 6, "Others"), name="Elsewhere")
    draft = Job.objects.create(workspace=people.home, name="Draft", launch_token="d", created_by=people.owner)
    for jobs, said in (
        ((two[0], other), "their rows are not the same rows"),
        ((two[0], draft), "is a draft"),
        (("x", "y"), "cannot be read"),
        ([uuid4() for _ in range(5)], "too many"),
    ):
        response = get(as_owner, *jobs)
        assert response.status_code == 422
        assert said in response.content.decode()
    for bad in ({"field": "nonsense"}, {"page": "0"}, {"page": "²"}, {"with": str(uuid4())}):
        assert get(as_owner, *two, **bad).status_code == 422, bad
    assert get(as_owner, *two, page="999").context["found"].number == 1


def test_the_button_asks_for_two(as_owner: Any, two: tuple[Job, Job]) -> None:
    for jobs in ((), two[:1]):
        response = get(as_owner, *jobs, go="1")
        assert response.status_code == 422
        assert "Fewer than two jobs are ticked. Tick the jobs to compare." in response.content.decode()
    assert get(as_owner, *two, go="1").status_code == get(as_owner).status_code == 200


def test_others_get_404(client: Any, as_owner: Any, people: Any, sandbox: Any, two: tuple[Job, Job]) -> None:
    assert get(as_owner, two[0], uuid4()).status_code == 404
    away = make_job(
        people.away,
        people.outsider,
        sandbox,
        version=make_dataset(people.away, people.outsider),
        prompt=make_prompt(people.away, people.outsider),
        connection=make_connection(people.away, people.outsider, sandbox),
    )
    assert get(as_owner, two[0], away).status_code == 404
    client.force_login(people.outsider, backend="django.contrib.auth.backends.ModelBackend")
    assert [get(client, *jobs).status_code for jobs in (two, (away, two[0]), (two[0],))] == [404, 404, 404]
    assert "Luna" not in client.get("/compare/").content.decode()


def test_choice_offers_jobs_over_the_same_rows(as_owner: Any, people: Any, sandbox: Any, two: tuple[Job, Job]) -> None:
    make_job(people.home, people.owner, sandbox, version=make_dataset(people.home, people.owner, 6, "Others"), name="Elsewhere")
    groups = as_owner.get("/compare/").context["groups"]
    assert [(str(group.version), [job.name for job in group.jobs]) for group in groups] == [("Tickets v1", ["Sol", "Luna"])]
    assert [job.name for job in get(as_owner, two[0]).context["groups"][0].jobs] == ["Sol", "Luna"]
    page = as_owner.get(f"/jobs/{two[0].pk}/").content.decode()
    assert f'/compare/?jobs={two[0].pk}"' in page
    alone = Job.objects.get(name="Elsewhere")
    assert "/compare/?jobs=" not in as_owner.get(f"/jobs/{alone.pk}/").content.decode()
    assert "/compare/?jobs=" in as_owner.get(f"/jobs/{two[0].pk}/receipt/").content.decode()
    assert "No other job over these rows yet" in get(as_owner, alone).content.decode()


def test_running_job_says_that_answers_are_not_in(as_owner: Any, people: Any, sandbox: Any, two: tuple[Job, Job]) -> None:
    running = make_job(people.home, people.owner, sandbox, version=two[0].dataset_version, name="Running", settle=False)
    response = get(as_owner, *two, running)
    assert [job.name for job in response.context["unsettled"]] == ["Running"]
    assert [tab["label"] for tab in response.context["tabs"]] == ["A and B", "A and C"]
    assert get(as_owner, two[0], running).context["pair"] is None


def test_few_queries(as_owner: Any, two: tuple[Job, Job], django_assert_max_num_queries: Any) -> None:
    for jobs in (two, two[:1], ()):
        with django_assert_max_num_queries(12):
            assert get(as_owner, *jobs).status_code == 200


def test_pieces_mark_what_stands_on_one_side_only() -> None:
    assert pieces("the red car stops", "the blue car stops") == (
        (("the ", False), ("red", True), (" car stops", False)),
        (("the ", False), ("blue", True), (" car stops", False)),
    )
    assert pieces("bug", "billing") == ((("bug", True),), (("billing", True),))
    assert pieces(None, "billing") == (None, (("billing", False),))
    assert pieces("bug", "bug") == ((("bug", False),), (("bug", False),))
