"""What became of processes, and so of the tasks that they were running when their records end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone

from leakhunt.model.record import Alive, Begun, Life, ProcessKey, RunningTask

UNRECORDED = "end not recorded"
ENDED = ("killed", "still running", "unknown", UNRECORDED)  # in the order in which they are told
_MAIN = "main"
_TASKS = {"killed": "killed", "exit": "killed", "recycled": "killed", "running": "still running"}


class Endings:
    """Tells what became of each process, from what other records and this machine say.

    Args:
        lives: all that the records tell.
        alive: who runs on this machine; None where that is not asked or not known.
    """

    def __init__(self, lives: Sequence[Life], alive: Alive | None) -> None:
        self._alive = alive
        self._boots: dict[str, list[tuple[float, str]]] = defaultdict(list)
        self._starts: dict[tuple[str, str | None, int | None, int], int] = {}
        self._mains: dict[tuple[str, str | None, int | None, int], Life] = {}
        self._nodes: dict[tuple[str, str], float] = {}
        for life in lives:
            self._learn(life)

    def of(self, life: Life) -> tuple[str, str]:
        """Return what became of a process, and how that is known.

        Returns:
            ``exit``, ``recycled``, ``killed`` (gone without a word), ``running`` or ``unknown``; and the proof in words.
        """
        if life.recycled is not None:
            return "recycled", "its record says that the pool replaced it"
        if life.left:
            code = "" if life.exit_code is None else f" with code {life.exit_code}"
            return "exit", f"its record says that it left{code}"
        proof = self._seen_here(life)
        if proof is not None:
            return proof
        gone = self._gone(life)
        return ("killed", gone) if gone else ("unknown", "")

    def _learn(self, life: Life) -> None:
        process, key = life.process, life.process.key
        began = 0.0 if process.began is None else process.began.timestamp()
        if key.boot is not None:
            self._boots[key.host].append((began, key.boot))
        place = _place(life)
        self._starts[place] = max(self._starts.get(place, 0), key.start)
        if process.role == _MAIN:
            self._mains[place] = life
            if process.node is not None:
                node = (key.host, process.node)
                self._nodes[node] = max(self._nodes.get(node, 0.0), began)

    def _seen_here(self, life: Life) -> tuple[str, str] | None:
        """Look for a process on this machine; None where it need not be seen from here."""
        key, alive = life.process.key, self._alive
        if alive is None or alive.boot is None or key.boot != alive.boot or not key.start:
            return None
        if (key.pid, key.start) in alive.processes:
            return "running", f"process {key.pid} is alive, and began nothing later"
        if alive.sees_all or (alive.pid_ns is not None and life.process.pid_ns == alive.pid_ns):
            return "killed", "it does not run on this machine any more, and its record has no end"
        return None

    def _gone(self, life: Life) -> str:
        """Say what shows that a process is gone, or return an empty string."""
        process, key = life.process, life.process.key
        if key.start and self._starts[_place(life)] > key.start:
            return "another process has its number by now"
        if any(boot != key.boot and began > life.last for began, boot in self._boots[key.host] if key.boot):
            return "its machine was started again"
        if process.ppid is not None:
            parent = self._mains.get((*_place(life)[:3], process.ppid))
            if parent is not None and parent.left:
                return "its worker's main process left"
        if process.node is not None and self._nodes.get((key.host, process.node), 0.0) > life.last:
            return "its worker was started again"
        return ""


def _place(life: Life) -> tuple[str, str | None, int | None, int]:
    """Return what a process's number is unique in at one time, and the number."""
    key = life.process.key
    return key.host, key.boot, life.process.pid_ns, key.pid


def endings(lives: Sequence[Life], alive: Alive | None) -> Mapping[ProcessKey, tuple[str, str]]:
    """Return what became of each process, and how that is known."""
    judge = Endings(lives, alive)
    return {life.process.key: judge.of(life) for life in lives}


def unended(life: Life, became: tuple[str, str], alive: Alive | None) -> Iterator[RunningTask]:
    """Yield the tasks of a process that have no end, and what became of each.

    Args:
        life: the process.
        became: what became of it, and how that is known.
        alive: who runs on this machine; None where that is not asked or not known.
    """
    ended, proof = became
    here = alive is not None and alive.boot is not None and alive.boot == life.process.key.boot
    for begun in life.running.values():
        yield _running(life, begun, _TASKS.get(ended, "unknown"), proof, here=here)
    for begun in life.unrecorded.values():
        yield _running(life, begun, UNRECORDED, "its process ran another later", here=here)


def _running(life: Life, begun: Begun, ended: str, proof: str, *, here: bool) -> RunningTask:
    return RunningTask(
        begun.task,
        begun.id,
        life.process.key.pid,
        datetime.fromtimestamp(begun.when, timezone.utc),
        ended,
        proof,
        life.process.key.host,
        begun.queue,
        begun.retries,
        begun.redelivered,
        begun.rss,
        here,
    )
