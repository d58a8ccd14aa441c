"""What a worker is asked to do, as ``LEAKHUNT_*`` variables say it, so that a container image needs no more."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import NamedTuple

from leakhunt.errors import LeakhuntError
from leakhunt.units import parse_duration, parse_size

PREFIX = "LEAKHUNT_"
_ON = frozenset({"1", "true", "yes", "on"})
_OFF = frozenset({"0", "false", "no", "off"})
_LEAST = 1 << 20  # bytes; a level below is a forgotten unit
_MOST_FRAMES = 65_535  # tracemalloc takes no more

# Celery's main process, billiard's children or Python itself need these; those of the second line kill or stop a
# process that has no handler for them, which a pool child may be for a moment.
TAKEN = frozenset(
    {
        "HUP",
        "INT",
        "QUIT",
        "ILL",
        "TRAP",
        "ABRT",
        "BUS",
        "FPE",
        "KILL",
        "USR1",
        "SEGV",
        "PIPE",
        "ALRM",
        "TERM",
    }
    | {
        "CHLD",
        "STOP",
        "TSTP",
        "TTIN",
        "TTOU",
        "SYS",
        "XCPU",
        "XFSZ",
        "USR2",
        "VTALRM",
        "PROF",
        "IO",
        "POLL",
        "PWR",
    }
)
SAFE = ("URG", "WINCH", "CONT")


class Level(NamedTuple):
    """A level of memory: bytes of one process, or a share of the control group's limit; the other is None."""

    size: int | None = None
    share: float | None = None


class Settings(NamedTuple):
    """What the agent in a worker does, and when.

    Attributes:
        agent: answer requests (``leakhunt snap``); everything below implies it.
        trace: trace allocations from the start (in a pool's children, after their imports).
        frames: how many frames of each allocation's stack are kept.
        signal: the number of the signal that announces a request.
        every: take a snapshot every so many executions of tasks; 0 is never.
        interval: take a snapshot every so many seconds; 0 is never.
        at_rss: take a snapshot when the process's RSS gets there, or for a share what its control group uses in all;
            once until it fell below.
        each_growth: take a snapshot each time RSS grew by so many bytes since the last; 0 is never.
        at_exit: take a snapshot when the process leaves.
        keep: how many snapshots of a process are kept; the oldest are dropped.
        budget: how many bytes they may have together.
        total: how many bytes all snapshots in the folder may have; those of processes that have ended are dropped.
        folder: where everything is written, in a folder of the user's own where others write too; empty for the default.
        record: write the flight recorder's lines.
        record_budget: how many bytes all records in the folder may have together.
        retainers: look for who holds what grew.
        trim: try what ``malloc_trim`` would give back.
        force: take snapshots even where memory may not suffice.
    """

    agent: bool = False
    trace: bool = False
    frames: int = 25
    signal: int = int(signal.SIGURG)
    every: int = 0
    interval: float = 0.0
    at_rss: Level | None = None
    each_growth: int = 0
    at_exit: bool = False
    keep: int = 10
    budget: int = 1 << 30
    total: int = 4 << 30
    folder: str = ""
    record: bool = False
    record_budget: int = 64 << 20
    retainers: bool = True
    trim: bool = False
    force: bool = False

    @property
    def active(self) -> bool:
        """Whether anything is asked for at all."""
        return self.agent or self.trace or self.record or self.automatic

    @property
    def automatic(self) -> bool:
        """Whether snapshots are to be taken unasked."""
        return bool(self.every or self.interval or self.at_rss or self.each_growth or self.at_exit)

    def only_asked(self) -> Settings:
        """Return settings for a process that does nothing unasked: it answers, and traces when it is told to."""
        nothing = ("trace", "record", "every", "interval", "at_rss", "each_growth", "at_exit")
        return self._replace(agent=True, **{name: self._field_defaults[name] for name in nothing})

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read the variables, such as ``LEAKHUNT_AT_RSS=80%``; others are left alone.

        Raises:
            LeakhuntError: one of them cannot be understood.
        """
        found: dict[str, object] = {}
        for name in cls._fields:
            text = environ.get(variable(name))
            if text is None or not text.strip():
                continue
            try:
                found[name] = _value(name, text.strip())
            except ValueError:
                raise LeakhuntError(f"{variable(name)}={text!r} is not understood", _HINTS[name]) from None
            except LeakhuntError as error:
                raise LeakhuntError(f"{variable(name)}: {error.message}", error.hint) from None
        return cls(**found)  # type: ignore[arg-type]

    def to_environment(self) -> dict[str, str]:
        """Return the variables that say the same; what is as by default is left out."""
        return {
            variable(name): _text(name, value)
            for name, value in self._asdict().items()
            if value != self._field_defaults[name]
        }


def variable(name: str) -> str:
    """Return the name of a setting's variable."""
    return PREFIX + ("DIR" if name == "folder" else name.upper())


