"""Write the hashed locks out of requirements/*.in. Needs uv; run it after changing a requirement: python3 tools/lock.py [--upgrade]"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "requirements"


def main() -> int:
    """Compile base before dev, which keeps to base's pins. No registry's address gets into the files."""
    for name in ("base", "dev", "node"):
        command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--no-emit-index-url", *sys.argv[1:], f"{name}.in", "-o", f"{name}.lock"]
        subprocess.run(command, cwd=FOLDER, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
