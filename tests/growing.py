"""A program whose memory grows for as long as its standard input is open."""

from __future__ import annotations

import select
import sys


def main() -> None:
    """Say that it runs, and grow a little at a time."""
    kept: list[bytes] = []
    print("ready", flush=True)  # noqa: T201 - the handshake
    while not select.select([sys.stdin], [], [], 0.005)[0]:
        kept.extend(bytes(1000) for _ in range(10))


if __name__ == "__main__":
    main()
