from __future__ import annotations

import fcntl
import os
import stat
import time
from pathlib import Path

import pytest

from leakhunt.capture.folder import PART, Folder
from leakhunt.capture.place import default_path, own_place
from leakhunt.errors import LeakhuntError

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


def mode(path: str | os.PathLike[str]) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a folder that is new."""
    return Folder.open(str(tmp_path / "state" / "leakhunt"))


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"LEAKHUNT_DIR": "/data/dumps", "HOME": "/home/w"}, "/data/dumps"),
        ({"XDG_STATE_HOME": "/var/state", "HOME": "/home/w"}, "/var/state/leakhunt"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/w"}, "/home/w/.local/state/leakhunt"),
        ({"LEAKHUNT_DIR": " ", "HOME": "/home/w"}, "/home/w/.local/state/leakhunt"),
    ],
)
def test_the_environment_says_where(environ: dict[str, str], path: str) -> None:
    """LEAKHUNT_DIR comes first, then the XDG state directory, and a relative one of those is ignored."""
    assert default_path(environ) == path


def test_what_is_made_is_private(folder: Folder) -> None:
    """A folder, what was missing above it, those below and every file are for their owner alone, whatever the umask."""
    held = os.umask(0)
    try:
        path = folder.sub("agents", "12-34").write("ask-1.json", b"{}")
    finally:
        os.umask(held)
    inside = os.path.dirname(path)
    assert [mode(path), mode(inside), mode(os.path.dirname(inside)), mode(folder.path)] == [
        0o600,
        *[0o700] * 3,
    ]


def test_a_file_is_whole_or_not_there(folder: Folder) -> None:
    """A block that fails leaves neither the file nor a part of it, and the file that was there stays."""
    folder.write("now.bin", b"before")

    def fail() -> None:
        with folder.writing("now.bin") as file:
            file.write(b"half")
            raise MemoryError

    with pytest.raises(MemoryError):
        fail()
    assert folder.read("now.bin") == b"before"
    assert os.listdir(folder.path) == ["now.bin"]


def test_a_link_is_never_followed(folder: Folder, tmp_path: Path) -> None:
    """A link in place of the folder is refused; in place of a file it is replaced, and not read."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    os.symlink(precious, os.path.join(folder.path, "now.bin"))
    with pytest.raises(OSError, match="symbolic links"):
        folder.read("now.bin")
    folder.write("now.bin", b"snapshot")
    assert (precious.read_bytes(), folder.read("now.bin")) == (b"mine", b"snapshot")
    os.symlink(folder.path, tmp_path / "link")
    with pytest.raises(LeakhuntError, match="a link or no folder"):
        Folder.open(str(tmp_path / "link"))


def test_a_folder_that_was_replaced_is_not_written_to(folder: Folder, tmp_path: Path) -> None:
    """The folder is checked each time it is used, not only when it was opened."""
    os.rename(folder.path, tmp_path / "moved")
    os.symlink(tmp_path / "moved", folder.path)
    with pytest.raises(LeakhuntError, match="a link or no folder"):
        folder.write("now.bin", b"")
    assert os.listdir(tmp_path / "moved") == []


@pytest.mark.parametrize("bits", [0o777, 0o770, 0o1777, 0o722])
def test_where_others_write_is_no_place(tmp_path: Path, bits: int) -> None:
    """A folder that others can write to is refused, and the hint names one below it that will do."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(bits)
    with pytest.raises(LeakhuntError, match="others can write there") as refused:
        Folder.open(str(shared))
    below = str(shared / "leakhunt")
    assert below in refused.value.hint
    assert Folder.open(below).names() == []


@NEEDS_ROOT
def test_another_users_folder_is_refused(tmp_path: Path) -> None:
    """A folder of somebody else is refused, even to root, unless root says whose it is; then the files are theirs."""
    theirs = tmp_path / "theirs"
    theirs.mkdir(0o700)
    os.chown(theirs, 12345, 12345)
    with pytest.raises(LeakhuntError, match="belongs to uid 12345"):
        Folder.open(str(theirs))
    path = Folder.open(str(theirs), owner=12345).write("ask-1.json", b"{}")
    assert os.stat(path).st_uid == 12345


@NEEDS_ROOT
def test_another_users_file_is_not_read(folder: Folder) -> None:
    """A file is read when it is the owner's, this user's or root's."""
    os.chown(folder.write("ask-1.json", b"{}"), 12345, -1)
    with pytest.raises(LeakhuntError, match="uid 12345"):
        folder.read("ask-1.json")


def test_what_is_read_is_a_small_file(folder: Folder) -> None:
    """A FIFO does not hold the reader up, and a file that is too large is refused."""
    os.mkfifo(os.path.join(folder.path, "ask-1.json"))
    with pytest.raises(LeakhuntError, match="not a file"):
        folder.read("ask-1.json")
    folder.write("ask-2.json", b"x" * 11)
    with pytest.raises(LeakhuntError, match="larger than 10 bytes"):
        folder.read("ask-2.json", limit=10)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "a\0b"])
