"""Uploads into files, on one processor and on several."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import builder.stores.upload
from builder.base.digest import HASHERS, Digest, digest_of
from builder.base.errors import InvalidArgumentError, ResourceExhaustedError
from builder.stores import folder as folder_room
from builder.stores.files import FileBlobStore
from builder.stores.folder import WAITED_S, Folder
from builder.stores.interface import Buffer
from builder.stores.upload import IN_PLACE, DiskUpload

MIB = 1024 * 1024
DATA = os.urandom(251) * 9000  # 2.2 MiB: some turns of hashing, some trips to a thread


@pytest.fixture(params=[True, False], ids=["alone", "together"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FileBlobStore]:
    with closing(FileBlobStore(tmp_path / "store", 64 * MIB)) as made:
        made.folder.alone = request.param
        yield made


@pytest.mark.parametrize("function", sorted(HASHERS.keys() - {"sha256tree"}))
@pytest.mark.parametrize("size", [16_000, len(DATA)])
async def test_pieces_are_hashed_and_written(
    store: FileBlobStore, function: str, size: int
) -> None:
    """Whatever the pieces and whoever hashes them, the blob is there in the end."""
    digest = digest_of(DATA, function)
    upload = await store.begin(digest)
    pieces = [memoryview(DATA)[at : at + size] for at in range(0, len(DATA), size)]
    for at in range(0, len(pieces), 17):
        await upload.append(*pieces[at : at + 17])
    await upload.commit()
    assert b"".join([piece async for piece in store.read(digest)]) == DATA


@pytest.mark.parametrize("size", [MIB // 2, IN_PLACE + 1])
async def test_one_wrong_byte_is_seen(store: FileBlobStore, size: int) -> None:
    """In whichever piece it is."""
    digest = digest_of(DATA)
    wrong = bytearray(DATA)
    wrong[-1] ^= 1
    upload = await store.begin(digest)
    for at in range(0, len(wrong), size):
        await upload.append(bytes(wrong[at : at + size]))
    with pytest.raises(InvalidArgumentError, match="not those of"):
        await upload.commit()
    assert await store.find_missing([digest]) == [digest]


@pytest.mark.parametrize("size", [16_000, 300_000])
async def test_pieces_are_taken_without_waiting(store: FileBlobStore, size: int) -> None:
    """On one processor; else nothing is done, and the caller waits for it."""
    digest = digest_of(DATA)
    upload = await store.begin(digest)
    for at in range(0, len(DATA), size):
        piece = memoryview(DATA)[at : at + size]
        assert upload.append_nowait([piece]) == store.folder.alone
        if not store.folder.alone:
            assert upload.offset == at
            await upload.append(piece)
    with pytest.raises(InvalidArgumentError, match="more bytes came"):
        assert upload.append_nowait([b"x"]) or await upload.append(b"x")
    await upload.commit()
    assert b"".join([piece async for piece in store.read(digest)]) == DATA


class Descriptors:
    """What `os` does for an upload, on a disk with so much room."""

    def __init__(self, room: int) -> None:
        self.room = room

    def writev(self, descriptor: int, pieces: list[Buffer]) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        some = memoryview(b"".join(pieces))[: self.room]
        self.room -= len(some)
        return os.write(descriptor, some)

    close = staticmethod(os.close)


class FullRoom:
    """Room of which there is so much more when the disk is full."""

    def __init__(self, folder: Folder, disk: Descriptors, more: int) -> None:
        self.folder = folder
        self.shown: list[str] = []
        self._disk = disk
        self._more = more

    def appear(self, _digest: Digest, temporary: str) -> str:
        self.shown.append(temporary)
        return temporary

    def release(self, size: int) -> None:
        assert size == len(DATA)

    async def relieve(self) -> bool:
        self._disk.room = self._more
        return self._more > 0


@pytest.mark.parametrize("relieved", [True, False])
async def test_a_disk_that_gets_full_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relieved: bool
) -> None:
    """What was hashed then is written once there is room; without room the upload fails."""
    disk = Descriptors(400_000)
    monkeypatch.setattr(builder.stores.upload, "os", disk)
    room = FullRoom(Folder(tmp_path / "store"), disk, MIB * 64 if relieved else 0)
    room.folder.alone = True
    with closing(room.folder):
        upload = DiskUpload(room, digest_of(DATA))
        at = 0
        while upload.append_nowait([DATA[at : at + MIB // 2]]):
            at += MIB // 2
        if not relieved:
            with pytest.raises(ResourceExhaustedError):
                await upload.append(DATA[at : at + MIB // 2])
            upload.abort()
            return
        for rest in range(at, len(DATA), MIB // 2):
            await upload.append(DATA[rest : rest + MIB // 2])
        await upload.commit()
        assert Path(room.shown[0]).read_bytes() == DATA


def test_who_only_loses_the_processor_has_not_waited(store: FileBlobStore) -> None:
    """More threads would not help."""
    folder = store.folder
    quiet: list[bool] = []

    def busy() -> None:
        slept = folder_room._times_slept()
        until = time.monotonic() + 2 * WAITED_S
        while time.monotonic() < until:
            pass
        quiet.append(folder_room._times_slept() == slept)

    for _ in range(100):
        slept = folder_room._times_slept()
        folder.in_place(busy)
        if quiet[-1] and folder_room._times_slept() == slept:
            break
        folder._slow_until = 0.0
    assert not folder._slow_until


async def test_a_slow_disk_is_left_to_threads(store: FileBlobStore) -> None:
    """Who had to wait for it in the event loop does not do so again soon."""
    folder = store.folder
    assert folder.prompt == folder.alone
    before = time.monotonic()
    folder.in_place(lambda: time.sleep(2 * WAITED_S))  # a disk that makes us wait
    assert folder._slow_until > before + WAITED_S
