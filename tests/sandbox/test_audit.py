"""An audit tells what an action used beyond what it declared, and nothing of a clean one."""

import os
from pathlib import Path

import pytest

from builder.sandbox import audit
from builder.sandbox.interface import (
    Access,
    Audit,
    AuditLevel,
    NameClass,
    Network,
    Outcome,
    Sandbox,
    SandboxRefusedError,
    SandboxSpec,
)
from tests.sandbox.support import act, python, shell, timed_out

CHEAP, FULL = AuditLevel.CHEAP, AuditLevel.FULL
ROOT = os.getuid() == 0
LEVELS = [FULL, pytest.param(CHEAP, marks=pytest.mark.skipif(not ROOT, reason="needs root"))]
SOURCE = '#include <stdio.h>\n#include "b.h"\nint main(void) { return B; }\n'
ABSENT = '#if __has_include("config.h")\n#endif\n'
COMPILE = ("gcc", "-c", "src/a.c", "-o", "out/a.o")
FILES = {"src/a.c": SOURCE, "src/b.h": "#define B 0\n"}


def names(found: Audit | None, use: str, kind: NameClass) -> set[str]:
    assert found is not None
    return {one.name for one in found.accesses if (one.use, one.kind) == (use, kind)}


@pytest.mark.parametrize("level", LEVELS)
async def test_clean_compilation_is_silent(
    sandbox: Sandbox, tmp_path: Path, level: AuditLevel
) -> None:
    """All that a compiler uses has its class, and nothing is outside."""
    done = await act(
        sandbox, tmp_path, *COMPILE, files=FILES, audit=level, outputs=("out/a.o",),
        output_parents=("out",),
    )  # fmt: skip
    found = done.exit.audit
    assert done.exit.outcome is Outcome.EXITED, done
    assert found is not None
    assert (found.level, found.complete, found.outside) == (level, True, ())
    read = names(found, audit.READ, NameClass.INPUT)
    assert read == {"/builder/work/src/a.c", "/builder/work/src/b.h"}
    assert names(found, audit.WRITE, NameClass.OUTPUT) == {"/builder/work/out/a.o"}
    assert any(name.endswith("/cc1") for name in names(found, audit.EXECUTE, NameClass.SYSTEM))
    programs = {one.program for one in found.accesses if one.name == "/builder/work/src/b.h"}
    assert programs == {"cc1"}


async def test_shells_are_silent_too(sandbox: Sandbox, tmp_path: Path) -> None:
    """The C library's question for the host's name service says nothing of an action."""
    done = await shell(sandbox, tmp_path, "bash -c 'echo ~ && id -un'", audit=FULL)
    found = done.exit.audit
    assert found is not None
    assert (found.complete, found.outside) == (True, ())
    assert audit.NAME_SERVICE in names(found, audit.CONNECT, NameClass.SYSTEM)


@pytest.mark.parametrize("level", LEVELS)
async def test_undeclared_write_is_found(
    sandbox: Sandbox, tmp_path: Path, level: AuditLevel
) -> None:
    """A file that the action makes beside its outputs is told, with the program that made it."""
    script = "echo x > out/a.o; echo y > leftover; cat leftover > /tmp/copy"
    done = await shell(
        sandbox, tmp_path, script, audit=level, outputs=("out/a.o",), output_parents=("out",)
    )
    assert done.exit.audit is not None
    found = {(one.use, one.name) for one in done.exit.audit.outside}
    assert ("write", "/builder/work/leftover") in found
    assert {name for _, name in found} == {"/builder/work/leftover"}


async def test_every_way_to_change_a_name_is_found(sandbox: Sandbox, tmp_path: Path) -> None:
    """Not only what is opened: pipes, modes, times, directories that come and go; and a directory
    that is only entered."""
    script = "mkfifo p; chmod 600 in; touch -d @0 in; mkdir d; rmdir d; cd src; cd /srv || true"
    files = {"in": "", "src/a": ""}
    done = await shell(sandbox, tmp_path, script, files=files, audit=FULL)
    assert done.exit.audit is not None
    assert names(done.exit.audit, audit.WRITE, NameClass.INPUT) == {"/builder/work/in"}
    written = names(done.exit.audit, audit.WRITE, NameClass.OUTSIDE)
    assert written == {"/builder/work/p", "/builder/work/d"}
    assert "/builder/work/src" in names(done.exit.audit, audit.LOOK, NameClass.INPUT)
    assert "/srv" in names(done.exit.audit, audit.LOOK, NameClass.OUTSIDE)


