"""Results: the table and its filters, one row, charts, downloads."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.http import QueryDict
from django.urls import reverse

from jobs.errors import BadInput
from jobs.forms.results import row_filter
from jobs.models import Job
from jobs.queries.results import answer_charts, neighbours, results_page
from jobs.rows.query import Filter
from jobs.views.job import files_of
from tests.jobs import TEXTS

HTMX = {"HX-Request": "true"}


def rows_in(page: str) -> list[int]:
    return [int(n) for n in re.findall(r'<tr data-id="(\d+)"', page)]


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("", list(range(24))),
        ("?kind=failed", [0, 1, 2]),
        ("?kind=failed&kind=missing", [0, 1, 2, 3]),
        ("?cause=cut_off", [6, 7]),
        ("?kind=invalid&cause=schema_mismatch", [4, 5]),
        ("?q=00017", [17]),
        ("?q=%E8%AB%8B%E5%95%8F", [4, 10, 16, 22]),
        ("?round=1&kind=missing", [3]),
        ("?page=7", list(range(24))),
        ("?after=20", [21, 22, 23]),
        ("?kind=pending", []),
    ],
)
def test_filters_find_their_rows(query: str, rows: list[int], job: Job, as_owner: Any) -> None:
    answer = as_owner.get(reverse("job-rows", args=[job.pk]) + query)
    assert (answer.status_code, rows_in(answer.content.decode())) == (200, rows)


def test_answer_filter_finds_the_rows_with_that_label(job: Job, as_owner: Any) -> None:
    page = results_page(job, files_of(job), Filter(), 1)
    wanted = [line.row for line in page.lines if line.retryable is False and line.answers[0].text == "billing"]
    assert wanted
    answer = as_owner.get(reverse("job-rows", args=[job.pk]), {"answer.intent": "billing", "kind": "succeeded"})
    assert rows_in(answer.content.decode()) == wanted


def test_answers_that_are_no_fields_span_their_columns_and_fill_none(job: Job, as_owner: Any) -> None:
    page = results_page(job, files_of(job), Filter(), 1)
    unread = {line.row: line.unparsed.text for line in page.lines if line.unparsed}
    assert 6 in unread  # cut off
    assert {cell.kind for line in page.lines if line.unparsed for cell in line.answers} == {"none"}
    text = as_owner.get(reverse("job-rows", args=[job.pk])).content.decode()
    rows = dict(re.findall(r'<tr data-id="(\d+)">(.*?)</tr>', text, re.DOTALL))
    spans = {int(row) for row, cells in rows.items() if '<td colspan="4" data-span="4" class="unparsed">' in cells}
    assert spans == set(unread)


def test_answer_fields_stand_beside_the_original_columns(job: Job, as_owner: Any) -> None:
    page = as_owner.get(reverse("job-rows", args=[job.pk])).content.decode()
    heads = [re.sub("<[^>]+>", "", head).strip() for head in re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", page)]
    assert heads[1:] == [
        "Row",
        "Outcome",
        "intent",
        "urgent",
        "summary",
        "score",
        "Message",
        "ticket",
        "text",
        "note",
        "Tokens in / out",
        "Cost",
    ]
    assert "مرحبا، لدي سؤال عن الفاتورة" in page


def test_htmx_gets_the_part_alone(job: Job, as_owner: Any) -> None:
    part = as_owner.get(reverse("job-rows", args=[job.pk]), headers=HTMX).content.decode()
    assert part.startswith('<section class="stack-s" id="rows">')
    assert "<html" not in part


@pytest.mark.parametrize("query", ["?kind=bad", "?cause=bad", "?round=x", "?q=" + "x" * 201])
def test_bad_filter_is_422_and_says_so(query: str, job: Job, as_owner: Any) -> None:
    answer = as_owner.get(reverse("job-rows", args=[job.pk]) + query)
    assert answer.status_code == 422
    assert "That filter cannot be used" in answer.content.decode()
    assert as_owner.get(reverse("job-download", args=[job.pk, "csv"]) + query).status_code == 422


def test_no_match_says_which_filters_and_clears_them(job: Job, as_owner: Any) -> None:
    page = as_owner.get(reverse("job-rows", args=[job.pk]), {"q": "nobody wrote this", "kind": "failed"}).content.decode()
    assert "No rows match" in page
    assert re.findall(r'<span class="filter-chip">([^<]+)<', page)[:2] == ["Failed", "“nobody wrote this”"]


def test_filter_has_one_address() -> None:
    chosen = row_filter(QueryDict("q=a+b&cause=cut_off&kind=invalid&answer.intent=bug&kind=&field=x&value=1"))
    assert chosen.query == "kind=invalid&cause=cut_off&answer.intent=bug&answer.x=1&q=a+b"
    assert chosen.words[0] == ("Invalid", "?cause=cut_off&answer.intent=bug&answer.x=1&q=a+b")
    with pytest.raises(BadInput):
        row_filter(QueryDict("kind=nothing"))


def test_row_tells_its_whole_story(job: Job, as_owner: Any) -> None:
    page = as_owner.get(reverse("job-row", args=[job.pk, 8])).content.decode()
    assert "A question: how do I export my data?" in page
    assert "Raw request" in page
    assert "&quot;custom_id&quot;" in page
    assert "chat.completion" in page
    assert f'href="{reverse("job-row", args=[job.pk, 7])}"' in page
    assert f'href="{reverse("job-row", args=[job.pk, 9])}"' in page
    prompt = as_owner.get(reverse("job-row-prompt", args=[job.pk, 8]), headers=HTMX).content.decode()
    assert "Ticket 00008: A question: how do I export my data?" in prompt
    assert as_owner.get(reverse("job-row", args=[job.pk, 24])).status_code == 404


def test_drawer_moves_within_the_filter(job: Job, as_owner: Any) -> None:
    part = as_owner.get(reverse("job-row", args=[job.pk, 1]) + "?kind=failed", headers=HTMX).content.decode()
    assert part.lstrip().startswith('<dialog class="drawer"')
    assert f'href="{reverse("job-row", args=[job.pk, 0])}?kind=failed"' in part
    assert f'href="{reverse("job-row", args=[job.pk, 2])}?kind=failed"' in part
    assert f'data-back="{reverse("job-rows", args=[job.pk])}?kind=failed"' in part
    assert "2 of 3" in part


def test_neighbours_of_a_row_outside_the_filter(job: Job) -> None:
    files = files_of(job)
    assert neighbours(files, Filter(kinds=("failed",)), 2) == (1, None, 3, 3)
    assert neighbours(files, Filter(causes=("cut_off",)), 4) == (None, 6, 0, 2)
    assert neighbours(files, Filter(), 0) == (None, 1, 1, 24)


def test_charts_are_drawn_from_all_rows(job: Job) -> None:
    charts = dict(answer_charts(job, files_of(job)))
    labels = dict(charts["field-0"].table[1])
    assert sum(labels.values()) == 16
    assert set(labels) <= {"billing", "bug", "question"}
    assert sum(n for _, n in charts["field-2"].table[1]) == 16


def body(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


def test_download_holds_every_row_once_in_order(job: Job, as_owner: Any) -> None:
    answer = as_owner.get(reverse("job-download", args=[job.pk, "csv"]))
    lines = list(csv.DictReader(io.StringIO(body(answer).decode())))
    assert [line["ticket"] for line in lines] == [f"{i:05d}" for i in range(24)]
    assert [line["_outcome"] for line in lines].count("succeeded") == 16
    assert lines[5]["text"] == "'" + TEXTS[5]
    name = f"sort-tickets-{job.pk.hex[:8]}.csv"
    assert answer["Content-Disposition"] == f"attachment; filename=\"{name}\"; filename*=UTF-8''{name}"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]
    kept = list(csv.DictReader(io.StringIO(body(as_owner.get(reverse("job-download", args=[job.pk, "csv"]) + "?formulas=keep")).decode())))
    assert kept[5]["text"] == TEXTS[5]


def test_download_of_a_filter_in_each_format(job: Job, as_owner: Any, people: Any, sign_in: Any) -> None:
    url = lambda kind: reverse("job-download", args=[job.pk, kind]) + "?kind=failed"  # noqa: E731
    lines = [json.loads(line) for line in body(sign_in(people.viewer).get(url("jsonl"))).splitlines()]
    assert [(line["_row"], line["_outcome"], line["_cause"]) for line in lines] == [(i, "failed", "provider_error") for i in range(3)]
    table = pq.read_table(io.BytesIO(body(as_owner.get(url("parquet")))))
    assert table.column("_row").to_pylist() == [0, 1, 2]
    assert as_owner.get(reverse("job-download", args=[job.pk, "exe"])).status_code == 404


@pytest.mark.parametrize(("separator", "sign"), [("comma", ","), ("semicolon", ";"), ("tab", "\t"), ("nonsense", ",")])
def test_csv_for_excel_is_the_same_table_with_a_mark_and_the_separator_of_the_choice(
    separator: str, sign: str, job: Job, as_owner: Any
) -> None:
    plain = body(as_owner.get(reverse("job-download", args=[job.pk, "csv"])))
    answer = as_owner.get(reverse("job-download", args=[job.pk, "excel"]) + f"?separator={separator}")
    excel = body(answer)
    assert excel.startswith(b"\xef\xbb\xbf")
    assert not plain.startswith(b"\xef\xbb\xbf")
    told = list(csv.reader(io.StringIO(excel.decode("utf-8-sig")), delimiter=sign))
    assert told == list(csv.reader(io.StringIO(plain.decode())))
    assert len(told) == 25
    assert re.search(r'filename="[a-z0-9-]+\.csv"', answer["Content-Disposition"])
