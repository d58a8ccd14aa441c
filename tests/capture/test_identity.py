from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakhunt.capture import groups, procfs
from leakhunt.capture.facts.identity import Identity, packages
from leakhunt.capture.facts.redaction import redact

SECRET = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'@-"), min_size=6, max_size=40
).map(lambda text: "Zq7" + text)

FORMS = (
    ["celery", "--password", "{}"],
    ["celery", "--password={}"],
    ["celery", "--api-key={}"],
    ["celery", "--apiKey", "{}"],
    ["celery", "-b", "redis://:{}@10.0.0.1:6379/0", "worker"],
    ["celery", "--broker=amqp://user:{}@mq//"],
    ["celery", "--result-backend", "db+postgresql://app:{}@db/app"],
    ["env", "DB_PASSWORD={}", "python", "app.py"],
    ["python", "app.py", "https://{}@sentry.example/1"],
    ["python", "app.py", "https://example.com/?user=1&token={}"],
    ["curl", "-H", "Authorization: Bearer {}"],
    ["curl", "-u", "me:{}"],
    ["app", "--config", '{{"password": "{}", "host": "db"}}'],
    ["app", "--config", "{{'secret_key': '{}'}}"],
    ["sh", "-c", "SECRET_KEY={} exec celery worker"],
    ["sh", "-c", "celery worker --token {} -l INFO"],
    ["celery", "worker", "--", "broker.password={}"],
    ["app", "--dsn", "{}"],
    ["app", "--auth-token={}"],
    ["mysql", "--password='{}'"],
    ["sh", "-c", "celery -b redis://:{}@redis:6379/0 worker && redis-cli -u redis://x:y@z"],
)


@given(form=st.sampled_from(FORMS), secret=SECRET)
def test_a_secret_does_not_survive(form: list[str], secret: str) -> None:
    """In all the usual forms of passing a secret, nothing of it is left in the redacted command line."""
    shown = " ".join(redact([word.format(secret) for word in form]))
    assert secret not in shown
    assert "Zq7" not in shown


def test_what_is_no_secret_stays() -> None:
    """A command line without secrets is told as it is, and an address keeps its user and host."""
    plain = [
        "/usr/bin/python3",
        "-m",
        "celery",
        "-A",
        "shop.app",
        "worker",
        "-l",
        "INFO",
        "-c",
        "4",
        "--pool=prefork",
    ]
    assert redact(plain) == plain
    assert redact(["-b", "redis://me:pw@host:6379/0"]) == ["-b", "redis://me:***@host:6379/0"]
    assert redact(["-b", "redis://:pw@host"]) == ["-b", "redis://:***@host"]
    assert redact(["-Q", "keyboards,monkeys", "--hostname", "w1@%h"]) == [
        "-Q",
        "keyboards,monkeys",
        "--hostname",
        "w1@%h",
    ]


@given(st.lists(st.text(max_size=200), max_size=300))
def test_any_command_line_is_redacted(words: list[str]) -> None:
    """Any words give words, and not more than the first two hundred."""
    shown = redact(words)
    assert len(shown) <= 201
    assert all(type(word) is str for word in shown)


