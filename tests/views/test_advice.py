"""“Should this be batch?” as a page: numbers, a job's numbers, a file of requests with its bad lines."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from jobs.engine.spec import sheet_for
from jobs.models import Connection
from tests.jobs import make_job

URL = "/costs/batch-or-not/"
MODEL = "gpt-6-luna"
D = Decimal


@pytest.fixture
def connection(people: Any) -> Connection:
    return Connection.objects.create(workspace=people.home, name="Main", kind="openai")


def ask(client: Any, connection: Connection, **more: Any) -> Any:
    given = {"model": MODEL, "requests": 1_000_000, "input_tokens": 800, "output_tokens": 100, "pattern": "once", "deadline": "24"}
    return client.get(URL, {"connection": connection.pk, **given, **more})


def send(client: Any, connection: Connection, text: str, name: str = "traffic.csv", **more: Any) -> Any:
    file = SimpleUploadedFile(name, text.encode())
    return client.post(URL, {"connection": connection.pk, "model": MODEL, "deadline": "48", "file": file, **more})


def test_numbers_are_priced_by_the_sheet(as_owner: Any, connection: Connection) -> None:
    response = ask(as_owner, connection)
    tiers = {lane: sheet_for(connection, MODEL).tiers(lane)[0] for lane in ("batch", "direct")}
    wanted = {lane: tier.input * 800 + tier.output * 100 for lane, tier in tiers.items()}
    found = response.context["found"]
    assert {lane: found.of(lane).usd for lane in wanted} == wanted
    assert found.saving == wanted["direct"] - wanted["batch"]
    assert response.context["answer"][0] == "Yes: batch"
    assert "mostly within 1 h, at most 24 h" in response.content.decode()
    assert ask(as_owner, connection, deadline="2", requests="1000").context["answer"][0] == "Almost: flex"


def test_unknown_price_is_said(as_owner: Any, connection: Connection) -> None:
    response = ask(as_owner, connection, model="nobodys-model")
    page = response.content.decode()
    assert {each.lane.usd for each in response.context["lanes"]} == {None}
    assert "has no known price" in response.context["answer"][1]
    assert "$0" not in page


def test_bad_numbers_are_422(as_owner: Any, connection: Connection) -> None:
    bad = (
        {"requests": "0"},
        {"requests": "x"},
        {"input_tokens": "-1"},
        {"deadline": "nan"},
        {"model": ""},
        {"pattern": "odd"},
        {"output_tokens": 10**8},
    )
    assert [ask(as_owner, connection, **each).status_code for each in bad] == [422] * len(bad)
    assert as_owner.get(URL, {"requests": "5"}).status_code == 422
    assert as_owner.get(URL).status_code == 200


def test_connection_of_others_is_not_taken(client: Any, people: Any, connection: Connection) -> None:
    client.force_login(people.outsider, backend="django.contrib.auth.backends.ModelBackend")
    Connection.objects.create(workspace=people.away, name="Own", kind="openai")
    assert ask(client, connection).status_code == 422
    assert ">Main<" not in client.get(URL).content.decode()


def test_file_prices_each_request_in_its_tier_and_by_its_model(as_owner: Any, connection: Connection) -> None:
    lines = [
        "time,input_tokens,output_tokens,model",
        "2026-11-21T10:00:30Z,1000,10,",
        "2026-11-21 10:00:00,300000,20,gpt-5-mini",
        "1763719200,7,0,",
    ]
    response = send(as_owner, connection, "\n".join(lines))
    assert response.status_code == 200, response.content.decode()
    traffic = response.context["traffic"]
    assert [(load.sheet.model, load.n, load.inputs.tolist()) for load in traffic.loads] == [
        (MODEL, 2, [7, 1000]),
        ("gpt-5-mini", 1, [300000]),
    ]
    from jobs.costs.prices import Usage, price_row

    wanted = [price_row(sheet_for(connection, MODEL), "batch", Usage(i, output_tokens=o)) for i, o in ((1000, 10), (7, 0))]
    wanted.append(price_row(sheet_for(connection, "gpt-5-mini"), "batch", Usage(300000, output_tokens=20)))
    assert response.context["found"].of("batch").usd == sum((each or D(0) for each in wanted), D(0))
    requests = response.context["requests"]
    assert (requests.n, requests.busiest_minute, requests.span) == (3, 2, float(requests.seconds[-1] - requests.seconds[0]))


HEAD = "time,input_tokens,output_tokens\n2026-11-21T10:00:00Z,5,5\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "2026-11-21T10:00:00Z,five,5\n", "Line 3: input_tokens is “five”, where a whole number of tokens is expected."),
        (HEAD + "2026-11-21T10:00:00Z,5,\n", "Line 3: output_tokens is empty, where a whole number of tokens is expected."),
        (HEAD + "yesterday,5,5\n", "Line 3: time is “yesterday”, where a moment such as 2026-11-21T14:05:00Z is expected."),
        (
            HEAD + "2026-11-21T10:00:00Z,5,99999999\n",
            "Line 3: output_tokens is “99999999”, where at most 10,000,000 tokens of one request is expected.",
        ),
        ("time,input_tokens\n1,2\n", "The file has no column output_tokens."),
        ("time,input_tokens,output_tokens,model\n2026-11-21T10:00:00Z,1,1,a\n2026-11-21T10:00:00Z,1,1,\n", "Line 3 names no model."),
    ],
)
def test_bad_files_name_the_line(as_owner: Any, connection: Connection, text: str, said: str) -> None:
    response = send(as_owner, connection, text, model="" if "model" in text else MODEL)
    assert (response.status_code, response.context["problem"].message) == (422, said)


def test_spread_traffic_needs_time_to_be_collected(as_owner: Any, connection: Connection) -> None:
    word, why = ask(as_owner, connection, pattern="month", requests="1000").context["answer"]
    assert (word, why.rpartition("; ")[2]) == ("Almost: flex", "a batch may take 24 h, which leaves no time to collect requests for it.")
    response = ask(as_owner, connection, pattern="month", requests="1000", deadline="30")
    assert response.context["answer"][0] == "Yes: batch"
    assert "Collect requests for up to 6 h, then send them as one batch." in response.content.decode()


def test_missing_and_binary_files_are_422(as_owner: Any, connection: Connection) -> None:
    assert as_owner.post(URL, {"connection": connection.pk, "model": MODEL}).status_code == 422
    assert send(as_owner, connection, "\x00\x01\x02" * 50).status_code == 422


def test_numbers_of_a_job(as_owner: Any, people: Any, sandbox: Any, data_folder: Any) -> None:
    job = make_job(people.home, people.owner, sandbox)
    initial = as_owner.get(URL, {"job": job.pk}).context["form"].initial
    usage = job.rounds.get().batches.get().usage
    got = {key: initial[key] for key in ("requests", "model", "connection", "input_tokens", "output_tokens")}
    assert got == {
        "requests": 24,
        "model": MODEL,
        "connection": str(job.connection_id),
        "input_tokens": round(usage["input_tokens"] / 24),
        "output_tokens": round(usage["output_tokens"] / 24),
    }
    assert as_owner.get(URL, {"job": "x"}).status_code == 404


def test_few_queries(as_owner: Any, connection: Connection, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(12):
        ask(as_owner, connection)
