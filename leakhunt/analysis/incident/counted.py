"""Whether as many kills were found as the kernel counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from leakhunt.model.incident import Counter
from leakhunt.model.oom import OomKill
from leakhunt.units import count_of


def shortfall(
    counters: Sequence[Counter], kills: Sequence[OomKill], boot_time: datetime | None = None
) -> Iterator[str]:
    """Yield a sentence for each counter that counted more than was found; the machine's says it for all its groups.

    Args:
        counters: as the kernel gives them: the machine's since boot, a control group's since it was made.
        kills: those found.
        boot_time: when the machine was started, where that is known: older kills do not count.
    """
    kernel = _of_the_kernel(kills, boot_time)
    for counter in counting(counters):
        found, where = _found(counter, kernel)
        if counter.value > found:
            yield (
                f"the kernel counted {count_of(counter.value, 'OOM kill')} {where}, {found:,} "
                f"{'is' if found == 1 else 'are'} found here: the others' lines are lost, or in a log that was not read"
            )


def unseen(counters: Sequence[Counter], kills: Sequence[OomKill], boot_time: datetime | None = None) -> int:
    """Return how many kills were counted and not found; see :func:`shortfall`.

    They are the whole machine's, or those of one control group where no other count is there: one group may hold another.
    """
    kernel = _of_the_kernel(kills, boot_time)
    missing = [counter.value - _found(counter, kernel)[0] for counter in counting(counters)]
    return max([0, *missing])


def counting(counters: Sequence[Counter]) -> list[Counter]:
    """Return those that count kills: the machine's, which are of all groups, or else the groups'."""
    kills = [counter for counter in counters if counter.name == "oom_kill"]
    return [counter for counter in kills if counter.scope == "host"] or kills


def _of_the_kernel(kills: Sequence[OomKill], boot_time: datetime | None) -> list[OomKill]:
    return [
        kill
        for kill in kills
        if kill.killer == "kernel"
        and kill.confidence == "confirmed"
        and (boot_time is None or kill.when is None or kill.when >= boot_time)
    ]


def _found(counter: Counter, kernel: Sequence[OomKill]) -> tuple[int, str]:
    """Return how many of the kills a counter counts, and where it counts."""
    if counter.scope == "host":
        return len(kernel), "since boot"
    if not counter.scope:
        return sum(kill.scope == "memcg" for kill in kernel), f"by {counter.source}"
    return sum(_inside(kill, counter.scope) for kill in kernel), f"in {counter.scope}"


def _inside(kill: OomKill, scope: str) -> bool:
    path = kill.cgroup.victim or kill.cgroup.limited if kill.cgroup is not None else None
    return path is not None and (path == scope or path.startswith(scope.rstrip("/") + "/"))
