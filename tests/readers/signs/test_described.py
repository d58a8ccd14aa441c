from __future__ import annotations

from datetime import datetime, timezone

import pytest
from signs_tools import ID, found_in


def described(state: str, last: str) -> str:
    """Return what ``kubectl describe pod`` prints of a container."""
    return f"""\
Name:             w-1
Namespace:        shop
Node:             n1/10.0.0.1
Containers:
  worker:
    Container ID:   containerd://{ID}
    State:          {state}
    Last State:     {last}
    Restart Count:  4
Conditions:
"""


def ended(hour: int) -> str:
    """Return an end, as it is told below a state."""
    return (
        "Terminated\n      Reason:       OOMKilled\n      Exit Code:    137\n"
        f"      Finished:     Sat, 21 Nov 2026 0{hour}:00:00 +0000"
    )


@pytest.mark.parametrize(
    ("state", "ids"),
    [("Running", [None]), ("Waiting\n      Reason:       CrashLoopBackOff", [ID]), (ended(2), [ID, None])],
)
def test_the_id_is_the_newest_container_s(state: str, ids: list[str | None]) -> None:
    """What runs again after a restart, or has ended since, has the id: the one that ended before had another.

    Source: ``describeContainerBasicInfo`` of kubectl prints ``status.containerID``; while a container waits, that is the
    last one's.
    """
    signs = found_in(described(state, ended(1)))
    assert [sign.place.container_id for sign in signs] == ids
    assert signs[-1].when == datetime(2026, 11, 21, 1, tzinfo=timezone.utc)
