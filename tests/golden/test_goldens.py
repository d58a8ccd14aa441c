from __future__ import annotations

from pathlib import Path

import pytest
from conftest import APP, Run, celery

from leakhunt.version import __version__

HERE = Path(__file__).parent
LEAK = ["diff", *celery("callbacks"), "--source", APP, "--top", "3"]
CAPTURED = "fixtures/snapshots/captured"
HELD = ["diff", *(f"{CAPTURED}/global_list/{moment}.bin.xz" for moment in ("before", "after", "later"))]
PYTHONS = "fixtures/snapshots/pythons"
OOM = "fixtures/oom"
RECORDS = "fixtures/records"

GOLDENS = {
    "diff-callbacks.txt": LEAK,
    "diff-callbacks.md": [*LEAK, "-f", "markdown"],
    "diff-callbacks.csv": [*LEAK, "-f", "csv"],
    "diff-callbacks.github": [*LEAK, "-f", "github"],
    "diff-callbacks.json": [*LEAK, "-f", "json", "--top", "2"],
    "diff-traceback.txt": [*LEAK[:3], *LEAK[4:], "--group-by", "traceback", "--top", "2"],
    "diff-task.md": [*LEAK, "--group-by", "task", "-f", "markdown"],
    "top-package-cumulative.txt": [
        "top", f"{PYTHONS}/cp314-after.bin", "--group-by", "package", "--cumulative", "--no-default-excludes",
    ],
    "diff-captured.txt": [*HELD, "--top", "2"],
    "diff-captured.md": [*HELD, "--top", "2", "-f", "markdown"],
    "diff-captured.csv": [*HELD, "--top", "2", "-f", "csv"],
    "diff-captured.github": [*HELD, "--top", "2", "-f", "github"],
    "diff-captured.json": [*HELD, "--top", "1", "-f", "json"],
    "diff-captured-task.txt": [*HELD, "--group-by", "task"],
    "diff-fragmentation.txt": [
        "diff", f"{CAPTURED}/fragmentation/before.bin.xz", f"{CAPTURED}/fragmentation/after.bin.xz", "--top", "1",
    ],
    "diff-native.txt": ["diff", f"{CAPTURED}/native/before.bin.xz", f"{CAPTURED}/native/after.bin.xz", "--top", "1"],
    "diff-garbage.txt": [
        "diff", f"{CAPTURED}/garbage/before.bin.xz", f"{CAPTURED}/garbage/after.bin.xz", "--top", "2", "--details",
    ],
    "top-captured.txt": ["top", f"{CAPTURED}/class_attribute/later.bin.xz", "--top", "2", "--details"],
    "oom-mixed.txt": ["oom-scan", f"{OOM}/mixed"],
    "oom-mixed.md": ["oom-scan", f"{OOM}/mixed", "-f", "markdown"],
    "oom-mixed.json": ["oom-scan", f"{OOM}/mixed", "-f", "json"],
    "oom-mixed.csv": ["oom-scan", f"{OOM}/mixed", "-f", "csv"],
    "oom-leak.txt": ["oom-scan", f"{OOM}/celery-leak", "--top", "2"],
    "oom-storm.txt": ["oom-scan", f"{OOM}/node-storm", "--details", "--all"],
    "oom-container.txt": ["oom-scan", f"{OOM}/whole-container"],
    "oom-recorded.txt": ["oom-scan", f"{RECORDS}/killed"],
    "tasks-mixed.txt": ["tasks", f"{RECORDS}/mixed"],
    "tasks-mixed.md": ["tasks", f"{RECORDS}/mixed", "-f", "markdown"],
    "tasks-mixed.csv": ["tasks", f"{RECORDS}/mixed", "-f", "csv"],
    "tasks-killed.txt": ["tasks", f"{RECORDS}/killed/records"],
    "tasks-killed.json": ["tasks", f"{RECORDS}/killed/records", "-f", "json"],
    "oom-decoys.txt": ["oom-scan", f"{OOM}/decoys", "--all", "--evidence"],
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDENS)
def test_output_is_the_golden_s(run: Run, name: str, request: pytest.FixtureRequest) -> None:
    """Output of a real input is, to the byte, what was looked at and kept; --update-goldens keeps it anew."""
    result = run(GOLDENS[name])
    assert (result.code, result.err) == (0, "")
    text = result.out.replace(f'"leakhunt": "{__version__}"', '"leakhunt": "VERSION"')
    path = HERE / name
    if request.config.getoption("--update-goldens"):
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"no golden {name}; look at the output, then run pytest --update-goldens"
    assert text == path.read_text(encoding="utf-8")


def test_every_golden_is_used() -> None:
    """No file lies among the goldens that no test compares."""
    found = {path.name for path in HERE.iterdir() if path.is_file() and path.suffix != ".py"}
    assert found == set(GOLDENS)
