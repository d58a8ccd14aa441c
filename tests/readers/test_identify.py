from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import pytest
from dump_tools import INVALID, SNAPSHOTS, pickled
from hypothesis import given, settings
from hypothesis import strategies as st

from leakhunt.readers.identify import identify, looks_like_pickle

HEADS = {
    "an empty file": b"",
    "a memray capture": b"memray\x00\x0b\x00",
    "a Java heap dump": b"JAVA PROFILE 1.0.2\x00",
    "an ELF program, library or core dump": b"\x7fELF\x02\x01\x01\x00",
    "a zip archive": b"PK\x03\x04\x14\x00",
    "an SQLite database": b"SQLite format 3\x00",
    "a PNG image": b"\x89PNG\r\n\x1a\n",
    "a NumPy array": b"\x93NUMPY\x01\x00",
    "a V8 heap snapshot": b'{"snapshot":{"meta":{}}}',
    "an mprof recording": b"CMDLINE python app.py\nMEM 1.0 2.0\n",
    "an HTML page": b"<!DOCTYPE html><html>",
    "a PDF document": b"%PDF-1.7\n",
    "a tar archive": bytes(257) + b"ustar\x0000",
    "JSON": b'\n {"a": [1]}\n',
    "text": "Zeile 1\nZeile zwei, mit Umlaut: ä\n".encode() * 20,
    "binary data of an unknown kind": b"\xff\xfe\xfd\xfc",
}


@pytest.mark.parametrize(("kind", "head"), HEADS.items(), ids=HEADS)
def test_a_kind_is_told_from_its_first_bytes(kind: str, head: bytes) -> None:
    """Each kind that users take for a dump is told by name, with something to do next."""
    found, hint = identify(head)
    assert found == kind
    assert hint
    assert not looks_like_pickle(head)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"[1, 2]", "JSON"),
        (b"[[1]]", "JSON"),
        (b'[\n  {"a": 1}\n]', "JSON"),
        (b"{}", "JSON"),
        (b"[]", "JSON"),
        (b"[INFO] started\n", "text"),
        (b"[main] started\n", "text"),
        (b"{not json}\n", "text"),
        (b"a\0b", "binary data of an unknown kind"),
    ],
)
def test_text_json_and_binary_are_told_apart(head: bytes, kind: str) -> None:
    """JSON has its brackets where JSON has them, text is UTF-8 that may be cut in a letter, and all else is binary."""
    assert identify(head)[0] == kind


@pytest.mark.parametrize(
    ("letter", "size"), [("é", 4095), ("\N{SNAKE}", 4093), ("\N{SNAKE}", 4094), ("\N{SNAKE}", 4095)]
)
def test_text_may_be_cut_in_a_letter(letter: str, size: int) -> None:
    """The first kilobytes of a text may end within a letter of several bytes."""
    assert identify((letter * 2048).encode()[:size])[0] == "text"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_dump_looks_like_a_pickle(protocol: int) -> None:
    """The first bytes of a dump by any protocol are recognised."""
    assert looks_like_pickle(pickled([], protocol=protocol)[:512])


def test_every_dump_of_the_fixtures_looks_like_a_pickle() -> None:
    """The first bytes of real dumps are recognised."""
    assert all(looks_like_pickle(path.read_bytes()[:512]) for path in (SNAPSHOTS / "pythons").glob("*.bin"))


def test_a_dump_in_the_making_looks_like_a_pickle(tmp_path: Path) -> None:
    """What this interpreter's own dump begins with is recognised."""
    tracemalloc.Snapshot([], 1).dump(str(tmp_path / "now.bin"))
    assert looks_like_pickle((tmp_path / "now.bin").read_bytes())


@pytest.mark.parametrize(
    "name", ["archive.tar", "archive.zip", "memray.bin", "json.bin", "html.bin", "elf.bin", "text.bin"]
)
def test_no_stranger_looks_like_a_pickle(name: str) -> None:
    """Other files are told before a pickle is looked for in them."""
    assert not looks_like_pickle((INVALID / name).read_bytes()[:16])


@settings(deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes_are_called_something(head: bytes) -> None:
    """Whatever a file begins with has a name and a hint."""
    kind, hint = identify(head)
    assert kind
    assert hint
