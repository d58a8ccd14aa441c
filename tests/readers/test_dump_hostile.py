from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from dump_tools import INVALID, PEAK_BYTES, SECONDS, SNAPSHOTS, outcome

import leakhunt
from leakhunt.errors import LeakhuntError
from leakhunt.readers.dump import read_dump

ROOT = SNAPSHOTS.parents[1]

_SIZE = "a trace holds something else than a size and a traceback"
_FRAMES = "a traceback holds something else than files and lines"
_LIST = "its list of traces holds something else"
_OTHER = "it describes another object"
_MALFORMED = "its pickle is malformed"
_BUILDS = "its pickle builds something else"
_DEEP = "it is nested deeper than a snapshot is"
_DAMAGED = r"its (gzip|bzip2|xz) data is (cut|damaged)"

# Of every file: what its refusal says, behind the name of the file.
REFUSED = {
    # names that are not a dump's
    "eval-protocol0.bin": "its pickle names __builtin__.eval",
    "eval-protocol1.bin": "its pickle names __builtin__.eval",
    "eval-protocol2.bin": "its pickle names __builtin__.eval",
    "eval-protocol3.bin": "its pickle names builtins.eval",
    "eval-protocol4.bin": "its pickle names builtins.eval",
    "eval-inside.bin": "its pickle names builtins.eval",
    "eval-in-a-trace.bin": "its pickle names builtins.eval",
    "eval-in-metadata.bin": "its pickle names builtins.eval",
    "os-system-protocol0.bin": "its pickle names posix.system",
    "os-system-protocol1.bin": "its pickle names posix.system",
    "os-system-protocol2.bin": "its pickle names posix.system",
    "os-system-protocol3.bin": "its pickle names posix.system",
    "os-system-protocol4.bin": "its pickle names posix.system",
    "global-of-a-method.bin": "its pickle names tracemalloc.Snapshot.load",
    "global-of-a-module.bin": "its pickle names tracemalloc.os.system",
    "global-by-number.bin": _MALFORMED,
    "global-with-escapes.bin": "its pickle names tracemalloc.Snapshot",
    # opcodes that a dump has no use for, or not there
    "reduce-snapshot.bin": "its pickle calls something",
    "reduce-reconstructor.bin": _BUILDS,
    "newobj-with-arguments.bin": _BUILDS,
    "newobj-of-object.bin": _BUILDS,
    "newobj-ex.bin": "its pickle uses opcode 0x92 at byte 26",
    "inst.bin": "its pickle uses opcode 0x69",
    "obj.bin": "its pickle names os.system",
    "obj-of-snapshot.bin": "its pickle uses opcode 0x6f",
    "persistent-id.bin": "its pickle uses opcode 0x50",
    "binary-persistent-id.bin": "its pickle uses opcode 0x51",
    "ext1.bin": "its pickle uses opcode 0x82",
    "ext2.bin": "its pickle uses opcode 0x83",
    "ext4.bin": "its pickle uses opcode 0x84",
    "next-buffer.bin": "its pickle uses opcode 0x97",
    "bytearray.bin": "its pickle uses opcode 0x96",
    "set.bin": "its pickle uses opcode 0x8f",
    "duplicate.bin": "its pickle uses opcode 0x32",
    "unknown-opcode.bin": "its pickle uses opcode 0xff at byte 2",
    "build-on-a-number.bin": _MALFORMED,
    "build-with-a-list.bin": _MALFORMED,
    "stop-at-once.bin": _MALFORMED,
    "stack-underflow.bin": _MALFORMED,
    "tuple-without-mark.bin": _MALFORMED,
    "unknown-memo-index.bin": "its pickle refers to a value it does not hold",
    "protocol-6.bin": "its pickle protocol is 6",
    "bad-utf8.bin": _MALFORMED,
    "bad-digits.bin": _MALFORMED,
    "long-digits.bin": "it holds a number of absurd length",
    # small files that would unfold
    "dag-traceback.bin": _FRAMES,
    "dag-frame.bin": _FRAMES,
    "dag-in-a-traceback.bin": _FRAMES,
    "dag-size.bin": _SIZE,
    "dag-key.bin": _MALFORMED,
    "dag-alone.bin": "it is a pickle of a tuple",
    "long-binput.bin": "it is a pickle of None",
    "put-negative-in-traces.bin": _MALFORMED,
    "binunicode8-huge.bin": "it holds a text of 1099511627776 bytes",
    "binunicode8-overflow.bin": "it holds a text of 18446744073709551615 bytes",
    "binunicode-huge.bin": "it holds a text of 4294967295 bytes",
    "binbytes8-huge.bin": "its pickle uses opcode 0x8e",
    "frame-huge.bin": "it is a pickle of None",
    "marks.bin": _DEEP,
    "marks-in-traces.bin": _DEEP,
    "marks-under-traces.bin": f"{_DEEP}|{_LIST}",
    "nested-lists.bin": "it is a pickle of a list",
    "nested-tuples.bin": "it is a pickle of a tuple",
    "nested-tuples-size.bin": _SIZE,
    # traces that are none
    "size-negative.bin": _SIZE,
    "size-2-63.bin": _SIZE,
    "size-bool.bin": _SIZE,
    "size-float.bin": _SIZE,
    "size-none.bin": _SIZE,
    "size-text.bin": _SIZE,
    "domain-negative.bin": _SIZE,
    "domain-text.bin": _SIZE,
    "nframe-negative.bin": _SIZE,
    "lineno-negative.bin": _FRAMES,
    "lineno-2-63.bin": _FRAMES,
    "lineno-bool.bin": _FRAMES,
    "lineno-text.bin": _FRAMES,
    "filename-bytes.bin": "its pickle uses opcode 0x43",
    "filename-number.bin": _FRAMES,
    "filename-none.bin": _FRAMES,
    "frame-list.bin": _FRAMES,
    "frame-of-three.bin": _FRAMES,
    "traceback-list.bin": _SIZE,
    "traceback-text.bin": _SIZE,
    "traceback-none.bin": _SIZE,
    "trace-list.bin": _LIST,
    "trace-number.bin": _LIST,
    "trace-empty.bin": "a trace has 0 fields",
    "trace-of-one.bin": "a trace has 1 field",
    "trace-of-two-among-four.bin": "a trace has 2 fields",
    "duplicate-of-no-trace.bin": "its pickle uses opcode 0x32",
    "duplicate-in-a-trace.bin": "its pickle uses opcode 0x32",
    "duplicate-of-a-number.bin": f"{_LIST}|its pickle uses opcode 0x32",
    "duplicate-in-the-next-batch.bin": "its pickle uses opcode 0x32",
    "duplicate-of-an-appended-trace.bin": "its pickle uses opcode 0x32",
    "duplicate-memoized.bin": _MALFORMED,
    "trace-appended-number.bin": _LIST,
    "traces-dict.bin": "it holds no traces",
    "traces-none.bin": "it holds no traces",
    "traces-text.bin": "it holds no traces",
    "traces-tuple-of-numbers.bin": _LIST,
    "traces-twice.bin": "it holds two lists of traces",
    "traces-in-themselves.bin": _LIST,
    "traces-in-a-trace.bin": _SIZE,
    "traces-missing.bin": _OTHER,
    "traces-without-state.bin": "it holds no traces",
    "traces-alone.bin": _OTHER,
    "limit-text.bin": "its traceback limit is no number",
    "limit-negative.bin": "its traceback limit is no number",
    "key-number.bin": _MALFORMED,
    "memo-redefined.bin": "its pickle defines one value twice",
    "memo-redefined-in-traces.bin": "its pickle defines one value twice",
    "reference-ahead.bin": "its pickle refers to a value it does not hold",
    "reference-to-itself.bin": "its pickle refers to a value it does not hold",
    "reference-to-a-frame.bin": _FRAMES,
    "reference-to-a-text.bin": f"{_SIZE}|its pickle refers to a value it does not hold",
    "reference-to-a-trace.bin": f"{_FRAMES}|{_SIZE}",
    "reference-to-nothing.bin": f"{_MALFORMED}|its pickle refers to a value it does not hold",
    # other pickles
    "pickled-list.bin": "it is a pickle of a list",
    "pickled-dict.bin": "it is a pickle of a dict",
    "pickled-number.bin": "it is a pickle of a number",
    "pickled-float.bin": "it is a pickle of something else",
    "pickled-text.bin": "it is a pickle of text",
    "pickled-none.bin": "it is a pickle of None",
    "pickled-tuple.bin": "it is a pickle of a tuple",
    "pickled-empty-list.bin": "it is a pickle of a list",
    "pickled-bytes.bin": "its pickle uses opcode 0x43",
    "pickled-list-protocol0.bin": "it is a pickle of a list",
    "pickled-number-protocol0.bin": "but text",
    # other files
    "empty.bin": "but an empty file",
    "one-byte.bin": "the snapshot is cut after 1 byte",
    "zeros.bin": "but binary data of an unknown kind",
    "text.bin": "but text",
    "parenthesis.bin": "but text",
    "json.bin": "but JSON",
    "html.bin": "but an HTML page",
    "memray.bin": "but a memray capture",
    "elf.bin": "but an ELF program",
    "sqlite.bin": "but an SQLite database",
    "archive.zip": "but a zip archive",
    "archive.tar": "but a tar archive",
    "archive.tar.gz": "but a tar archive",
    # compressed files
    "text.bin.gz": "but text",
    "empty.bin.gz": "but an empty file",
    "twice.bin.gz": "but binary data of an unknown kind",
    **{f"{name}.bin.{suffix}": _DAMAGED for name in ("cut", "damaged", "garbage", "head-only") for suffix in ("gz", "bz2", "xz")},
}  # fmt: skip