def test_long_words_take_little_time() -> None:
    """A word of a million characters that are almost an address, or almost a secret, is done at once."""
    begun = time.process_time()
    for part in ("a://", "--a=", "password", "eyJ-", "A ", "-a ", "a:"):
        assert len(redact([part * (1_000_000 // len(part))])[0]) <= 1_010
    assert time.process_time() - begun < 2


def test_this_process_is_known() -> None:
    """A process tells its own pid, parent, host, start and Python."""
    here = Identity.here(role="child", pool="prefork", name="ForkPoolWorker-1")
    assert (here.pid, here.ppid, here.host) == (os.getpid(), os.getppid(), os.uname().nodename)
    assert here.python == ".".join(map(str, sys.version_info[:3]))
    assert here.role == "child"
    assert "pytest" in here.packages
    if sys.platform == "linux":
        assert here.pids[-1] == here.pid
        assert here.started is not None
        assert 0 <= time.time() - here.started < 86_400


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_the_start_of_a_process_is_its_start() -> None:
    """A process that was started now has started now, to the tick."""
    before = time.time()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = procfs.started(process.pid)
        process.communicate(b"\n")
    assert started is not None
    assert before - 0.05 <= started <= time.time() + 0.05


def test_packages_are_read_off_their_folders(tmp_path: Path) -> None:
    """Names and versions come from the names of folders; the first folder on the path counts."""
    for name in (
        "one/Foo_Bar-1.2.dist-info",
        "one/x-0.1-py3.9.egg-info",
        "two/foo_bar-9.dist-info",
        "two/junk",
    ):
        (tmp_path / name).mkdir(parents=True)
    path = [str(tmp_path / name) for name in ("one", "two", "none")]
    assert packages(path) == {"foo-bar": "1.2", "x": "0.1"}


def machine(root: Path, cgroup: str, mountinfo: str, **files: str) -> str:
    """Make a ``/proc`` and ``/sys`` with a process 7 in it."""
    texts = {"proc/7/cgroup": cgroup, "proc/7/mountinfo": mountinfo}
    texts.update({f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


V2 = "31 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1 = "31 24 0:27 {} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def test_the_nearest_limit_counts(tmp_path: Path) -> None:
    """Of the limits above a process the smallest counts, with the use of the group that has it."""
    root = machine(
        tmp_path,
        "0::/a/b\n",
        V2,
        **{
            "a/b/memory.current": "5\n",
            "a/b/memory.max": "max\n",
            "a/memory.current": "70\n",
            "a/memory.max": "100\n",
        },
    )
    assert groups.use_of(7, root) == (70, 100, f"{root}/sys/fs/cgroup/a")


def test_a_namespace_shows_its_group_as_the_root(tmp_path: Path) -> None:
    """In a container of version 2 the group is the root of what is mounted."""
    root = machine(tmp_path, "0::/\n", V2, **{"memory.current": "5\n", "memory.max": "9\n"})
    assert groups.use_of(7, root) == (5, 9, f"{root}/sys/fs/cgroup")


@pytest.mark.parametrize(
    ("mounted", "folder"), [("/docker/abc", ""), ("/", "docker/abc/"), ("/docker", "abc/"), ("/other", "")]
)
def test_version_1_in_a_container(tmp_path: Path, mounted: str, folder: str) -> None:
    """Version 1 tells the host's path, of which a container's mount shows only the end; no limit is a huge number."""
    files = {
        f"memory/{folder}memory.usage_in_bytes": "5\n",
        f"memory/{folder}memory.limit_in_bytes": "9223372036854771712\n",
    }
    root = machine(tmp_path, "4:memory:/docker/abc\n0::/\n", V1.format(mounted), **files)
    assert groups.use_of(7, root) == (5, None, "")


@pytest.mark.parametrize(
    ("name", "cache"), [("memory.current", "inactive_file"), ("memory.usage_in_bytes", "total_inactive_file")]
)
def test_files_that_are_not_in_use_do_not_count(tmp_path: Path, name: str, cache: str) -> None:
    """What a group uses is told without idle file cache, which is looked up only where the use is worth it."""
    assert groups.used(str(tmp_path)) is None
    (tmp_path / name).write_text("100\n", encoding="ascii")
    assert groups.used(str(tmp_path)) == 100
    (tmp_path / "memory.stat").write_text(f"anon 50\n{cache} 30\nactive_file 10\n", encoding="ascii")
    assert groups.used(str(tmp_path)) == 70
    assert groups.used(str(tmp_path), exact_from=101) == 100


@pytest.mark.parametrize(
    ("cgroup", "mounts", "container", "pod"),
    [
        (f"0::/system.slice/docker-{'a1' * 32}.scope", "", "a1" * 32, None),
        (
            (
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"
                f"11112222_3333_4444_5555_666677778888.slice/cri-containerd-{'b2' * 32}.scope"
            ),
            "",
            "b2" * 32,
            "11112222-3333-4444-5555-666677778888",
        ),
        (
            f"4:memory:/kubepods/pod11112222-3333-4444-5555-666677778888/{'c3' * 32}",
            "",
            "c3" * 32,
            "11112222-3333-4444-5555-666677778888",
        ),
        (
            "0::/",
            f"1 2 8:1 /var/lib/docker/containers/{'d4' * 32}/hostname /etc/hostname rw - ext4 /dev/x rw",
            "d4" * 32,
            None,
        ),
        (
            "0::/",
            "1 2 8:1 /var/lib/kubelet/pods/11112222-3333-4444-5555-666677778888/etc-hosts /etc/hosts rw - ext4 x rw",
            None,
            "11112222-3333-4444-5555-666677778888",
        ),
        ("0::/user.slice/session-3.scope", "", None, None),
    ],
)
def test_containers_and_pods(cgroup: str, mounts: str, container: str | None, pod: str | None) -> None:
    """A container and a pod are known by the groups' paths, or by what is mounted where these are hidden."""
    assert groups.owner_of(cgroup, mounts) == (container, pod)
