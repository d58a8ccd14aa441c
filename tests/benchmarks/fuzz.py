"""Throws damaged snapshots at the reader: every one must give a snapshot or a clear refusal, quickly.

python tests/benchmarks/fuzz.py [SECONDS]
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

import leakhunt

_PATIENCE = 5.0


def main() -> None:
    """Damage the dumps of all Pythons for so many seconds; leaves with 1 and keeps the file when one is not handled."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seeds = [path.read_bytes() for path in sorted(Path("fixtures/snapshots/pythons").glob("*.bin"))]
    seed = time.time_ns()
    chance = random.Random(seed)
    counts = {"read": 0, "refused": 0}
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.bin"
        while time.monotonic() < deadline:
            path.write_bytes(damaged(chance, chance.choice(seeds), chance.choice(seeds)))
            begun = time.monotonic()
            try:
                leakhunt.load(path, allow_partial=chance.random() < 0.5)
                counts["read"] += 1
            except leakhunt.LeakhuntError:
                counts["refused"] += 1
            except Exception:
                kept = Path("fuzz-failure.bin")
                kept.write_bytes(path.read_bytes())
                print(f"seed {seed}: kept as {kept}", file=sys.stderr)
                raise
            if time.monotonic() - begun > _PATIENCE:
                raise SystemExit(f"seed {seed}: one file took {time.monotonic() - begun:.1f} s")
    print(f"{counts['read']:,} damaged snapshots read, {counts['refused']:,} refused, none mishandled")


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