# Files whose traces can be used, with what is left out of them.
ACCEPTED = {
    "trailing-garbage.bin": "",
    "put-in-traces.bin": "",
    "long-binput-in-traces.bin": "",
    "long-binput-in-traces-most.bin": "",
    "dag-metadata.bin": "it is too large or too deep",
    "dag-lists-metadata.bin": "it is too large or too deep",
    "nested-lists-metadata.bin": "it is too large or too deep",
}

# The files that cost the most where a reader trusts them.
WORST = (
    "dag-traceback.bin",
    "dag-in-a-traceback.bin",
    "dag-key.bin",
    "dag-metadata.bin",
    "dag-lists-metadata.bin",
    "dag-alone.bin",
    "long-binput.bin",
    "long-binput-in-traces.bin",
    "long-binput-in-traces-most.bin",
    "binunicode8-huge.bin",
    "frame-huge.bin",
    "nested-lists-metadata.bin",
    "nested-tuples-size.bin",
    "marks-under-traces.bin",
)

# Loads files under a hook that notes what code from outside would need, and prints it.
_UNDER_AUDIT = """
import json, os, sys
import bz2, encodings.raw_unicode_escape, gzip, lzma
import leakhunt
noted = []
def hook(event, arguments):
    if event in FORBIDDEN or event.startswith(("subprocess.", "socket.", "ctypes.")):
        noted.append([event, repr(arguments)[:200]])
FORBIDDEN = {
    "pickle.find_class", "import", "exec", "compile", "code.__new__", "os.system", "os.exec", "os.fork", "os.posix_spawn",
    "os.remove", "os.rename", "os.mkdir", "sys.addaudithook", "object.__getattr__",
}
leakhunt.load(sys.argv[1])
sys.addaudithook(hook)
count = 0
for name in sys.argv[2:]:
    count += 1
    try:
        leakhunt.load(name, allow_partial=True)
    except leakhunt.LeakhuntError:
        pass
print(json.dumps([count, noted]))
"""

