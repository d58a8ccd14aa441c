"""Whether as many kills were found as the kernel counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from leakhunt.model.incident import Counter
from leakhunt.model.oom import OomKill


def shortfall(
    counters: Sequence[Counter], kills: Sequence[OomKill], boot_time: datetime | None = None
) -> Iterator[str]:
    """Yield a sentence for each counter that counted more than was found.

    Args:
        counters: as the kernel gives them: the machine's since boot, a control group's since it was made.
        kills: those found.
        boot_time: when the machine was started, where that is known: older kills do not count.
    """
    kernel = [
        kill
        for kill in kills
        if kill.killer == "kernel"
        and kill.confidence == "confirmed"
        and (boot_time is None or kill.when is None or kill.when >= boot_time)
    ]
    for counter in counters:
        if counter.name != "oom_kill":
            continue
        if counter.scope == "host":
            found, where = len(kernel), "since boot"
        elif not counter.scope:
            found, where = sum(kill.scope == "memcg" for kill in kernel), f"by {counter.source}"
        else:
            found = sum(_inside(kill, counter.scope) for kill in kernel)
            where = f"in {counter.scope}"
        if counter.value > found:
            yield (
                f"the kernel counted {counter.value:,} OOM kills {where}, {found:,} are found here: "
                "the others' lines are lost, or in a log that was not read"
            )


def _inside(kill: OomKill, scope: str) -> bool:
    path = kill.cgroup.victim or kill.cgroup.limited if kill.cgroup is not None else None
    return path is not None and (path == scope or path.startswith(scope.rstrip("/") + "/"))
