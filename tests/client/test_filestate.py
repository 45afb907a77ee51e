"""Digests of files, remembered for as long as the files look the same."""

import json
import os
from pathlib import Path

import pytest

from builder.action.tree import File
from builder.base.digest import digest_of
from builder.base.errors import BuilderError
from builder.client.filestate import FileStates, replaced
from builder.client.state import StateDirectory

OLD = 1_000_000_000_000_000_000


def aged(path: Path) -> None:
    """As if it had been written long ago: its change time cannot be set, so wait for the tick."""
    os.utime(path, ns=(OLD, OLD))


def settled(path: Path) -> None:
    """Busy until the file's change time is older than the clock's tick."""
    import time

    while time.time_ns() - path.stat().st_ctime_ns <= 60_000_000:
        pass


def test_a_file_is_hashed_once(tmp_path: Path) -> None:
    """What looks the same is not read again, also by the next process."""
    (tmp_path / "a").write_bytes(b"hello")
    aged(tmp_path / "a")
    settled(tmp_path / "a")
    memory = tmp_path / "memory.json"
    states = FileStates(tmp_path, memory)
    assert states.file("a") == File(digest_of(b"hello"))
    assert states.file("a") == File(digest_of(b"hello"))
    assert states.hashed_bytes == 5
    states.save()
    again = FileStates(tmp_path, memory)
    assert again.file("a") == File(digest_of(b"hello"))
    assert again.hashed_bytes == 0


def test_changes_show(tmp_path: Path) -> None:
    """Another size, another time, another file of the same name, another mode."""
    path = tmp_path / "a"
    path.write_bytes(b"hello")
    aged(path)
    settled(path)
    states = FileStates(tmp_path)
    states.file("a")
    path.write_bytes(b"HELLO")
    aged(path)  # same size and time: the change time tells
    assert states.file("a").digest == digest_of(b"HELLO")
    path.chmod(0o755)
    assert states.file("a") == File(digest_of(b"HELLO"), executable=True)
    (tmp_path / "b").write_bytes(b"other")
    (tmp_path / "b").replace(path)
    assert states.file("a") == File(digest_of(b"other"))


def test_a_fresh_file_is_not_remembered(tmp_path: Path) -> None:
    """A change within the same tick would not show, so what is new is hashed again."""
    (tmp_path / "a").write_bytes(b"hello")
    states = FileStates(tmp_path)
    states.file("a")
    states.file("a")
    assert states.hashed_bytes >= 5


def test_what_we_wrote_is_known(tmp_path: Path) -> None:
    """Outputs that just landed are not read again."""
    (tmp_path / "a").write_bytes(b"hello")
    states = FileStates(tmp_path)
    states.record("a", digest_of(b"hello"))
    assert states.file("a") == File(digest_of(b"hello"))
    assert states.hashed_bytes == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"version": 1, "function": "sha256", "files": {"a": 1}}',
        b'{"version": 1, "function": "sha256", "files": [1]}',
        b'{"version": 0, "function": "sha256", "files": {}}',
    ],
)
def test_a_damaged_memory_is_no_memory(tmp_path: Path, content: bytes) -> None:
    """Whatever lies there, files are hashed again and the memory is written anew."""
    memory = tmp_path / "memory.json"
    memory.write_bytes(content)
    (tmp_path / "a").write_bytes(b"hello")
    aged(tmp_path / "a")
    settled(tmp_path / "a")
    states = FileStates(tmp_path, memory)
    assert states.file("a").digest == digest_of(b"hello")
    states.save()
    assert list(json.loads(memory.read_bytes())["files"]) == ["a"]


def test_the_memory_is_of_one_function(tmp_path: Path) -> None:
    """SHA-256 digests are never taken for BLAKE3 ones."""
    (tmp_path / "a").write_bytes(b"hello")
    memory = tmp_path / "memory.json"
    states = FileStates(tmp_path, memory)
    states.record("a", digest_of(b"hello"))
    states.save()
    other = FileStates(tmp_path, memory, "blake3")
    assert other.file("a").digest == digest_of(b"hello", "blake3")


def test_what_is_no_file(tmp_path: Path) -> None:
    """Directories, devices and nothing at all raise OSError."""
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "f")
    states = FileStates(tmp_path)
    for name in ("d", "f", "none"):
        with pytest.raises(OSError):
            states.file(name)


def test_a_failed_replacement_leaves_the_old(tmp_path: Path) -> None:
    """A file is replaced whole or not at all, and no temporary stays."""
    path = tmp_path / "a"
    path.write_text("old")

    def fail() -> None:
        with replaced(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_the_state_directory(tmp_path: Path) -> None:
    """It ignores itself, forgets what killed builds left, and says why it cannot be made."""
    state = StateDirectory(tmp_path)
    assert (state.path / ".gitignore").read_text() == "*\n"
    left = state.path / "tmp" / "left"
    left.mkdir()
    (left / "half").write_text("x")
    os.utime(left, (1, 1))
    fresh = state.path / "tmp" / "fresh"
    fresh.mkdir()
    StateDirectory(tmp_path)
    assert not left.exists()
    assert fresh.exists()
    state.save_times({"a": 1.23456})
    assert state.times() == {"a": 1.235}
    (state.path / "times.json").write_text("[1]")
    assert state.times() == {}
    (tmp_path / "file").write_text("")
    with pytest.raises(BuilderError, match="build in a directory that you may write to"):
        StateDirectory(tmp_path / "file")
