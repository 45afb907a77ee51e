"""Uploads into files, on one processor and on several."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from builder.base.digest import HASHERS, digest_of
from builder.base.errors import InvalidArgumentError
from builder.stores.files import FileBlobStore
from builder.stores.folder import WAITED_S
from builder.stores.upload import IN_PLACE

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


async def test_a_slow_disk_is_left_to_threads(store: FileBlobStore) -> None:
    """Who had to wait for it in the event loop does not do so again soon."""
    folder = store.folder
    assert folder.prompt == folder.alone
    before = time.monotonic()
    with folder.in_place():
        time.sleep(2 * WAITED_S)  # noqa: ASYNC251 -- a disk that makes us wait
    assert folder._slow_until > before + WAITED_S
