from __future__ import annotations

import subprocess
import sys

from conftest import ROOT, subprocess_environment

CODE = """\
import sys, tracemalloc
from leakhunt.capture.facts import allocator
tracemalloc.start(25)
known = bytearray(100)
stale = [bytearray(100) for _ in range(1000)]
with allocator.untraced() as untraced:
    traced = tracemalloc.get_traced_memory()
    with allocator.answering():
        told = tracemalloc.get_object_traceback(known)[0].lineno
    asked = tracemalloc.is_tracing()
    del stale[:]
    fresh = [bytearray(100) for _ in range(1000)]  # where the others lay
    with allocator.answering():
        stacks = [tracemalloc.get_object_traceback(one) for one in fresh]
        again = any(stack is not None and stack[0].lineno == 13 for stack in stacks)
    same = tracemalloc.get_traced_memory() == traced
print(untraced, told, asked, again, same, tracemalloc.is_tracing())
"""


def test_nothing_is_traced_meanwhile() -> None:
    """New objects get no trace, not even where one lay that had one; before Python 3.13 by a flag that is found."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        env=subprocess_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    asked = sys.version_info >= (3, 13)
    assert done.stdout.split() == ["True", "4", str(asked), "False", "True", "True"]
