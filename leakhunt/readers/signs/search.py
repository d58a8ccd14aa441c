"""Where in raw bytes a sign may stand: a few words that between them every wording holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from leakhunt.readers.compiled import fast
from leakhunt.readers.kernel_log.structured import DMESG_JSON, KMSG, more_markers

# Each of these is looked for in all that is read, so they are few, and long where a long one will do: what they wake is
# looked at once more before any line is read.
_WORDS = (
    b"OOM",  # systemd, kubelet, containerd, Ray, kubectl
    b"oom",  # systemd-oomd, 'oom-kill', /tasks/oom, docker's events, oomd, earlyoom's name
    b" due to memory ",  # systemd-oomd without its name, ECS
    b"status=9/KILL",
    b"VmRSS",  # earlyoom, nohang
    b"owmemorykiller",
    b"signal: killed",
    b"Ray killed this worker",
    b"was low on resource",
    b"exited with code 137",
    b"exitCode=137",
)
# The kernel's own ring holds few words of others.
_RING_WORDS = (b"oomd kill: ", b"systemd-oomd killed", b" OOM killer", b"owmemorykiller")
# What makes those of the words count that are also part of others: of room, of oom_score_adj.
_MEANT = {
    b"OOM": (b" OOM killer", b"TaskOOM", b"OOMKill", b"System OOM", b"(OOM)", b"OOM Killed", b" OOM kill of", b"OOM event", b"OOMController"),
    b"oom": (b"oomd", b"'oom-kill'", b"/oom", b"container oom", b"earlyoom", b"sys oom event", b", oom_score_adj "),
}  # fmt: skip
# The same, as long as all wordings allow: for a search of many at once, which long words make fast.
_LONG = {
    b"oomd": (b"systemd-oomd", b"oomd kill: ", b"BaseKillPlugin.cpp:"),
    b"/oom": (b"/tasks/oom",),
    b"(OOM)": (b"pressure (OOM)",),
    b"TaskOOM": (b"TaskOOM event",),
    b"VmRSS": (b", VmRSS", b"VmRSS: "),
}
_NEAR = 14  # bytes
_MOST_MISSES = 100  # at a stretch
_UNKNOWN = -2


class Search:
    """Looks for the words, in one pass over each buffer for each of them.

    Args:
        kind: the form of the source, one of ``structured.KINDS``.

    Attributes:
        wakes: words of which one is in all that this finds and a wording knows.
    """

    def __init__(self, kind: str) -> None:
        ring = kind in {KMSG, DMESG_JSON}
        self._words = (*(_RING_WORDS if ring else _WORDS), *more_markers(kind))
        self.wakes = self._words if fast is None else tuple(_lengthened(self._words))
        self._data = b""
        self._here: list[bytes] = []
        self._next: list[int] = []

    def begin(self, data: bytes) -> None:
        """Take a new buffer."""
        self._data = data
        self._here = list(self._words)
        self._next = [_UNKNOWN] * len(self._words)

    def first(self, at: int) -> int:
        """Return where the first word that is meant begins, or -1.

        Args:
            at: where to begin; never in front of where an earlier search began in this buffer.
        """
        found = -1
        for index, word in enumerate(self._here):  # which may grow meanwhile
            hit = self._next[index]
            if hit == _UNKNOWN or 0 <= hit < at:
                hit = self._next[index] = self._meant(word, at)
            if hit >= 0 and (found < 0 or hit < found):
                found = hit
        return found

    def _meant(self, word: bytes, at: int) -> int:
        """Return where a word stands that is no part of another, or -1."""
        data, wholes = self._data, _MEANT.get(word)
        hit = data.find(word, at)
        if wholes is None:
            return hit
        for _ in range(_MOST_MISSES):
            if hit < 0:
                return hit
            near = data[max(0, hit - _NEAR) : hit + _NEAR]
            if any(whole in near for whole in wholes):
                return hit
            hit = data.find(word, hit + 1)
        self._here.extend(wholes)  # a log about rooms: from here on each is looked for by itself
        self._next.extend([_UNKNOWN] * len(wholes))
        return -1


def _lengthened(words: Iterable[bytes]) -> Iterator[bytes]:
    for word in words:
        for meant in _MEANT.get(word, (word,)):
            yield from _LONG.get(meant, (meant,))
