"""Many signs of one death, told by one program, put together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from leakhunt.model.incident import Sign
from leakhunt.readers.signs.systemd import FAILED

_SAME_DEATH = timedelta(seconds=120)  # a unit may be given 90 seconds to stop before it counts as failed
_ANCESTORS = timedelta(seconds=300)  # managers look at the counts of what stands above when they have time
_SAME_BURST = timedelta(seconds=2)
_SAME_ENTRY = timedelta(milliseconds=1)
_MOST_OPEN = 16  # deaths of one unit that further lines may belong to
_ROOT = "-.slice"
_NEAR_LINES = 60  # where there are no times
_STRENGTH = {"killed": 3, "oom": 2, "sigkill": 1}
_PROGRAMS = frozenset({"systemd", "systemd-oomd"})
_RUNTIMES = frozenset({"docker", "containerd"})


@dataclass
class _Death:
    """What is told of one death of one unit."""

    signs: list[Sign]
    copies: int = 0
    more: bool = False

    def sign(self) -> Sign:
        """Return all of it as one sign: the time of the first, the strongest claim, the line that names who died."""
        first = self.signs[0]
        best = max(self.signs, key=lambda sign: _STRENGTH.get(sign.kind, 0))
        named = next((sign for sign in self.signs if sign.text == FAILED), best)
        count = max(sign.count for sign in self.signs)
        claims = [sign for sign in self.signs if sign.kind != "sigkill" and sign.text != FAILED] or self.signs
        counted = any(sign.count == count and not sign.at_least for sign in claims)
        return replace(
            best,
            evidence=named.evidence,
            when=first.when,
            uncertainty_s=first.uncertainty_s,
            monotonic=first.monotonic,
            killer=next((sign.killer for sign in self.signs if sign.killer), ""),
            exit_code=next((sign.exit_code for sign in self.signs if sign.exit_code is not None), None),
            count=count,
            at_least=self.more or not counted,
        )


def collapse(signs: Iterable[Sign]) -> tuple[Sign, ...]:
    """Put together what one program tells more than once.

    A unit's lines (killed, main process exited, failed) are one death, and so are those of the slices and managers above
    it, which systemd writes for each of them, minutes apart. Two lines of the same wording are two deaths, unless they are
    the same entry out of two files. A container runtime's burst of news is one death at least.

    Args:
        signs: in any order.

    Returns:
        The others as they are, and these put together, in the order of their first lines.
    """
    ordered = list(signs)
    units: dict[tuple[str | None, str | None], list[tuple[int, Sign]]] = {}
    bursts: dict[tuple[str | None, str | None, str], list[tuple[int, Sign]]] = {}
    kept: list[tuple[int, Sign]] = []
    for index, sign in enumerate(ordered):
        place = sign.place
        if sign.kind in _STRENGTH and sign.program in _PROGRAMS and place.unit is not None:
            units.setdefault((place.host, sign.boot), []).append((index, sign))
        elif sign.program in _RUNTIMES and sign.kind == "oom" and place.container_id is not None:
            bursts.setdefault((place.host, place.container_id, sign.program), []).append((index, sign))
        else:
            kept.append((index, sign))
    for told in units.values():
        kept.extend(_of_units(told))
    for told in bursts.values():
        kept.extend(_of_burst(told))
    return tuple(sign for _, sign in sorted(kept, key=lambda pair: pair[0]))


def _of_units(told: list[tuple[int, Sign]]) -> list[tuple[int, Sign]]:
    """Put together what one machine's managers tell of units."""
    deaths: list[tuple[int, str, _Death]] = []
    latest: dict[str, list[_Death]] = {}
    for index, sign in sorted(told, key=_by_time):
        unit = sign.place.unit or ""
        mine = latest.setdefault(unit, [])
        mine[:] = [death for death in mine[-_MOST_OPEN:] if _near(death.signs[-1], sign, _SAME_DEATH)]
        if any(_same_entry(known, sign) for death in mine for known in death.signs):
            continue
        death = next(
            (death for death in reversed(mine) if all(sign.text != k.text for k in death.signs)), None
        )
        if death is None:
            death = _Death([sign])
            mine.append(death)
            deaths.append((index, unit, death))
        else:
            death.signs.append(sign)
    return _without_ancestors(deaths)


