"""Holds the README to the program: runs what its console blocks show and compares.

python tests/readme.py [--update]
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
_BLOCK = re.compile(r"```console\n\$ (leakhunt [^\n]*)\n.*?```", re.DOTALL)


def main() -> None:
    """Compare, or with ``--update`` write; leaves with 1 when the README is stale."""
    text = README.read_text()
    fresh = refreshed(text)
    if fresh == text:
        print("README.md is fresh")
    elif "--update" in sys.argv[1:]:
        README.write_text(fresh)
        print("README.md is written anew")
    else:
        raise SystemExit("README.md is stale: nox -s readme -- --update")


def refreshed(text: str) -> str:
    """Return the README with the output of its commands as it is now."""
    return _BLOCK.sub(lambda block: f"```console\n$ {block[1]}\n{output(block[1])}```", text)


def output(command: str) -> str:
    """Run a command of leakhunt at 80 columns, without colour, in the project's folder."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    words = [sys.executable, "-m", "leakhunt", *shlex.split(command)[1:]]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, cwd=README.parent, env=environment
    )
    return done.stdout


if __name__ == "__main__":
    main()
