"""Two runs see the same where it can be made so: environment, addresses, processors, names."""

from pathlib import Path

import pytest

from builder.sandbox.interface import AuditLevel, Limits, Sandbox
from builder.sandbox.kernel.listing import OURS, in_order, packed, parse
from tests.sandbox.support import python, shell

ASK = (
    "echo $SOURCE_DATE_EPOCH $TZ $LC_ALL $PYTHONHASHSEED; nproc; hostname; id -un; umask; pwd;"
    "sed -n 's/ .*\\[\\(heap\\|stack\\)\\]/ \\1/p' /proc/self/maps"
)


async def test_what_can_be_the_same_is_the_same(sandbox: Sandbox, tmp_path: Path) -> None:
    """Time for those who ask for it, zone, locale, hash seed, processors, names and addresses."""
    outs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        done = await shell(sandbox, tmp_path / name, ASK, deterministic=True)
        assert "processors=1 (affinity)" in done.exit.limits
        outs.append(done.out)
    told = outs[0].splitlines()
    assert told[:6] == [
        "315532800 UTC C.UTF-8 0", "1", "builder", "builder", "0022", "/builder/work"
    ]  # fmt: skip
    assert [line.split()[-1] for line in told[6:]] == ["heap", "stack"]
    assert outs[0] == outs[1]


async def test_processors_are_those_of_the_limit(sandbox: Sandbox, tmp_path: Path) -> None:
    """An action that asks for less than two processors sees as many as it may use, rounded up."""
    limits = Limits(cpu_cores=0.5)
    done = await shell(sandbox, tmp_path, "nproc", deterministic=True, limits=limits)
    assert done.out == "1\n"


async def test_own_environment_goes_first(sandbox: Sandbox, tmp_path: Path) -> None:
    """What the action says itself is not replaced; without the option nothing is added."""
    script = "echo $TZ ${LC_ALL-none}"
    environment = {"TZ": "CET"}
    done = await shell(sandbox, tmp_path, script, deterministic=True, environment=environment)
    assert done.out == "CET C.UTF-8\n"
    done = await shell(sandbox, tmp_path, script, environment=environment)
    assert done.out == "CET none\n"


NAMES = ("zebra", "b", "a", "Z", "m", "~", "0")
READ_ALONG = """
import ctypes, os, shutil
libc = ctypes.CDLL(None)
libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long

def name(directory):
    entry = libc.readdir(directory)
    return entry and ctypes.string_at(entry + 19).decode()

os.mkdir("many")
for number in range(3000):
    open(f"many/{number:x}", "w").close()
names = sorted(os.listdir("many"))
assert os.listdir("many") == names and len(names) == 3000
two = [ctypes.c_void_p(libc.opendir(b"many")) for _ in range(2)]
seen, places = [], []
while (one := name(two[0])) is not None:
    seen.append(one)
    places.append(libc.telldir(two[0]))
    if len(seen) % 2:
        assert name(two[1]) in (".", "..", *names)
assert seen == [".", "..", *names]
libc.rewinddir(two[0])
assert [name(two[0]) for _ in range(3)] == seen[:3]
libc.seekdir(two[0], ctypes.c_long(places[1499]))
assert name(two[0]) == seen[1500]
open_now = [os.scandir("many") for _ in range(100)]
assert [next(one).name for one in open_now] == [names[0]] * 100
shutil.rmtree("many")
here = os.open(".", os.O_RDONLY)
os.mkdir("gone"); os.chdir("gone"); os.rmdir("../gone")
print("all as ever", len(os.listdir(".")), len(os.listdir(here)), len(os.listdir("/proc")) > 10)
"""


async def test_directories_are_in_the_order_of_names(sandbox: Sandbox, tmp_path: Path) -> None:
    """Inputs, what it makes itself in the work tree and on tmpfs, for every program, audited or
    not; without the option the file system decides."""
    script = "ls -U; for d in . /tmp; do mkdir $d/x; cd $d/x; touch q p r; find . -type f; done"
    names = sorted(NAMES)
    for audit in (None, AuditLevel.FULL):
        base = tmp_path / str(audit)
        base.mkdir()
        files = dict.fromkeys(NAMES, "")
        done = await shell(sandbox, base, script, files=files, deterministic=True, audit=audit)
        assert done.out.split() == [*names, *("./p", "./q", "./r") * 2]
        assert "directories=sorted (supervisor)" in done.exit.limits
        if audit is not None:
            assert done.exit.audit is not None
            assert done.exit.audit.complete


async def test_reading_a_directory_is_otherwise_as_ever(sandbox: Sandbox, tmp_path: Path) -> None:
    """Two at a time, from the middle, again, while it is removed, many at once, and one that is
    gone."""
    done = await python(sandbox, tmp_path, READ_ALONG, deterministic=True)
    assert done.out == "all as ever 0 0 True\n", done.err


async def test_the_supervisor_is_none_of_its_processes(sandbox: Sandbox, tmp_path: Path) -> None:
    """An action that may be one process is one."""
    limits = Limits(processes=1)
    done = await shell(sandbox, tmp_path, "ls() { :; }; ls; echo *", deterministic=True,
                       files={"b": "", "a": ""}, limits=limits)  # fmt: skip
    assert (done.exit.exit_code, done.out) == (0, "a b\n")


@pytest.mark.parametrize("room", [24, 32, 72, 4096])
def test_pieces_of_a_listing(room: int) -> None:
    """As many entries as there is room for, each with the place behind it."""
    entries = sorted([(b"bb", b"\1" * 8, 4), (b".", b"\2" * 8, 4), (b"a" * 20, b"\3" * 8, 8)],
                     key=in_order)  # fmt: skip
    index, found = 0, []
    while index < len(entries):
        data, behind = packed(entries, index, OURS, room)
        assert len(data) <= room
        if not data:
            break
        found += parse(data)
        assert int.from_bytes(data[8:16], "little") == OURS | (index + 1)
        index = behind
    assert found == (entries if room >= 40 else entries[:1])


def test_dots_come_first() -> None:
    """Then the bytes decide."""
    names = [b"!", b"..", b"-", b".", b"10", b"9"]
    ordered = [name for name, _, _ in sorted(((n, b"", 0) for n in names), key=in_order)]
    assert ordered == [b".", b"..", b"!", b"-", b"10", b"9"]
