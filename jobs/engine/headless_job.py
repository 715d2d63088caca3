"""A job from files and flags, driven in the foreground: what `manage.py run_job` does."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import orjson
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Max
from django.utils import timezone

from jobs import formats
from jobs.engine import ingest, places
from jobs.engine.drive import connection_problem, drive
from jobs.engine.estimates import estimate_for, sample_of
from jobs.engine.exports import export_of
from jobs.engine.headless import headless_workspace
from jobs.engine.launch import Plan, launch, new_token, problems_of
from jobs.engine.receipts import receipt_json
from jobs.engine.retry import retry
from jobs.errors import BadInput, BadTable
from jobs.models import Batch, Connection, DatasetVersion, Job, Prompt, PromptVersion, Workspace
from jobs.rows.choose import Wanted
from jobs.rows.export import write_export
from jobs.rows.files import write_whole
from jobs.rows.schema import check_schema
from jobs.rows.template import check
from jobs.words import BatchState, JobState, Lane

KINDS = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
CHUNK = 1 << 20


def start(options: dict[str, Any]) -> Job:
    """Read the files, check everything, and launch. Raises BadInput or OSError before anything is sent, and leaves nothing behind then."""
    for needed in ("dataset", "prompt", "connection", "model", "out"):
        if not options[needed]:
            raise BadInput(f"--{needed} is needed.")
    _check_flags(options)
    content = _content(options)
    workspace = headless_workspace(options["workspace"])
    connection = Connection.objects.filter(workspace=workspace, name=options["connection"], archived_at__isnull=True).first()
    if connection is None:
        names = ", ".join(Connection.objects.filter(workspace=workspace).values_list("name", flat=True)) or "none yet"
        raise BadInput(f"There is no connection “{options['connection']}” (there is: {names}).", "Add it with manage.py add_connection.")
    with ExitStack() as undo:
        version = _dataset(workspace, Path(options["dataset"]), undo)
        _check_templates(options, content, version)
        prompt = _prompt(workspace, Path(options["prompt"]).stem, content, undo)
        plan = Plan(
            workspace=workspace,
            dataset_version=version,
            prompt_version=prompt,
            connection=connection,
            model=options["model"],
            name=options["name"],
            lane=Lane(options["lane"]),
            max_attempts=options["max_attempts"],
            token=new_token(),
        )
        if found := problems_of(plan):
            raise BadInput(found[0])
        sample = sample_of(version, prompt)
        plan.estimate = estimate_for(sample, prompt, connection, plan.model, prompt.params.get("max_output_tokens"))[0].to_json()
        settings.NUDGE = False  # nobody takes wake-ups here; the ledger says what is due
        job = launch(plan, None)
        undo.pop_all()
    return job


def _check_flags(options: dict[str, Any]) -> None:
    """What could only be found wrong once the answers are paid for."""
    out_kind(options["out"])
    for flag in ("out", "receipt"):
        place = Path(options[flag]).absolute() if options[flag] else None
        if place is not None and (place.is_dir() or not place.parent.is_dir()):
            raise BadInput(f"{options[flag]}: {'that is a folder, not a file' if place.is_dir() else 'that folder does not exist'}.")
    if not 0 <= options["poll_seconds"] <= 86_400:  # not a number is not in it
        raise BadInput("--poll-seconds takes a number of seconds from 0 to 86400.")
    if options["max_attempts"] < 1:
        raise BadInput("--max-attempts must be at least 1.")


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text (byte {error.start}).") from error


def _content(options: dict[str, Any]) -> dict[str, Any]:
    """What a prompt version is made of, out of the files."""
    schema = None
    if options["schema"]:
        try:
            schema = json.loads(_text(options["schema"]))
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{options['schema']} is not JSON: {error}") from error
        check_schema(schema)
    return {
        "kind": options["kind"],
        "system": _text(options["system"]) if options["system"] else "",
        "user": _text(options["prompt"]),
        "schema": schema,
        "params": dict(_params(options["param"])),
    }


def _check_templates(options: dict[str, Any], content: dict[str, Any], version: DatasetVersion) -> None:
    for problem in check(content["system"], content["user"], version.columns):
        path = options["prompt" if problem.part == "user" else "system"]
        raise BadInput(f"{path}{f', line {problem.line}' if problem.line else ''}: {problem.message}", problem.hint)


def _prompt(workspace: Workspace, name: str, content: dict[str, Any], undo: ExitStack) -> PromptVersion:
    """A prompt version with exactly this content; an existing one of the same name and content is used again."""
    prompt, made = Prompt.objects.get_or_create(workspace=workspace, name=name[:200] or "Prompt")
    for version in prompt.versions.all():
        if all(getattr(version, field) == value for field, value in content.items()):
            return version
    number = (prompt.versions.aggregate(n=Max("number"))["n"] or 0) + 1
    version = PromptVersion.objects.create(prompt=prompt, number=number, **content)
    undo.callback((prompt if made else version).delete)
    return version


def _params(pairs: list[str]) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name:
            raise BadInput(f"--param {pair} is not of the form name=value.")
        name = "max_output_tokens" if name in ("max_tokens", "max_completion_tokens") else name
        if name in seen:
            raise BadInput(f"--param {name} is given twice.")
        seen.add(name)
        value = _value(text)
        if name == "max_output_tokens" and (type(value) is not int or value < 1):
            raise BadInput(f"--param {pair}: it must be a whole number from 1.")
        yield name, value


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text itself."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _dataset(workspace: Workspace, path: Path, undo: ExitStack) -> DatasetVersion:
    """The file as a dataset version; the same bytes are the version that is there already."""

    def chunks() -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    upload = ingest.receive(workspace, None, filename=path.name, chunks=chunks(), at_once=True)
    if upload.version is not None:
        if not upload.repeated:
            undo.callback(_forget, upload.version)
        return upload.version
    problem = upload.problem
    upload.delete()
    at = f"{path.name}, line {problem['line']}: " if problem.get("line") else f"{path.name}: "
    details = f" Found {problem['found']}, expected {problem['expected']}." if problem.get("found") and problem.get("expected") else ""
    raise BadTable(f"{at}{problem.get('message', 'it could not be read')}{details}", hint=problem.get("hint", ""))


def _forget(version: DatasetVersion) -> None:
    """Take back a version that was made for a job that was never launched."""
    folder = places.version_folder(version.dataset.workspace_id, version.pk)
    dataset = version.dataset
    version.uploads.all().delete()
    version.delete()
    if not dataset.versions.exists():
        dataset.delete()
    shutil.rmtree(folder, ignore_errors=True)


def resume(options: dict[str, Any]) -> Job:
    """The job to go on with; with --retry its rows that did not succeed are sent once more."""
    if not options["out"]:
        raise BadInput("--out is needed.")
    _check_flags(options)
    try:
        job = Job.objects.filter(pk=options["resume"]).first()
    except (ValueError, ValidationError) as error:
        raise BadInput(f"“{options['resume']}” is not a job's id.") from error
    if job is None or job.state == JobState.DRAFT:
        raise BadInput(f"There is no job {options['resume']}.")
    settings.NUDGE = False
    if options["retry"] and job.n_unsuccessful:
        retry(job, None, Wanted(), token=new_token())
    # What an interrupted run had under way is due at once; its leases run out by themselves.
    Job.objects.filter(pk=job.pk).update(next_look_at=timezone.now())
    job.refresh_from_db()
    return job


def run(job: Job, poll_seconds: float, out: TextIO) -> Job:
    """Drive the job to its end with a bar on `out`."""
    if JobState(job.state).terminal:
        return job
    began, shown, asked = time.monotonic(), [""], [0.0]

    def tick(now: Job) -> None:
        if time.monotonic() - asked[0] >= poll_seconds:
            _ask_again(now)
            asked[0] = time.monotonic()
        text = _bar(now, time.monotonic() - began)
        if text != shown[0]:
            out.write(f"\r{text:<110}" if out.isatty() else f"{text}\n")
            out.flush()
            shown[0] = text

    done = drive(job, poll_seconds=max(0.05, poll_seconds), tick=tick)
    if out.isatty():
        out.write("\n")
    return done


def _ask_again(job: Job) -> None:
    """In the foreground a person says how often the provider is asked; what went wrong keeps its own pace."""
    Batch.objects.filter(job=job, state=BatchState.SUBMITTED, n_errors=0).update(next_look_at=timezone.now())


def _bar(job: Job, seconds: float) -> str:
    """One line: how far, what of it failed, what it waits for."""
    share = job.n_done / job.n_rows if job.n_rows else 1.0
    filled = int(share * 24)
    why = Batch.objects.filter(job=job).exclude(wait_reason="").values_list("wait_reason", flat=True).first() or connection_problem(job)
    state = JobState(job.state).look.label
    failed = f" · {job.n_unsuccessful:,} not succeeded" if job.n_unsuccessful else ""
    waiting = f" · {why}" if why and not JobState(job.state).terminal else ""
    done = formats.percent(job.n_done, job.n_rows)
    return f"[{'█' * filled}{'·' * (24 - filled)}] {done} {job.n_done:,} of {formats.count(job.n_rows, 'row')}{failed} · {state}{waiting}"


def out_kind(path: str) -> str:
    kind = KINDS.get(Path(path).suffix.lower())
    if kind is None:
        raise BadInput(f"{path}: the output must end in .csv, .jsonl or .parquet.")
    return kind


def write_out(job: Job, options: dict[str, Any]) -> None:
    """The table with its answers, and the receipt, each whole or not at all."""
    write_export(export_of(job, defuse=options["defuse"]), out_kind(options["out"]), Path(options["out"]))
    if options["receipt"]:
        write_whole(Path(options["receipt"]), orjson.dumps(receipt_json(job), option=orjson.OPT_INDENT_2))