async def test_an_auditor_is_of_one_action(sandbox: Sandbox, tmp_path: Path) -> None:
    """One runner may serve many audited actions; each has its own names, and all of them."""
    for number in range(4):
        base = tmp_path / str(number)
        base.mkdir()
        done = await shell(sandbox, base, f"[ -e /srv/{number} ]", audit=FULL)
        assert done.exit.audit is not None
        assert done.exit.audit.complete
        assert {one.name for one in done.exit.audit.outside} == {f"/srv/{number}"}


async def test_lookups_of_absent_names_are_found(sandbox: Sandbox, tmp_path: Path) -> None:
    """A header that is looked for and is not there is how an include path leaks."""
    files = FILES | {"src/a.c": ABSENT + SOURCE}
    done = await act(
        sandbox, tmp_path, *COMPILE, files=files, audit=FULL, outputs=("out/a.o",),
        output_parents=("out",),
    )  # fmt: skip
    assert done.exit.audit is not None
    assert done.exit.audit.outside == (
        Access("/builder/work/src/config.h", "read", NameClass.OUTSIDE, "cc1", there=False),
    )


async def test_a_name_is_looked_at_before_it_is_made(sandbox: Sandbox, tmp_path: Path) -> None:
    """Who looks for a name and then makes it has looked in vain; long names are told whole, and
    each program of a process is read by its own memory."""
    long = "n" * 200 + "/" + "m" * 200
    script = f"[ -e made ]; mkdir made; [ -e made ]; exec env -i /usr/bin/stat /{long}"
    done = await shell(sandbox, tmp_path, script, audit=FULL, outputs=("made",))
    assert done.exit.audit is not None
    told = {(one.use, one.name): (one.there, one.program) for one in done.exit.audit.accesses}
    assert told["look", "/builder/work/made"] == (False, "sh")
    assert told["write", "/builder/work/made"] == (False, "mkdir")
    assert told["look", f"/{long}"] == (False, "stat")


async def test_places_of_the_host_are_found(sandbox: Sandbox, tmp_path: Path) -> None:
    """Names of the host that the sandbox hides are told when an action asks for them."""
    script = (
        "import os\nos.path.exists('/home/me/.netrc')\n"
        "try: open('/srv/../opt/tool/x')\nexcept OSError: pass\nos.chdir('/tmp')\n"
        "try: open('../root/.profile')\nexcept OSError: pass\n"
    )
    done = await python(sandbox, tmp_path, script, audit=FULL)
    assert done.exit.audit is not None
    found = {(one.use, one.name, one.there) for one in done.exit.audit.outside}
    expected = {("look", "/home/me/.netrc", False), ("read", "/opt/tool/x", False)}
    assert found >= {*expected, ("read", "/root/.profile", False)}


async def test_connects_are_found(sandbox: Sandbox, tmp_path: Path) -> None:
    """Where an action wants to connect is told, though nothing answers."""
    script = (
        "import socket\n"
        "for family, where in ((2, ('127.0.0.1', 81)), (10, ('::1', 82)), (1, '/tmp/none')):\n"
        "  try: socket.socket(family).connect(where)\n  except OSError as e: print(e.errno)\n"
    )
    done = await python(sandbox, tmp_path, script, audit=FULL)
    assert len(done.out.split()) == 3
    assert done.exit.audit is not None
    found = {one.name for one in done.exit.audit.accesses if one.use == audit.CONNECT}
    assert found == {"127.0.0.1:81", "[::1]:82", "unix:/tmp/none"}


async def test_an_action_s_own_sockets_are_its_own(sandbox: Sandbox, tmp_path: Path) -> None:
    """Wherever it has made them."""
    script = (
        "import socket\n"
        "for name in ('s', '/tmp/s', '\\0s'):\n"
        "  a, b = socket.socket(1), socket.socket(1)\n"
        "  a.bind(name)\n  a.listen()\n  b.connect(name)\n"
    )
    done = await python(sandbox, tmp_path, script, audit=FULL)
    assert done.exit.exit_code == 0, done.err
    assert done.exit.audit is not None
    found = {(one.use, one.name) for one in done.exit.audit.outside}
    assert found == {("write", "/builder/work/s")}


