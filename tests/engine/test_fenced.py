"""An answer in a code fence is kept without it: what reads answers later reads JSON."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from jobs.engine.collect import _Gathering, result_files
from jobs.engine.remote import endpoint_of
from jobs.engine.spec import spec_from_json
from jobs.models import Batch
from jobs.providers.registry import provider_for
from jobs.rows.schema import FENCED
from tests.jobs import make_job


@pytest.mark.django_db
def test_a_fence_is_taken_off_before_the_answer_is_kept(people: Any, sandbox: Any, data_folder: Any) -> None:
    job = make_job(people.home, people.owner, sandbox, n_rows=3)
    batch = Batch.objects.select_related("job", "round", "connection").get(job=job)
    spec = spec_from_json(batch.round.spec)
    (path,) = result_files(batch)
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    message = lines[0]["response"]["body"]["choices"][0]["message"]
    bare = message["content"]
    message["content"] = f"```json\n{bare}\n```"
    path.write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    provider = provider_for(endpoint_of(batch.connection))
    plain, odd = _Gathering(batch, spec, lambda line: provider.decode(line, spec)).portions(0, path)
    provider.close()
    assert [odd[name] for name in ("answer", "kind", "message")] == [(bare,), ("succeeded",), (FENCED,)]
    assert ({*odd["_row"], *plain["_row"]}, plain["kind"], plain["message"]) == ({0, 1, 2}, "succeeded", "")
