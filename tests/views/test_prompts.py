"""Pages of prompts: who may do what, saving versions, the preview beside the text, comparing, and the number of queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from jobs.engine.prompts import Content, create, save_version
from jobs.models import DatasetVersion, Prompt, PromptVersion
from tests.jobs import SCHEMA, make_dataset

BACKEND = "django.contrib.auth.backends.ModelBackend"
HTMX = {"HX-Request": "true"}


def signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user, backend=BACKEND)
    return client


@pytest.fixture
def table(people: Any, data_folder: Path) -> DatasetVersion:
    return make_dataset(people.home, people.owner, 6)


@pytest.fixture
def prompt(people: Any) -> Prompt:
    return create(people.home, people.owner, "Intents", Content(system="You sort.", user="Sort {{ text }}"), note="First").version.prompt


def said(**changes: Any) -> dict[str, Any]:
    return {"kind": "generate", "system": "", "user": "Sort {{ text }}", "act": "save", **changes}


def row_of(response: Any) -> str:
    return " ".join(response.content.decode().split())


PAGES = [
    ("prompt-list", False, (200, 200, 200, 200)),
    ("prompt-new", False, (200, 200, 403, 200)),
    ("prompt-detail", True, (200, 200, 200, 404)),
    ("prompt-compare", True, (200, 200, 200, 404)),
    ("prompt-edit", True, (200, 200, 403, 404)),
    ("prompt-settings", True, (200, 200, 403, 404)),
    ("prompt-archive", True, (302, 302, 302, 302)),
]


@pytest.mark.parametrize(("name", "of_prompt", "expected"), PAGES, ids=[page[0] for page in PAGES])
def test_each_page_is_for_members_of_the_workspace_with_the_role(
    people: Any, prompt: Prompt, name: str, of_prompt: bool, expected: tuple[int, ...]
) -> None:
    url = reverse(name, args=[prompt.pk] if of_prompt else [])
    got = tuple(signed_in(who).get(url).status_code for who in (people.owner, people.analyst, people.viewer, people.outsider))
    assert got == expected
    assert Client().get(url).status_code == 302


def test_viewers_and_outsiders_change_nothing(people: Any, prompt: Prompt) -> None:
    posts = {
        reverse("prompt-new"): said(name="Mine"),
        reverse("prompt-edit", args=[prompt.pk]): said(user="x"),
        reverse("prompt-settings", args=[prompt.pk]): {"name": "Mine"},
        reverse("prompt-archive", args=[prompt.pk]): {"archived": "1"},
    }
    viewer, outsider = signed_in(people.viewer), signed_in(people.outsider)
    assert [viewer.post(url, data).status_code for url, data in posts.items()] == [403, 403, 403, 403]
    assert [outsider.post(url, data).status_code for url, data in list(posts.items())[1:]] == [404, 404, 404]
    prompt.refresh_from_db()
    assert (prompt.name, prompt.archived_at, PromptVersion.objects.count()) == ("Intents", None, 1)


def test_viewers_see_no_buttons_that_they_may_not_press(people: Any, prompt: Prompt) -> None:
    for url, button in (
        (reverse("prompt-list"), reverse("prompt-new")),
        (reverse("prompt-detail", args=[prompt.pk]), reverse("prompt-edit", args=[prompt.pk])),
    ):
        mine, theirs = (signed_in(who).get(url).content.decode() for who in (people.owner, people.viewer))
        assert (f'href="{button}"' in mine, f'href="{button}"' in theirs) == (True, False)


def test_another_workspaces_dataset_cannot_be_chosen_or_previewed(people: Any, table: DatasetVersion) -> None:
    client = signed_in(people.outsider)
    page = client.post(reverse("prompt-new"), said(act="preview", dataset=str(table.dataset_id), user="{{ ticket }}"), headers=HTMX)
    assert (page.status_code, "00000" in page.content.decode(), "Choose a dataset" in page.content.decode()) == (200, False, True)
    assert client.post(reverse("prompt-new"), said(name="X", dataset=str(table.dataset_id))).status_code == 422


def test_a_saved_prompt_holds_what_was_written(as_owner: Any, table: DatasetVersion) -> None:
    response = as_owner.post(
        reverse("prompt-new"),
        said(
            name=" Ticket  intents ",
            dataset=str(table.dataset_id),
            system="You sort.\r\nBe brief.",
            user="  {{ text }}\r\n",
            schema=json.dumps(SCHEMA),
            max_output_tokens="200",
            params='temperature = 0\nreasoning_effort = low\nstop = ["a", "b"]\nseed = 12',
            cache_prefix="on",
            note="First try",
        ),
    )
    version = PromptVersion.objects.select_related("prompt").get()
    assert response["Location"] == f"{reverse('prompt-detail', args=[version.prompt_id])}?version=1"
    assert (version.prompt.name, version.prompt.dataset_id, version.number, version.note) == (
        "Ticket intents",
        table.dataset_id,
        1,
        "First try",
    )
    assert (version.system, version.user, version.schema) == ("You sort.\nBe brief.", "  {{ text }}\n", SCHEMA)
    assert version.params == {
        "temperature": 0,
        "reasoning_effort": "low",
        "stop": ["a", "b"],
        "seed": 12,
        "max_output_tokens": 200,
        "cache_prefix": True,
    }
    edit = as_owner.get(reverse("prompt-edit", args=[version.prompt_id])).context["form"].initial
    assert edit["params"] == 'temperature = 0\nreasoning_effort = low\nstop = ["a", "b"]\nseed = 12'


def test_each_save_is_a_version_and_the_same_content_says_that_nothing_changed(as_owner: Any, prompt: Prompt) -> None:
    url = reverse("prompt-edit", args=[prompt.pk])
    same = as_owner.post(url, said(system="You sort.", note="again"), follow=True)
    assert "Nothing changed: version 1 holds exactly this." in same.content.decode()
    changed = as_owner.post(url, said(system="You sort well."), follow=True)
    assert "Saved as version 2." in changed.content.decode()
    back = as_owner.post(url, said(system="You sort."), follow=True)  # an older content, but not the newest one's
    assert "Saved as version 3." in back.content.decode()
    assert list(prompt.versions.values_list("number", "system").order_by("number")) == [
        (1, "You sort."),
        (2, "You sort well."),
        (3, "You sort."),
    ]


def test_a_version_that_came_meanwhile_is_said_before_another_is_saved(as_owner: Any, people: Any, prompt: Prompt) -> None:
    url = reverse("prompt-edit", args=[prompt.pk])
    opened = row_of(as_owner.get(url))
    assert '<input type="hidden" name="seen" value="1">' in opened
    save_version(prompt, people.analyst, Content(user="Theirs {{ text }}"))
    mine = said(user="Mine {{ text }}", seen="1")
    wrong = as_owner.post(url, {**mine, "user": ""})  # another mistake does not make it known
    assert 'name="seen" value="1"' in row_of(wrong)
    told = as_owner.post(url, mine)
    page = row_of(told)
    assert told.status_code == 422
    assert "version 2 was saved meanwhile by analyst" in page
    assert f'href="{reverse("prompt-compare", args=[prompt.pk])}?from=1&amp;to=2"' in page
    assert "Mine {{ text }}</textarea>" in page
    assert [each.user for each in prompt.versions.order_by("number")] == ["Sort {{ text }}", "Theirs {{ text }}"]
    assert 'name="seen" value="2"' in page
    assert as_owner.post(url, {**mine, "seen": "2"})["Location"].endswith("?version=3")
    assert [each.user for each in prompt.versions.order_by("number")] == ["Sort {{ text }}", "Theirs {{ text }}", "Mine {{ text }}"]


def test_who_starts_from_an_old_version_knowingly_is_not_asked(as_owner: Any, people: Any, prompt: Prompt) -> None:
    save_version(prompt, people.owner, Content(user="Newer {{ text }}"))
    url = f"{reverse('prompt-edit', args=[prompt.pk])}?version=1"
    assert 'name="seen" value="2"' in row_of(as_owner.get(url))
    assert as_owner.post(url, said(user="From the first {{ text }}", seen="2"))["Location"].endswith("?version=3")


@pytest.mark.parametrize("kind", ["embed", "moderate"])
def test_what_generates_nothing_has_no_system_prompt_schema_or_output(as_owner: Any, people: Any, kind: str) -> None:
    as_owner.post(
        reverse("prompt-new"),
        said(name="E", kind=kind, system="no", schema=json.dumps(SCHEMA), max_output_tokens="9", params="dimensions = 256"),
    )
    version = PromptVersion.objects.get()
    assert (version.kind, version.system, version.schema, version.params) == (kind, "", None, {"dimensions": 256})


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"user": " "}, "user", "Write what is sent for each row."),
        ({"user": "a\n{{ text "}, "user", "Line 2: "),
        ({"system": "{% for a in b %}{% endfor %}{{ a() }}"}, "system", "Line 1: Calling functions is not available in a template."),
        ({"schema": '{"type": \n}'}, "schema", "Line 2: this is not JSON"),
        ({"schema": "[1]"}, "schema", "The output schema is not a JSON object."),
        ({"schema": '{"type": "nonsense"}'}, "schema", "The output schema is not valid at type"),
        ({"params": "temperature"}, "params", "Line 1: write it as name = value."),
        ({"params": "a = 1\na = 2"}, "params", "Line 2: “a” stands there twice."),
        ({"params": "max_output_tokens = 2"}, "params", "It has a field of its own."),
        ({"params": 'stop = ["a'}, "params", "Line 1: the value is not whole JSON."),
        ({"max_output_tokens": "0"}, "max_output_tokens", "Enter 1 or more."),
        ({"name": ""}, "name", "required"),
    ],
)
def test_bad_input_is_422_at_its_field_with_all_that_was_written(as_owner: Any, changes: dict[str, str], field: str, message: str) -> None:
    response = as_owner.post(reverse("prompt-new"), said(**{"name": "New", "note": "a note to keep", **changes}))
    page = response.content.decode()
    assert response.status_code == 422
    assert message in " ".join(response.context["form"].errors[field])
    assert ('value="a note to keep"' in page, "<title>Not saved · New prompt · batchui</title>" in page) == (True, True)
    assert not PromptVersion.objects.exists()


def test_a_name_that_is_taken_is_refused_at_its_field(as_owner: Any, prompt: Prompt) -> None:
    response = as_owner.post(reverse("prompt-new"), said(name="Intents"))
    assert (response.status_code, response.context["form"].errors["name"]) == (
        422,
        ["There is a prompt named “Intents” already. Choose another name."],
    )
    assert Prompt.objects.count() == 1


def test_a_saved_unknown_column_is_warned_of(as_owner: Any, table: DatasetVersion) -> None:
    response = as_owner.post(reverse("prompt-new"), said(name="T", dataset=str(table.dataset_id), user="{{ txt }}"), follow=True)
    assert "Tickets has no column “txt”: rows of it cannot be filled in." in response.content.decode()


def test_preview_fills_in_a_real_row_and_counts_its_tokens(as_owner: Any, table: DatasetVersion) -> None:
    post = said(act="preview", dataset=str(table.dataset_id), system="Sort.", user="{{ ticket }}: {{ text }}", row="2")
    response = as_owner.post(reverse("prompt-new"), post, headers=HTMX)
    page = row_of(response)
    assert page.startswith('<section id="preview"')
    assert 'Row 2 <span class="muted">of 6</span>' in page
    assert "00001: The app crashes, a bug when I open settings</div>" in page
    trial = response.context["trial"]
    assert (trial.system, trial.row, trial.previous, trial.following) == ("Sort.", 2, 1, 3)
    assert 10 < trial.tokens < 40
    assert dict(trial.values) == {"ticket": "00001", "text": "The app crashes, a bug when I open settings", "note": ""}
    assert 'id="prompt-columns"' in page  # the chips come along, for the page knew of no table yet
    known = as_owner.post(reverse("prompt-new"), {**post, "columns_of": str(table.pk)}, headers=HTMX)
    assert 'id="prompt-columns"' not in known.content.decode()


def test_preview_names_unknown_columns_with_line_and_what_was_meant(as_owner: Any, table: DatasetVersion) -> None:
    post = said(act="preview", dataset=str(table.dataset_id), user="Sort this.\n{{ txet }}")
    page = row_of(as_owner.post(reverse("prompt-new"), post, headers=HTMX))
    beneath = page.split('<ul id="problems-user"')[1]
    assert 'hx-swap-oob="true"' in beneath
    assert 'data-line="2"' in beneath
    assert "There is no column “txet”." in beneath
    assert 'data-fix="text"' in beneath
    assert "<li>" not in page.split('<ul id="problems-system"')[1].split("</ul>")[0]


def test_preview_says_what_fails_on_the_row(as_owner: Any, table: DatasetVersion) -> None:
    post = said(act="preview", dataset=str(table.dataset_id), user="{{ ticket / 2 }}")
    page = row_of(as_owner.post(reverse("prompt-new"), post, headers=HTMX))
    assert ("This row cannot be filled in" in page, "needs two numbers" in page) == (True, True)


@pytest.mark.parametrize(("row", "expected"), [("999", 6), ("0", 1), ("x", 1), ("", 1)])
def test_preview_stays_within_the_table(as_owner: Any, table: DatasetVersion, row: str, expected: int) -> None:
    post = said(act="preview", dataset=str(table.dataset_id), row=row)
    assert as_owner.post(reverse("prompt-new"), post, headers=HTMX).context["trial"].row == expected


def test_preview_without_script_is_the_whole_page_with_what_was_written(as_owner: Any, table: DatasetVersion) -> None:
    post = said(act="preview", dataset=str(table.dataset_id), user="Hello {{ ticket }}", name="Half done")
    page = as_owner.post(reverse("prompt-new"), post).content.decode()
    assert ("Hello 00000</div>" in page, 'value="Half done"' in page, page.count('id="problems-user"')) == (True, True, 1)


def test_foreign_text_is_escaped_and_hidden_characters_are_shown(as_owner: Any, people: Any, data_folder: Path) -> None:
    version = make_dataset(people.home, people.owner, content="a\n<img src=x>\u202e42\n".encode(), name="Odd")
    post = said(act="preview", dataset=str(version.dataset_id), user="{{ a }}")
    page = as_owner.post(reverse("prompt-new"), post, headers=HTMX).content.decode()
    assert ("<img src=x>" in page, "\u202e" in page, "U+202E" in page) == (False, False, True)


def test_compare_shows_what_changed_in_each_part(as_owner: Any, people: Any, prompt: Prompt) -> None:
    save_version(prompt, people.owner, Content(system="You sort.", user="Sort {{ text }}\nBriefly.", params={"temperature": 0}))
    response = as_owner.get(reverse("prompt-compare", args=[prompt.pk]), {"from": "1", "to": "2"})
    parts = {part.title: (part.old, part.new) for part in response.context["parts"] if not part.same}
    assert parts == {"User prompt": ("Sort {{ text }}", "Sort {{ text }}\nBriefly."), "Parameters": ("", "temperature = 0")}
    assert '<span class="sr">added: </span>Briefly.' in response.content.decode()
    same = as_owner.get(reverse("prompt-compare", args=[prompt.pk]), {"from": "2", "to": "2"})
    assert "No difference" in same.content.decode()
    assert as_owner.get(reverse("prompt-compare", args=[prompt.pk]), {"from": "1", "to": "9"}).status_code == 404


def test_a_version_is_read_and_edited_from(as_owner: Any, people: Any, prompt: Prompt) -> None:
    save_version(prompt, people.owner, Content(user="Newer {{ text }}"))
    page = as_owner.get(reverse("prompt-detail", args=[prompt.pk]), {"version": "1"}).content.decode()
    assert ("Sort {{ text }}" in page, "This is an older version." in page) == (True, True)
    form = as_owner.get(reverse("prompt-edit", args=[prompt.pk]), {"version": "1"}).context["form"]
    assert form.initial["user"] == "Sort {{ text }}"
    assert as_owner.get(reverse("prompt-detail", args=[prompt.pk]), {"version": "7"}).status_code == 404


def test_rename_and_archive(as_owner: Any, people: Any, prompt: Prompt) -> None:
    create(people.home, people.owner, "Other", Content(user="x"))
    url = reverse("prompt-settings", args=[prompt.pk])
    assert as_owner.post(url, {"name": "Other"}).status_code == 422
    assert as_owner.post(url, {"name": "Better"}).status_code == 302
    as_owner.post(reverse("prompt-archive", args=[prompt.pk]), {"archived": "1"})
    listed = as_owner.get(reverse("prompt-list"), headers=HTMX).content.decode()
    archived = as_owner.get(reverse("prompt-list"), {"archived": "1"}, headers=HTMX).content.decode()
    assert (">Better<" in listed, ">Better<" in archived) == (False, True)


def test_first_use_invites_to_write_one(as_owner: Any) -> None:
    assert "Write your first prompt" in as_owner.get(reverse("prompt-list")).content.decode()


@pytest.mark.parametrize(
    ("name", "most"),
    [("prompt-list", 7), ("prompt-new", 7), ("prompt-detail", 9), ("prompt-compare", 10), ("prompt-edit", 11), ("prompt-settings", 7)],
)
def test_pages_need_few_queries_however_much_there_is(
    as_owner: Any, people: Any, table: DatasetVersion, prompt: Prompt, name: str, most: int
) -> None:
    url = reverse(name, args=[] if name in ("prompt-list", "prompt-new") else [prompt.pk])
    counts = []
    for n in range(2):
        with CaptureQueriesContext(connection) as asked:
            assert as_owner.get(url).status_code == 200
        counts.append(len(asked))
        save_version(prompt, people.owner, Content(user=f"Another {n}"))
        create(people.home, people.owner, f"Prompt {n}", Content(user="x"))
    assert counts[1] <= counts[0] + 1  # the first page writes when the session was seen
    assert counts[1] <= most
