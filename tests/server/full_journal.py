"""A journal on a disk that fills: `unshare -Urm python -m tests.server.full_journal DIR`.

It mounts a tmpfs of one MiB on DIR, which nobody else sees. Prints `ok`, or ends with a traceback.
"""

import os
import subprocess
import sys
from pathlib import Path

from builder.server.journal import FileJournal
from tests.server.journal_kit import entry, reopened


def take_the_rest(root: Path) -> Path:
    filler = root / "filler"
    with filler.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return filler


def main(root: Path) -> None:
    path = root / "journal"
    journal = FileJournal(path, again_s=0.0)
    journal.load()
    one, two, three = entry("one"), entry("two", size=5000), entry("three", size=5000)
    journal.remember(one)
    journal.flush()
    filler = take_the_rest(root)
    for each in (two, three):  # the first write is cut, the second one not even begun
        journal.remember(each)
        journal.flush()
    journal.forget("one")
    journal.flush()
    assert journal.waiting == 2
    assert reopened_copy(path) == ["one"], "what it knew before is still there"
    assert sorted(os.listdir(root)) == ["filler", "journal"]
    filler.unlink()
    journal.flush()  # there is room again, and it has everything that waits
    assert reopened_copy(path) == ["two", "three"]
    journal.remember(entry("four"))
    journal.flush()
    take_the_rest(root)
    journal.remember(entry("five", size=100_000))
    journal.close()  # says so, and no more
    assert reopened_copy(path) == ["two", "three", "four"]
    again = FileJournal(path, again_s=0.0)  # a coordinator that begins on the full disk
    assert [each.operation for each in again.load()] == ["two", "three", "four"]
    again.forget("three")
    again.flush()
    (root / "filler").unlink()
    again.close()
    assert reopened_copy(path) == ["two", "four"]


def reopened_copy(path: Path) -> list[str]:
    """What a coordinator would find that is started now, with room to begin."""
    copy = Path(sys.argv[2])
    copy.write_bytes(path.read_bytes())
    return [each.operation for each in reopened(copy)]


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", directory], check=True)
    main(directory)
    print("ok")