def test_names_stay_in_the_folder(folder: Folder, name: str) -> None:
    """A name that is none, or leads elsewhere, is refused everywhere."""
    for use in (folder.read, folder.remove, folder.sub, lambda each: folder.write(each, b"")):
        with pytest.raises(LeakhuntError, match="no name of a file"):
            use(name)


def test_a_path_that_cannot_be_is_refused_in_words(tmp_path: Path) -> None:
    """A file in the way, or a null character, is a LeakhuntError with a hint."""
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "below", tmp_path / "file", tmp_path / "a\0b"):
        with pytest.raises(LeakhuntError) as refused:
            Folder.open(str(path))
        assert "LEAKHUNT_DIR" in refused.value.hint


def aged(folder: Folder, name: str, size: int, seconds: float) -> None:
    """Write a file that seems older by so many seconds."""
    then = time.time() - seconds
    os.utime(folder.write(name, b"x" * size), (then, then))


def test_what_a_killed_writer_left_goes(folder: Folder) -> None:
    """A part that is old and that nobody holds a lock on goes; one still being written, or just begun, stays."""
    for name, seconds in (("dead", 3600.0), ("alive", 3600.0), ("young", 1.0)):
        aged(folder, PART + name, 10, seconds)
    with open(os.path.join(folder.path, PART + "alive"), "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        folder.sweep()
    assert sorted(os.listdir(folder.path)) == [PART + "alive", PART + "young"]
    assert (folder.names(), folder.files()) == ([], [])


def test_a_lock_is_one_processs_at_a_time(folder: Folder, tmp_path: Path) -> None:
    """A lock that is taken is not waited for, is free again when its descriptor is closed, and follows no link."""
    fd = folder.lock(".busy-0")
    assert fd is not None
    assert folder.lock(".busy-0") is None
    os.close(fd)
    again = folder.lock(".busy-0")
    assert again is not None
    os.close(again)
    os.symlink(tmp_path / "elsewhere", os.path.join(folder.path, ".busy-1"))
    with pytest.raises(OSError, match="symbolic links"):
        folder.lock(".busy-1")
    assert not (tmp_path / "elsewhere").exists()


def test_a_held_file_tells_that_its_writer_lives(folder: Folder) -> None:
    """The lock on a file that is held is gone with the descriptor, and not before; a new version is another file."""
    fd = folder.hold("answer-1.json", b"writing")
    with open(os.path.join(folder.path, "answer-1.json"), "rb") as waiting:
        with pytest.raises(BlockingIOError):
            fcntl.flock(waiting, fcntl.LOCK_SH | fcntl.LOCK_NB)
        folder.write("answer-1.json", b"done")
        os.close(fd)
        fcntl.flock(waiting, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert (waiting.read(), folder.read("answer-1.json")) == (b"writing", b"done")


@pytest.mark.parametrize("bits", [0o777, 0o770, 0o1777, 0o722, 0o2775])
def test_where_others_write_a_user_has_a_place_of_its_own(tmp_path: Path, bits: int) -> None:
    """Below a folder that others can write to, the user's own folder is used, whether it is there already or not."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(bits)
    place = own_place(str(shared), os.geteuid())
    assert place == f"{shared}/leakhunt-{os.geteuid()}"
    assert default_path({"LEAKHUNT_DIR": str(shared)}) == place
    folder = Folder.open(place)
    assert mode(place) & 0o777 == 0o700
    assert folder.sub("snapshots").names() == []


def test_a_place_elsewhere_is_the_folder_itself(tmp_path: Path) -> None:
    """A folder of one user, one that is not there yet, a link and a name that is none are taken as they are."""
    private = tmp_path / "private"
    private.mkdir(0o755)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "open")
    for path in (str(private), str(tmp_path / "none"), str(tmp_path / "link"), "/a\0b"):
        assert own_place(path, 1000) == path


def test_a_place_that_was_put_there_is_refused(tmp_path: Path) -> None:
    """A link in the name of the user's own folder is not followed, and others may not write to that either."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    place = own_place(str(shared), os.geteuid())
    os.symlink(tmp_path, place)
    with pytest.raises(LeakhuntError, match="a link or no folder"):
        Folder.open(place)
    os.unlink(place)
    os.mkdir(place)
    os.chmod(place, 0o720)
    with pytest.raises(LeakhuntError, match="others can write there"):
        Folder.open(place)


@NEEDS_ROOT
def test_a_place_of_another_user_is_refused(tmp_path: Path) -> None:
    """A folder in the user's name that belongs to somebody else is not used."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    place = own_place(str(shared), os.geteuid())
    os.mkdir(place, 0o700)
    os.chown(place, 12345, 12345)
    with pytest.raises(LeakhuntError, match="belongs to uid 12345"):
        Folder.open(place)