_MEASURED = """
import json, os, resource, sys, time
import leakhunt
started = time.process_time()
try:
    said = leakhunt.load(sys.argv[1]).blocks
except leakhunt.LeakhuntError as error:
    said = error.message
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
if os.path.exists("/proc/self/status"):  # on Linux ru_maxrss has what the parent held before this program began
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024
print(json.dumps({"seconds": time.process_time() - started, "peak": peak, "said": said}))
"""


def in_python(code: str, *arguments: str) -> Any:  # noqa: ANN401 - what the code prints as JSON
    """Run code in a fresh interpreter and return the JSON it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_fault_is_kept_and_described() -> None:
    """The folder holds one file for each fault of the table, each with a line in the README, and no other."""
    names = {path.name for path in INVALID.iterdir()} - {"make.py", "README.md", "__pycache__"}
    assert names == {*REFUSED, *ACCEPTED}
    described = re.findall(
        r"^\| `([^`]+)` \| \S", (INVALID / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(described) == sorted(names)


def test_the_script_writes_the_files(tmp_path: Path) -> None:
    """The files are what make.py writes; compressed ones may differ between versions of the libraries."""
    subprocess.run([sys.executable, str(INVALID / "make.py"), str(tmp_path)], check=True, timeout=60)
    assert {path.name for path in tmp_path.iterdir()} == {*REFUSED, *ACCEPTED}
    for path in tmp_path.glob("*.bin"):
        assert path.read_bytes() == (INVALID / path.name).read_bytes(), path.name


@pytest.mark.parametrize("allow_partial", [False, True])
@pytest.mark.parametrize(("name", "words"), REFUSED.items(), ids=REFUSED)
def test_a_faulty_file_is_refused(name: str, words: str, *, allow_partial: bool) -> None:
    """Each fault is refused in words that name it, at once, with a next step; a cut file may be read as a partial one."""
    path = INVALID / name
    started = time.process_time()
    found = outcome(leakhunt.load, path, allow_partial=allow_partial)
    assert time.process_time() - started < SECONDS
    if not isinstance(found, LeakhuntError):
        assert allow_partial
        assert found.partial
        assert name.startswith(("cut.", "damaged."))
        return
    said = found.message
    assert said.startswith(f"{path}: ")
    assert re.search(words, said[len(f"{path}: ") :]), said
    assert found.hint


@pytest.mark.parametrize(("name", "why"), ACCEPTED.items())
def test_usable_traces_beside_a_fault_are_read(name: str, why: str) -> None:
    """What follows the pickle is not read, and metadata that unfolds without end is left out and named."""
    found = outcome(leakhunt.load, INVALID / name)
    assert not isinstance(found, LeakhuntError)
    assert (found.blocks, found.capture) == (10 if name.startswith("long-binput") else 1 if why else 2, None)
    assert [entry.why for entry in found.skipped] == ([why] if why else [])


def test_a_refusal_cannot_command_the_terminal() -> None:
    """A name that a file chose is shown without its control characters."""
    found = outcome(leakhunt.load, INVALID / "global-with-escapes.bin")
    assert isinstance(found, LeakhuntError)
    assert found.message.isprintable()


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource")
@pytest.mark.parametrize("name", WORST)
def test_the_worst_files_cost_little(name: str) -> None:
    """A file made to unfold takes neither much time nor much memory."""
    measured = in_python(_MEASURED, str(INVALID / name))
    assert measured["seconds"] < SECONDS
    assert measured["peak"] < PEAK_BYTES


def test_nothing_of_a_file_is_run_or_imported() -> None:
    """While hostile files are read, no class is looked up, and nothing is imported, compiled or started."""
    names = [str(INVALID / name) for name in sorted([*REFUSED, *ACCEPTED])]
    good = str(SNAPSHOTS / "pythons" / "cp38-protocol0.bin")
    assert in_python(_UNDER_AUDIT, good, *names) == [len(names), []]


def test_the_hook_would_notice() -> None:
    """The hook of the test above does see what unpickling one of the files does."""
    code = _UNDER_AUDIT.replace(
        "leakhunt.load(name, allow_partial=True)", "import pickle; pickle.load(open(name, 'rb'))"
    )
    code = code.replace("except leakhunt.LeakhuntError", "except Exception")
    good = str(SNAPSHOTS / "pythons" / "cp38.bin")
    _, noted = in_python(code, good, str(INVALID / "eval-protocol4.bin"))
    assert {"pickle.find_class", "exec"} <= {event for event, _ in noted}


def test_a_small_file_of_endless_traces_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compressed file that unfolds to 250 times its size and more than a bound is refused with a way out."""
    monkeypatch.setattr("leakhunt.readers.streams._BOMB_BYTES", 1 << 17)
    whole = (INVALID / "trailing-garbage.bin").read_bytes()
    trace = b"(K\x00K\x10\x8c\x04a.pyK\x01\x86\x85K\x01t"
    head = whole[: whole.index(trace)]
    path = tmp_path / "bomb.bin.gz"
    path.write_bytes(gzip.compress(head + trace * 20_000, mtime=0))
    assert path.stat().st_size < 10_000
    for allow_partial in (False, True):
        with pytest.raises(LeakhuntError, match="unfolds to more than 250 times its size") as caught:
            read_dump(str(path), allow_partial=allow_partial)
        assert "decompress it yourself" in caught.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource")
