"""S43, S44, S47, S53: what the web never imports or serves, what the queue holds, and what stands in the committed files."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.test import Client
from django.urls import get_resolver
from django_q.models import OrmQ

import jobs.tasks
from jobs.engine.pump import nudge, run_once, wake
from jobs.models import Job
from tests.jobs import make_job
from tests.security.world import addresses

ROOT = Path(settings.BASE_DIR)
WEB = [*(ROOT / "jobs" / "views").rglob("*.py"), *(ROOT / "jobs" / "forms").rglob("*.py"), *(ROOT / "jobs" / "queries").rglob("*.py")]
WEB += [*(ROOT / "jobs" / "urls").rglob("*.py"), ROOT / "jobs" / "access.py", *(ROOT / "jobs" / "templatetags").rglob("*.py")]
EVERYTHING = [*(ROOT / "jobs").rglob("*.py"), *(ROOT / "batchui").rglob("*.py")]


@lru_cache(maxsize=500)
def tree_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imported(path: Path) -> Iterator[str]:
    for node in tree_of(path):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{each.name}" for each in node.names)


def named(paths: list[Path], banned: re.Pattern[str]) -> list[tuple[str, str]]:
    return [(str(path.relative_to(ROOT)), name) for path in paths for name in imported(path) if banned.match(name)]


def test_the_web_never_opens_rows_of_the_queue() -> None:
    assert len(WEB) > 40
    assert named(WEB, re.compile(r"django_q\b|pickle\b|picklefield\b|marshal\b|shelve\b|dill\b")) == []
    assert named(EVERYTHING, re.compile(r"(django_q\.models\b|pickle\b|marshal\b|shelve\b|dill\b)")) == []


def test_user_text_is_never_a_django_template_or_a_format_string_or_code() -> None:
    """S3; S34: and no Polars."""
    banned = re.compile(r"django\.template\.(Template|engines|Engine)\b|polars\b|string\.(Template|Formatter)\b|subprocess\.getoutput")
    assert named(EVERYTHING, banned) == []
    found = []
    for path in EVERYTHING:
        for node in tree_of(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec", "compile", "__import__"):
                found.append((str(path.relative_to(ROOT)), node.func.id))
            shell = [kw for kw in getattr(node, "keywords", []) if kw.arg == "shell"]
            found += [(str(path.relative_to(ROOT)), "shell=")] if shell else []
    assert found == []


def test_tasks_take_one_text_and_give_nothing() -> None:
    tree = ast.parse((ROOT / "jobs" / "tasks.py").read_text())
    tasks = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert set(tasks) == {"advance", "beat"}
    for node in tasks.values():
        assert [ast.unparse(arg.annotation) for arg in node.args.args if arg.annotation] == ["str"] * len(node.args.args)
        assert len(node.args.args) <= 1
        assert node.returns is not None
        assert ast.unparse(node.returns) == "None"
        assert [each for each in ast.walk(node) if isinstance(each, ast.Return)] == []
    assert settings.Q_CLUSTER["save_limit"] < 0  # no row with a pickled result is kept


def test_the_queue_holds_names_of_objects_and_nothing_else(people: Any, sandbox: Any, data_folder: Any, settings: Any) -> None:
    job = make_job(people.home, people.owner, sandbox, n_rows=3, settle=False)
    settings.NUDGE = True
    nudge("job", job.pk)
    wake("job", Job.objects.get(pk=job.pk))
    run_once()
    queued = [each.task for each in OrmQ.objects.all()]
    assert len(queued) >= 2
    for task in queued:
        assert (task["func"], task.get("kwargs") or {}) == ("jobs.tasks.advance", {})
        assert len(task["args"]) == 1
        assert re.fullmatch(r"(job|batch|connection|upload):[0-9a-f-]{36}|sweep:all", task["args"][0])
    assert callable(jobs.tasks.advance)


@pytest.mark.parametrize("path", ["/admin/", "/admin/django_q/schedule/", "/django_q/", "/api/", "/api/docs", "/api/openapi.json", "/q/"])
def test_there_is_no_admin_and_no_api(path: str, as_owner: Client) -> None:
    assert as_owner.get(path).status_code == 404


def test_no_view_of_another_application_is_reachable() -> None:
    """S43, S47: no admin, nothing of django_q, no API: so there are no API tokens either."""
    assert "django.contrib.admin" not in {config.name for config in apps.get_app_configs()}
    found = [getattr(each.callback, "__module__", "") for each in _patterns(get_resolver().url_patterns)]
    assert len(found) == len(list(addresses()))
    assert {module.split(".")[0] for module in found} == {"jobs"}
    assert [name for name, route in addresses() if "token" in route and name not in ("signin-link", "workspace-join")] == []


def _patterns(patterns: Any) -> Iterator[Any]:
    for each in patterns:
        if hasattr(each, "url_patterns"):
            yield from _patterns(each.url_patterns)
        else:
            yield each


def committed() -> list[Path]:
    found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if found.returncode:
        pytest.skip("not a git checkout")
    return [path for name in found.stdout.decode().split("\0") if name and (path := ROOT / name).is_file() and not path.is_symlink()]


def test_no_committed_file_names_a_registry() -> None:
    hosts = (
        "pypi"
        + r"\.org|pythonhosted"
        + r"\.org|registry\.npm"
        + r"js\.org|registry\.yarn"
        + r"pkg\.com|--(extra-)?index-"
        + r"url|(index|proxy)\.golang"
    )
    banned = re.compile(hosts.encode() + rb"|https?://[^\s\"']*/(simple|npm|artifactory)/")
    found = [(str(path.relative_to(ROOT)), match[0]) for path in committed() if (match := banned.search(path.read_bytes()))]
    assert found == []


def test_no_committed_file_holds_a_key() -> None:
    banned = re.compile(
        rb"sk-(proj|ant)-[A-Za-z0-9_\-]{40,}|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY-----|gh[pousr]_[A-Za-z0-9]{30,}"
    )
    found = [(str(path.relative_to(ROOT)), match[0][:12]) for path in committed() if (match := banned.search(path.read_bytes()))]
    assert found == []


def test_every_locked_package_has_its_hashes() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.lock")):
        blocks = re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n", "", lock.read_text()))
        pinned = [block for block in blocks if block.strip() and not block.startswith(("#", "-"))]
        assert pinned
        bad = [block.split()[0] for block in pinned if not re.match(r"[A-Za-z0-9_.\[\]-]+==\S+", block) or "--hash=sha256:" not in block]
        assert (lock.name, bad) == (lock.name, [])


def test_no_installed_package_runs_code_at_start() -> None:
    """A `.pth` line that begins with `import` runs in each Python start: the way of several supply chain attacks."""
    known = re.compile(r"distutils-precedence\.pth|_?virtualenv\.pth|__editable__.*\.pth|a1_coverage\.pth|coverage.*\.pth")
    site = next((ROOT / ".venv" / "lib").glob("python*/site-packages"), None) or Path(pytest.__file__).parent.parent
    running = {
        path.name for path in site.glob("*.pth") if any(line.startswith(("import ", "import\t")) for line in path.read_text().splitlines())
    }
    assert {name for name in running if not known.fullmatch(name)} == set()
