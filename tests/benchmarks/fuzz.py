"""Throws damaged snapshots and logs at the readers: every one must give a result or a clear refusal, quickly.

python tests/benchmarks/fuzz.py [SECONDS]
"""

from __future__ import annotations

import io
import pickle
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import leakhunt
from leakhunt.capture.snapshots.traces import write_traces

_PATIENCE = 5.0


def main() -> None:
    """Damage dumps, then logs, for so many seconds; leaves with 1 and keeps the file when one is not handled."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    dumps = [
        (path.name, path.read_bytes()) for path in sorted(Path("fixtures/snapshots/pythons").glob("*.bin"))
    ]
    paths = [path for path in sorted(Path("fixtures/oom").rglob("*.*")) if path.suffix != ".py"]
    logs = [(path.name, path.read_bytes()) for path in paths if path.is_file()]
    dumps += compact_dumps(dumps)
    fuzz("snapshots", dumps, lambda path, partial: leakhunt.load(path, allow_partial=partial), seconds / 2)
    fuzz("logs", logs, lambda path, _: leakhunt.oom_scan([path]), seconds / 2)


def compact_dumps(dumps: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Return what leakhunt would have written of the same traces, as far as they have four fields."""
    found = []
    for name, data in dumps:
        if b"\x8c\x0btracemalloc" in data[:100]:
            traces = list(pickle.loads(data).traces._traces)
            if len(traces[0]) == 4:
                file = io.BytesIO()
                write_traces(file, {"schema": 1, "tasks": [1, 0.5, None]}, traces, 5)
                found.append((f"compact-{name}", file.getvalue()))
    return found


def fuzz(
    what: str, files: Sequence[tuple[str, bytes]], read: Callable[[Path, bool], object], seconds: float
) -> None:
    """Damage files of one kind and read them."""
    seed = time.time_ns()
    chance = random.Random(seed)
    counts = {"read": 0, "refused": 0}
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < deadline:
            name, data = chance.choice(files)
            path = Path(folder) / name
            path.write_bytes(damaged(chance, data, chance.choice(files)[1] or b"?"))
            begun = time.monotonic()
            try:
                read(path, chance.random() < 0.5)
                counts["read"] += 1
            except leakhunt.LeakhuntError:
                counts["refused"] += 1
            except Exception:
                kept = Path(f"fuzz-failure-{path.name}")
                kept.write_bytes(path.read_bytes())
                print(f"seed {seed}: kept as {kept}", file=sys.stderr)
                raise
            if time.monotonic() - begun > _PATIENCE:
                raise SystemExit(f"seed {seed}: {path.name} took {time.monotonic() - begun:.1f} s")
    print(f"{counts['read']:,} damaged {what} read, {counts['refused']:,} refused, none mishandled")


def damaged(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """Flip, cut, repeat or splice bytes of a dump."""
    result = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 30))):
        at = chance.randrange(len(result) or 1)
        kind = chance.randrange(5)
        if kind == 0 and result:
            result[at % len(result)] = chance.randrange(256)
        elif kind == 1:
            del result[at : at + chance.choice((1, 2, 4, 64))]
        elif kind == 2:
            result[at:at] = result[at : at + chance.choice((1, 8, 200))]
        elif kind == 3:
            start = chance.randrange(len(other))
            result[at:at] = other[start : start + chance.choice((2, 16, 300))]
        else:
            result[at : at + 1] = bytes([chance.choice(b"\x80\x81\x93\x94\x95()0123456789.KMJ]}tuesbcRjhr")])
    return bytes(result)


if __name__ == "__main__":
    main()