def test_a_far_memo_index_takes_no_memory(tmp_path: Path) -> None:
    """A small file that unfolds to a far position and gives a memo index as far takes little memory all the same."""
    whole = (INVALID / "long-binput-in-traces.bin").read_bytes()
    filler = b"V" + b"a" * ((1 << 20) - 2) + b"\n"
    far = whole.replace(b"\xff\xff\xff\x0f", (24 << 20).to_bytes(4, "little"))
    path = tmp_path / "far.bin.gz"
    path.write_bytes(gzip.compress(far[:2] + filler * 25 + far[2:], compresslevel=1, mtime=0))
    measured = in_python(_MEASURED, str(path))
    assert measured["peak"] < PEAK_BYTES


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource")
@pytest.mark.parametrize("known", [b"", b"(K\x00K\x10h\x09K\x01t"])
def test_a_block_repeated_without_end_takes_little(tmp_path: Path, known: bytes) -> None:
    """A hundred million repeats of one block, behind a trace read by the machine or in bulk, are counted at once."""
    whole = (INVALID / "trailing-garbage.bin").read_bytes()
    trace = b"(K\x00K\x10\x8c\x04a.pyK\x01\x86\x85q\x09K\x01t"
    at = whole.index(b"](") + 2
    path = tmp_path / "many.bin"
    with open(path, "wb") as file:
        file.write(whole[:at] + trace + known)
        file.writelines(b"2" * 1_000_000 for _ in range(100))
        file.write(whole[at:])
    measured = in_python(_MEASURED, str(path))
    assert measured["said"] == 100_000_003 + bool(known)
    assert measured["seconds"] < SECONDS
    assert measured["peak"] < PEAK_BYTES
