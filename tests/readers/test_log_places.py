from __future__ import annotations

import json
import time

import pytest

from leakhunt.model.evidence import Place
from leakhunt.readers.kernel_log.prefix import strip
from leakhunt.readers.kernel_log.stamps import Stamp
from leakhunt.readers.kernel_log.structured import kind_of, unwrapper
from leakhunt.readers.places import place_of, place_of_path

ID = "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"
UID = "01234567-89ab-cdef-0123-456789abcdef"
POD = Place(pod="shop/worker-7d9f", pod_uid=UID, container="celery")

PATHS = (
    (f"/var/log/pods/shop_worker-7d9f_{UID}/celery/0.log", POD),
    (f"artifacts/shop_worker-7d9f_{UID}/celery/0.log.20261121-031042.gz", POD),
    (f"shop_worker-7d9f_{UID}/celery/3.log", POD),
    (f"bundle.zip:pods/shop_worker-7d9f_{UID}/celery/0.log", POD),
    (f"C:\\logs\\shop_worker-7d9f_{UID}\\celery\\0.log", POD),
    (
        f"/var/log/containers/worker-7d9f_shop_celery-{ID}.log",
        Place(pod="shop/worker-7d9f", container="celery", container_id=ID),
    ),
    (f"/var/lib/docker/containers/{ID}/{ID}-json.log", Place(container_id=ID)),
    (f"{ID}-json.log.1", Place(container_id=ID)),
    (
        f"/var/lib/containers/storage/overlay-containers/{ID}/userdata/ctr.log",
        Place(container_id=ID),
    ),
    ("/var/log/celery/celery@w1.log", Place(node="celery@w1")),
    ("out/celery@w1.service.log", Place(unit="celery@w1.service")),
    ("journal/celery.service", Place(unit="celery.service")),
    ("/var/log/kern.log", Place()),
    ("worker_1_2.log", Place()),
    ("", Place()),
)


@pytest.mark.parametrize(("path", "place"), PATHS, ids=[path[-40:] for path, _ in PATHS])
def test_a_name_tells_a_place(path: str, place: Place) -> None:
    """The names that kubelet, container runtimes, systemd and Celery give to files tell whose logs they are."""
    assert place_of_path(path) == place


@pytest.mark.parametrize("path", ["a_" * 50_000, "/" * 100_000, f"a_b_{UID}/" * 3_000, "@" * 90_000 + ".log"])
def test_no_name_takes_long(path: str) -> None:
    """Names made to be slow are read at once."""
    begun = time.process_time()
    place_of_path(path)
    assert time.process_time() - begun < 1


WRAPPINGS: tuple[tuple[dict[str, object], Place], ...] = (
    (
        {"MESSAGE": "x", "_SYSTEMD_UNIT": "init.scope", "UNIT": "celery@w1.service", "_HOSTNAME": "web-1"},
        Place(host="web-1", unit="celery@w1.service"),
    ),
    (
        {
            "MESSAGE": "x",
            "_SYSTEMD_UNIT": "user@1000.service",
            "_SYSTEMD_USER_UNIT": "app.service",
            "_BOOT_ID": "b",
        },
        Place(unit="app.service"),
    ),
    (
        {
            "MESSAGE": "x",
            "_SYSTEMD_UNIT": "docker.service",
            "CONTAINER_NAME": "shop",
            "CONTAINER_ID": ID[:12],
            "CONTAINER_ID_FULL": ID,
            "__REALTIME_TIMESTAMP": "1",
        },
        Place(container="shop", container_id=ID),
    ),
    (
        {
            "log": "x",
            "kubernetes": {
                "pod_name": "w",
                "namespace_name": "shop",
                "container_name": "c",
                "docker_id": ID,
                "host": "n1",
            },
        },
        Place(host="n1", pod="shop/w", container="c", container_id=ID),
    ),
    (
        {
            "message": "x",
            "kubernetes": {
                "pod": {"name": "w"},
                "namespace": "shop",
                "container": {"name": "c"},
                "node": {"name": "n1"},
            },
        },
        Place(host="n1", pod="shop/w", container="c"),
    ),
    (
        {
            "textPayload": "x",
            "resource": {"labels": {"pod_name": "w", "namespace_name": "shop", "container_name": "c"}},
            "labels": {"compute.googleapis.com/resource_name": "gke-1"},
        },
        Place(host="gke-1", pod="shop/w", container="c"),
    ),
    (
        {"message": "x", "podName": "w", "namespace": "shop", "containerName": "c", "nodeName": "n1"},
        Place(host="n1", pod="shop/w", container="c"),
    ),
    (
        {"line": "x", "labels": {"pod": "w", "namespace": "shop", "container": "c"}, "timestamp": "t"},
        Place(pod="shop/w", container="c"),
    ),
    ({"message": "x", "kubernetes": "broken", "container": {"id": 7}, "UNIT": ["a"]}, Place()),
)


@pytest.mark.parametrize(
    ("fields", "place"), WRAPPINGS, ids=[", ".join(fields)[:50] for fields, _ in WRAPPINGS]
)
def test_a_wrapping_tells_a_place(fields: dict[str, object], place: Place) -> None:
    """The fields of the journal, of log shippers and of clouds that name host, unit, container and pod are read."""
    line = json.dumps(fields).encode()
    ((stamp, text),) = unwrapper(kind_of(line))(line)
    assert (place_of(stamp, Place()), text) == (place, "x")


LINES = (
    ("celery-slow_1  | [2026-11-21 03:10:42,678: ERROR/MainProcess] x", Place(container="celery-slow_1")),
    ("[pod/worker-7d9f/celery] x", Place(pod="worker-7d9f", container="celery")),
    ("Nov 21 03:10:42 web-1 4bf5122f3445[900]: x", Place(host="web-1", container_id="4bf5122f3445")),
    ("Nov 21 03:10:42 web-1 celery[900]: x", Place(host="web-1")),
    ("x", Place()),
)


@pytest.mark.parametrize(("line", "place"), LINES, ids=[line[:20] for line, _ in LINES])
def test_what_stands_in_front_tells_a_place(line: str, place: Place) -> None:
    """The names that compose, kubectl and syslog put in front of a line tell its place."""
    stamp, text = strip(line)
    assert (place_of(stamp, Place()), text) == (place, "x")


def test_the_lines_words_win() -> None:
    """A line's own words replace what the file's name says, and the fuller form of the same name stays."""
    base = Place(host="file", pod="shop/w", container_id=ID, pod_uid=UID)
    assert place_of(Stamp(), base) is base
    assert place_of(Stamp(host="line"), base) == Place("line", None, ID, None, "shop/w", UID)
    assert place_of(Stamp(pod="w", container_id=ID[:12]), base) == base
    assert place_of(Stamp(pod="other/w"), base).pod == "other/w"
