"""What an earlier process left in a blob directory."""

import os

from builder.base.digest import HASHERS
from builder.stores.index import key_of

Found = list[
    tuple[float, str, int]
]  # (seconds since 1970 of the last use, key, size), oldest first
Damaged = list[tuple[str, int]]  # (path, the size that it should have)


def scan(root: str) -> tuple[Found, Damaged]:
    """All blobs under `root`; runs in a thread, takes about 3 us a blob."""
    found: Found = []
    damaged: Damaged = []
    for function in HASHERS:
        try:
            shards = list(os.scandir(f"{root}/{function}"))
        except FileNotFoundError:
            continue
        for shard in shards:
            _scan_shard(shard.path, function, found, damaged)
    found.sort()
    return found, damaged


def _scan_shard(path: str, function: str, found: Found, damaged: Damaged) -> None:
    with os.scandir(path) as entries:
        for entry in entries:
            hash_, _, digits = entry.name.partition("-")
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # gone since the directory was read
                continue
            size = int(digits) if digits.isascii() and digits.isdigit() else -1
            if status.st_size == size:
                found.append((status.st_mtime, key_of(function, hash_), size))
            else:
                damaged.append((entry.path, size))


def size_of(path: str) -> int:
    """The file's size in bytes, -1 when there is none."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return -1