def parse_level(text: str) -> Level:
    """Read ``80%`` or ``1.5GiB``.

    Raises:
        LeakhuntError: it is neither.
    """
    number = text.strip()
    if number.endswith("%"):
        try:
            share = float(number[:-1]) / 100
        except ValueError:
            share = -1.0
        if not 0 < share <= 1:
            raise LeakhuntError(f"{text!r} is not a level of memory", "write for example 80% or 1.5GiB")
        return Level(share=share)
    size = parse_size(number)
    if size < _LEAST:
        raise LeakhuntError(
            f"{text} is a level that every process is above", f"{number}% of the limit, or {number}MiB?"
        )
    return Level(size=size)


def parse_signal(text: str) -> int:
    """Read a signal's name or number, and refuse those that Celery, billiard or Python need.

    Raises:
        LeakhuntError: there is no such signal, or it is taken.
    """
    name = text.strip().upper().removeprefix("SIG")
    try:
        number = int(name) if name.isdecimal() else int(signal.Signals[f"SIG{name}"])
        known = signal.Signals(number).name.removeprefix("SIG")
    except (KeyError, ValueError):
        raise LeakhuntError(f"there is no signal {text}", f"choose one of {', '.join(SAFE)}") from None
    if known in TAKEN:
        raise LeakhuntError(
            f"SIG{known} is not free: Celery, its pool or Python use it, or it kills a process that does not expect it",
            f"choose one of {', '.join(SAFE)}",
        )
    return number


def _value(name: str, text: str) -> object:
    """Turn a variable's text into what the setting takes; ValueError where it is not understood."""
    kind = type(Settings._field_defaults[name])
    parse = _PARSERS.get(name, _PARSERS.get(kind.__name__, str))
    value = parse(text)
    if name == "frames" and isinstance(value, int) and value > _MOST_FRAMES:
        raise ValueError(text)
    if name in {"frames", "keep"} and not value:
        raise ValueError(text)
    return value


def _switch(text: str) -> bool:
    if text.lower() not in _ON | _OFF:
        raise ValueError(text)
    return text.lower() in _ON


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


def _text(name: str, value: object) -> str:
    if isinstance(value, Level):
        return str(value.size) if value.share is None else f"{value.share * 100:g}%"
    if isinstance(value, bool):
        return "1" if value else "0"
    return (
        signal.Signals(value).name.removeprefix("SIG")
        if name == "signal" and isinstance(value, int)
        else str(value)
    )


_PARSERS: dict[str, Callable[[str], object]] = {
    "signal": parse_signal,
    "at_rss": parse_level,
    "budget": parse_size,
    "total": parse_size,
    "each_growth": parse_size,
    "record_budget": parse_size,
    "interval": parse_duration,
    "bool": _switch,
    "int": _count,
}
_HINTS = {name: "write 1 or 0" for name, default in Settings._field_defaults.items() if type(default) is bool}
_HINTS.update(
    frames="write a number from 1 to 65535",
    keep="write a number, 1 or more",
    every="write a number of tasks",
)
