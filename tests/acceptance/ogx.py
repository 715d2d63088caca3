"""A batch server that is not ours: ogx, in a virtual environment of its own in the user's cache folder, in front of a model endpoint.

The recipe: Python 3.12, `pip install ogx==1.5.*`, `ogx run config.yaml --insecure --port N`, with `remote::openai` pointed at any
endpoint that speaks OpenAI's chat completions.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WANTED = "ogx==1.5.*"
INSTALL_SECONDS = 150
START_SECONDS = 90
CONFIG = """\
version: 2
distro_name: batchui-test
apis: [batches, files, inference, messages]
providers:
  inference:
  - provider_id: model
    provider_type: remote::openai
    config: {{api_key: sk-any-1234567890, base_url: "{url}"}}
  files:
  - provider_id: files
    provider_type: inline::localfs
    config: {{storage_dir: {folder}/files, metadata_store: {{table_name: files_metadata, backend: sql}}}}
  messages:
  - provider_id: messages
    provider_type: inline::builtin
    config: {{kvstore: {{namespace: message_batches, backend: kv}}}}
  batches:
  - provider_id: batches
    provider_type: inline::reference
    config: {{sqlstore: {{table_name: batches, backend: sql}}}}
storage:
  backends:
    kv: {{type: kv_sqlite, db_path: {folder}/kv.db}}
    sql: {{type: sql_sqlite, db_path: {folder}/sql.db}}
  stores:
    metadata: {{namespace: registry, backend: kv}}
    inference: {{table_name: inference_store, backend: sql, max_write_queue_size: 1000, num_writers: 1, enabled: false}}
    conversations: {{table_name: conversations, backend: sql}}
    prompts: {{table_name: prompts, backend: sql}}
    connectors: {{table_name: connectors, backend: sql}}
registered_resources:
  models: []
server: {{port: {port}, host: 127.0.0.1}}
"""


class NotHere(Exception):
    """Why ogx cannot be had on this machine."""


def _python() -> str:
    pyenv = sorted(Path("~/.pyenv/versions").expanduser().glob("3.12*/bin/python"))
    for found in (*map(str, pyenv), shutil.which("python3.12")):
        if (
            found
            and subprocess.run([found, "-c", "import sys; assert sys.version_info[:2] == (3, 12)"], capture_output=True).returncode == 0
        ):
            return found
    raise NotHere("ogx needs Python 3.12, and there is none on this machine")


def installed() -> Path:
    """The `ogx` command, installed at first use. Raises NotHere."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "batchui" / "ogx"
    if (cache / "whole").exists():
        return cache / "bin" / "ogx"
    python = _python()
    shutil.rmtree(cache, ignore_errors=True)
    uv = shutil.which("uv")
    make = [uv, "venv", "-q", "--python", python, str(cache)] if uv else [python, "-m", "venv", str(cache)]
    pip = [uv, "pip", "install", "-q", "--python", str(cache / "bin" / "python")] if uv else [str(cache / "bin" / "pip"), "install", "-q"]
    try:
        for command in (make, [*pip, WANTED]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
            if done.returncode:
                raise NotHere(f"ogx cannot be installed here: {done.stderr.strip()[-300:]}")
    except subprocess.TimeoutExpired as error:
        raise NotHere(f"ogx could not be installed within {INSTALL_SECONDS} s") from error
    (cache / "whole").touch()
    return cache / "bin" / "ogx"


@contextmanager
def serving(folder: Path, url: str, port: int = 0) -> Iterator[str]:
    """The base URL (without /v1) of an ogx whose models are those of the endpoint `url`. Its state lives in `folder`; it is killed at
    the end, and started once more on the same folder and port it goes on with what it wrote down."""
    command = installed()
    folder.mkdir(exist_ok=True)
    port = port or free_port()
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(url=url, folder=folder, port=port))
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    with (folder / "ogx.log").open("ab") as log:
        line = [str(command), "run", str(config), "--insecure", "--port", str(port)]
        process = subprocess.Popen(line, env=env, cwd=folder, stdout=log, stderr=log)
    try:
        _wait(process, f"http://127.0.0.1:{port}/v1/health", folder / "ogx.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        if process.poll() is not None:
            break
        time.sleep(0.2)
    raise AssertionError(f"ogx did not start: {log.read_text(errors='replace')[-2000:]}")