async def test_hosts_are_told_by_the_names_that_were_asked_for(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Though nobody answers; connections within the sandbox itself are nobody's business."""
    script = (
        "import socket\n"
        "for host in ('files.example.org', 'EXAMPLE.net', '192.0.2.7'):\n"
        "  try: socket.create_connection((host, 443), 5)\n  except OSError as e: print(e)\n"
        "s = socket.create_server(('127.0.0.1', 0))\nsocket.create_connection(s.getsockname())\n"
        "socket.socket(2, 2).sendto(b'no query at all', ('127.0.0.1', 53))\n"
    )
    done = await python(sandbox, tmp_path, script, audit=FULL)
    assert done.exit.audit is not None
    found = {one.name for one in done.exit.audit.outside if one.use == audit.CONNECT}
    assert found == {"files.example.org", "example.net", "192.0.2.7:443"}


async def test_the_resolver_is_the_same_everywhere(sandbox: Sandbox, tmp_path: Path) -> None:
    """The host's is seen only with the host's network."""
    command = ("cat", "/etc/resolv.conf")
    done = await act(sandbox, tmp_path, *command)
    assert done.out == "nameserver 127.0.0.1\n"
    done = await act(sandbox, tmp_path, *command, network=Network.FULL)
    assert done.out == Path("/etc/resolv.conf").read_text()


async def test_audit_of_what_ran_out_of_time_is_kept(sandbox: Sandbox, tmp_path: Path) -> None:
    """An action that is ended has its audit up to then."""
    script = "ls /srv; echo listed; sleep 60"
    done, _ = await timed_out(sandbox, tmp_path, script, 0.2, audit=FULL)
    assert done.exit.outcome is Outcome.TIMED_OUT
    assert done.exit.audit is not None
    assert {one.name for one in done.exit.audit.outside} == {"/srv"}


async def test_killed_auditor_is_an_incomplete_audit(sandbox: Sandbox, tmp_path: Path) -> None:
    """An action that kills everything it can is told as not wholly audited."""
    done = await python(sandbox, tmp_path, "import os; os.kill(-1, 9)", audit=FULL)
    assert done.exit.audit is not None
    assert not done.exit.audit.complete


async def test_nothing_that_a_program_passes_breaks_the_record(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Addresses that are none, and an abstract socket whose name holds a NUL, are calls like all
    others: what comes behind them is told, and the record is whole."""
    script = (
        "import ctypes, socket\nlibc = ctypes.CDLL(None)\n"
        "for where in (-1, 1 << 63, 1): libc.open(ctypes.c_void_p(where), 0)\n"
        "try: socket.socket(1).connect('\\0a\\0end\\x001\\0x\\0y')\nexcept OSError: pass\n"
        "try: open('/srv/behind')\nexcept OSError: pass\n"
    )
    done = await python(sandbox, tmp_path, script, audit=FULL)
    assert done.exit.audit is not None
    assert done.exit.audit.complete
    assert {one.name for one in done.exit.audit.outside} == {"/srv/behind"}


async def test_both_names_of_a_move_and_who_is_written_to_are_found(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """A name that is moved away or linked is used, too; so are names of which only attributes are
    wanted; and a datagram needs no connection."""
    script = (
        "import os, socket\n"
        "def tried(what, *arguments):\n"
        "  try: what(*arguments)\n  except OSError: pass\n"
        "tried(os.rename, '/srv/a', '/tmp/a')\ntried(os.link, '/srv/b', '/tmp/b')\n"
        "tried(os.chown, '/srv/c', 1, 1)\ntried(os.getxattr, '/srv/d', 'user.x')\n"
        "to = ('192.0.2.1', 99)\n"
        "tried(socket.socket(2, 2).sendto, b'x', to)\n"
    )
    done = await python(sandbox, tmp_path, script, audit=FULL)
    assert done.exit.audit is not None
    assert {(one.use, one.name) for one in done.exit.audit.outside} == {
        ("write", "/srv/a"),
        ("read", "/srv/b"),
        ("write", "/srv/c"),
        ("look", "/srv/d"),
        ("connect", "192.0.2.1:99"),
    }


@pytest.mark.skipif(ROOT, reason="root has it")
async def test_cheap_audit_is_refused_to_ordinary_users(sandbox: Sandbox, tmp_path: Path) -> None:
    """What cannot be had is refused, with what to ask for instead."""
    with pytest.raises(SandboxRefusedError, match="audit=full"):
        await act(sandbox, tmp_path, "/bin/true", audit=CHEAP)


def judged(tmp_path: Path, *rows: tuple[str, str, str, str]) -> Audit:
    spec = SandboxSpec(("x",), str(tmp_path), str(tmp_path), outputs=("o/p",), audit=FULL)
    data = "".join(f"{text}\0" for row in rows for text in row).encode()
    return audit.judged(spec, ("/opt/sdk",), data)


def test_names_have_classes(tmp_path: Path) -> None:
    """Each name has exactly one class, by what was declared."""
    (tmp_path / "in").write_text("")
    expected = {
        "/builder/work/in": NameClass.INPUT,
        "/builder/work": NameClass.INPUT,
        "/builder/work/o": NameClass.OUTPUT,
        "/builder/work/o/p/q": NameClass.OUTPUT,
        "/builder/work/o/other": NameClass.OUTSIDE,
        "/tmp/x": NameClass.TEMPORARY,
        "/usr/include/x.h": NameClass.SYSTEM,
        "/opt/sdk/x": NameClass.SYSTEM,
        "/opt/sdk2": NameClass.OUTSIDE,
        "/home/me": NameClass.OUTSIDE,
    }
    found = judged(tmp_path, *(("look", "0", "p", name) for name in expected))
    assert {one.name: one.kind for one in found.accesses} == expected
    assert not found.complete


def test_links_of_inputs_are_followed(tmp_path: Path) -> None:
    """What is read through a declared link is what the link leads to, declared or not; who looks
    at the link itself, or puts something else in its place, uses the link."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "in").write_text("")
    links = {"good": "real/in", "bad": "other", "out": "../../srv/x", "dir": "real", "loop": "loop"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    work = "/builder/work"
    rows = [("read", f"{work}/{name}") for name in ("good", "bad", "out", "dir/../other2", "loop")]
    rows += [("look", f"{work}/bad"), ("write", f"{work}/dir")]
    found = judged(tmp_path, *((use, "0", "p", name) for use, name in rows))
    assert [(one.use, one.name, one.kind) for one in found.accesses] == [
        ("read", f"{work}/real/in", NameClass.INPUT),
        ("read", f"{work}/other", NameClass.OUTSIDE),
        ("read", "/srv/x", NameClass.OUTSIDE),
        ("read", f"{work}/other2", NameClass.OUTSIDE),
        ("read", f"{work}/loop", NameClass.INPUT),
        ("look", f"{work}/bad", NameClass.INPUT),
        ("write", f"{work}/dir", NameClass.INPUT),
    ]


def test_what_an_action_makes_is_its_own(tmp_path: Path) -> None:
    """With all that is in it, and so are its sockets: not those of the host."""
    work = "/builder/work"
    rows = [("write", f"{work}/made"), ("read", f"{work}/made/d/x"), ("read", f"{work}/made2")]
    rows += [("connect", f"unix:{name}") for name in ("/tmp/s", "@x", f"{work}/made", "/run/s")]
    found = judged(tmp_path, *((use, "0", "p", name) for use, name in rows))
    outside = [f"{work}/made", f"{work}/made2", "unix:/run/s"]
    assert [one.name for one in found.outside] == outside


def test_record_that_is_cut_is_not_complete(tmp_path: Path) -> None:
    """Only the last word makes a record complete; half a row is not read."""
    whole = judged(tmp_path, ("read", "1", "p", "/etc/x"), ("end", "1", "", ""))
    assert (whole.complete, len(whole.accesses)) == (True, 1)
    assert not judged(tmp_path, ("read", "1", "p", "/etc/x"), ("blind", "1", "", "")).complete
    assert audit.parse(b"read\x001\x00p\x00/etc/x\x00read\x001") == (
        [("read", True, "p", "/etc/x")],
        False,
    )
    assert audit.parse(b"") == ([], False)