def _without_ancestors(deaths: list[tuple[int, str, _Death]]) -> list[tuple[int, Sign]]:
    """Drop the deaths of units that only stand above those that died."""
    leaves = [entry for entry in deaths if not _above(entry[1])]
    tops = [entry for entry in deaths if _above(entry[1])]
    alone: list[tuple[int, str, _Death]] = []
    at = 0
    for entry in tops:  # both are in the order of time
        sign = entry[2].signs[0]
        while at + 1 < len(leaves) and not _near(leaves[at][2].signs[0], sign, _ANCESTORS):
            at += 1
        if not (leaves and _near(leaves[at][2].signs[0], sign, _ANCESTORS)):
            alone.append(entry)
    groups: list[list[tuple[int, str, _Death]]] = []
    latest: dict[str, list[tuple[int, str, _Death]]] = {}  # of each tree
    for entry in alone:
        tree = _tree(entry[1])
        near = [
            group
            for other, group in latest.items()
            if (tree == other or _ROOT in {tree, other})
            and _near(group[0][2].signs[0], entry[2].signs[0], _ANCESTORS)
        ]
        if near:
            near[0].append(entry)
            latest[tree] = near[0]
        else:
            latest[tree] = [entry]
            groups.append(latest[tree])
    kept = [(index, death.sign()) for index, _, death in leaves]
    for group in groups:
        deepest = max(_depth(unit) for _, unit, _ in group)
        chosen = [entry for entry in group if _depth(entry[1]) == deepest]
        unit = chosen[0][1]
        for index, name, death in chosen:
            if name == unit:
                death.more = True
                kept.append((index, death.sign()))
    return kept


def _of_burst(told: list[tuple[int, Sign]]) -> list[tuple[int, Sign]]:
    """Put together the news of one container that came at once."""
    kept: list[tuple[int, Sign]] = []
    last: Sign | None = None
    for index, sign in sorted(told, key=_by_time):
        if last is not None and kept and _near(last, sign, _SAME_BURST):
            kept[-1] = (kept[-1][0], replace(kept[-1][1], at_least=True))
        else:
            kept.append((index, sign))
        last = sign
    return kept


def _by_time(pair: tuple[int, Sign]) -> tuple[bool, float, int]:
    when = pair[1].when
    return when is None, when.timestamp() if when is not None else 0.0, pair[0]


def _near(first: Sign, second: Sign, most: timedelta) -> bool:
    """Tell whether two signs are so near that they may be of one death."""
    if first.when is not None and second.when is not None:
        return abs(second.when - first.when) <= most
    if first.when is None and second.when is None:
        here, there = first.evidence, second.evidence
        return here.source == there.source and abs(here.line - there.line) <= _NEAR_LINES
    return False


def _same_entry(first: Sign, second: Sign) -> bool:
    """Tell whether two signs are one journal entry out of two files."""
    return (
        first.text == second.text
        and first.when is not None
        and second.when is not None
        and first.evidence.source != second.evidence.source
        and abs(second.when - first.when) <= _SAME_ENTRY
    )


def _above(unit: str) -> bool:
    """Tell whether a unit holds others."""
    return unit.endswith(".slice") or unit.startswith("user@") or unit == "init.scope"


def _tree(unit: str) -> str:
    """Tell which of the trees below the root a unit stands in: the services' or the users'."""
    if unit == _ROOT:
        return unit
    return "system" if unit == "system.slice" or unit.startswith("system-") else "user"


def _depth(unit: str) -> int:
    """Return how far down a unit stands, as far as its name tells."""
    if unit == _ROOT:
        return 0
    if unit.endswith(".slice"):
        name = unit[: -len(".slice")]
        deeper = name not in {"system", "user", "machine"} and not name.startswith("user-")
        return 1 + name.count("-") + (4 if deeper else 0)
    return 4
