"""Queries of each page and partial with one object and with three, as in query_counts.json: few, and never more with more rows.

UPDATE_QUERY_COUNTS=1 writes the file anew; look at its difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from jobs.engine.launch import new_token
from jobs.engine.members import add_member
from jobs.engine.prices import save_price
from jobs.engine.prompts import content_of, save_version
from jobs.models import Job
from jobs.words import Role
from tests.jobs import make_connection, make_dataset, make_job, make_prompt, table_bytes
from tests.security.test_matrix import BACKEND, RULES
from tests.security.world import MODEL, World, build

COUNTS = Path(__file__).parent.parent / "query_counts.json"
MOST = 12
NOT_QUERIES = ("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT", "ROLLBACK")


def counts(world: World, people: Any) -> dict[str, int]:
    """Queries by address, whole and as htmx asks for its part (` part`), those of session and person included."""
    client = Client()
    client.force_login(people.owner, backend=BACKEND)
    found: dict[str, int] = {}
    for name, (get, _) in RULES.items():
        if get is None:
            continue
        for part, headers in (("", {}), (" part", {"HX-Request": "true"})):
            client.get(world.url(name), headers=headers)  # what is computed once (a draft's counts) is there the second time
            with CaptureQueriesContext(connection) as seen:
                response = client.get(world.url(name), headers=headers)
                if response.streaming:
                    b"".join(response.streaming_content)
            found[name + part] = sum(not query["sql"].startswith(NOT_QUERIES) for query in seen.captured_queries)
    return found


def two_more(world: World, people: Any, sandbox: Any) -> None:
    """Two more of everything that a list shows, and a job of ten times the rows."""
    home, owner = people.home, people.owner
    for i in (2, 3):
        version = make_dataset(home, owner, name=f"Tickets {i}", content=table_bytes(120 + i))
        prompt = make_prompt(home, owner, f"Intents {i}")
        save_version(prompt.prompt, owner, content_of(prompt).__class__(prompt.kind, "Again.", prompt.user, prompt.schema, prompt.params))
        other = make_connection(home, owner, sandbox, f"Sandbox {i}")
        make_job(home, owner, sandbox, model=MODEL, version=version, prompt=prompt, connection=other, name=f"Sort {i}")
        Job.objects.create(workspace=home, name=f"Draft {i}", launch_token=new_token(), created_by=owner)
        save_price(home, owner, kind="openai", model=f"own-{i}", prices={"input": "1", "output": "2"}, note="")
        add_member(home, owner, f"newcomer{i}", Role.VIEWER)
    make_dataset(home, owner, name="Tickets", content=table_bytes(90))  # a second version


def test_query_counts_are_as_written_and_do_not_grow(people: Any, sandbox: Any, data_folder: Any) -> None:
    world = build(people, sandbox)
    one = counts(world, people)
    two_more(world, people, sandbox)
    three = counts(world, people)
    found = {name: [one[name], three[name]] for name in one}
    if os.environ.get("UPDATE_QUERY_COUNTS"):
        COUNTS.write_text("{\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(n)}" for name, n in sorted(found.items())) + "\n}\n")
    assert {name: n for name, n in found.items() if max(n) > MOST} == {}
    assert {name: n for name, n in found.items() if n[1] > n[0]} == {}
    assert found == json.loads(COUNTS.read_text())


def test_query_counts_do_not_grow_with_the_rows(people: Any, sandbox: Any, data_folder: Any) -> None:
    world = build(people, sandbox)
    few = counts(world, people)
    version = make_dataset(people.home, people.owner, name="Large", content=table_bytes(400))
    large = make_job(people.home, people.owner, sandbox, model=MODEL, version=version)
    of_rows = {name for name in world.args if name.startswith(("job-", "dataset-")) and name not in ("job-decide", "job-give-up")}
    for name in of_rows:
        first = large.pk if name.startswith("job-") else version.pk if name == "dataset-file" else version.dataset_id
        world.args[name] = [first, *world.args[name][1:]]
    many = counts(world, people)
    assert {name: (few[name], many[name]) for name in many if name.removesuffix(" part") in of_rows and many[name] > few[name]} == {}
