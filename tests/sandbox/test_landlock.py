"""Landlock: a second layer in the sandbox, the only one of files where there are no mounts."""

import os
import socket
from pathlib import Path

import pytest

from builder.sandbox import plan
from builder.sandbox.interface import Network, Sandbox
from builder.sandbox.kernel import landlock
from builder.sandbox.options import Options
from builder.sandbox.weak import WeakSandbox
from tests.sandbox.support import READ_ONLY, python, shell

VERSION = landlock.version()
needed = pytest.mark.skipif(VERSION < landlock.OLDEST, reason="this kernel has no Landlock")


@pytest.fixture
def weak() -> Sandbox:
    return WeakSandbox(Options(READ_ONLY), "this test wants it")


async def test_it_is_promised_exactly_where_it_is(sandbox: Sandbox, tmp_path: Path) -> None:
    """A result names Landlock as a guarantee when the kernel has it, and only then."""
    done = await shell(sandbox, tmp_path, "true")
    assert ("landlock" in done.exit.guarantees) == (VERSION >= landlock.OLDEST)


@needed
async def test_it_does_not_hinder_a_build(sandbox: Sandbox, tmp_path: Path) -> None:
    """Everything of its own may be written: files, directories, links, pipes, moves, devices."""
    script = (
        "set -e; mkdir -p a/b; echo 1 > a/x; mv a/x a/b/y; ln a/b/y z; ln -s z l; mkfifo f;"
        "echo 2 > /tmp/t; echo 3 > /dev/shm/s; echo 4 > /dev/null; echo 5 > /dev/stderr;"
        "echo 0 > /proc/self/oom_score_adj; : > z; rm -r a; cat /tmp/t /dev/shm/s"
    )
    done = await shell(sandbox, tmp_path, script)
    assert (done.exit.exit_code, done.out, done.err) == (0, "2\n3\n", "5\n")


@pytest.mark.skipif(VERSION < landlock.WITH_SCOPES, reason="this kernel's Landlock has no scopes")
async def test_abstract_sockets_are_out_of_reach_of_the_full_network(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """An action with the host's network still cannot reach an abstract socket of the host."""
    name = f"builder-landlock-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0" + name)
        server.listen()
        script = f"import socket\nsocket.socket(socket.AF_UNIX).connect('\\0{name}')"
        done = await python(sandbox, tmp_path, script, network=Network.FULL)
    assert "PermissionError" in done.err


@needed
async def test_weak_tier_hides_what_is_in_the_hosts_files(
    weak: Sandbox, tmp_path: Path, open_place: Path
) -> None:
    """Without mounts a file that everybody may read is not read, and none is written."""
    places = [f"/var/{open_place.name}", f"/srv/{open_place.name}"]
    home = next((place for place in places if os.access(os.path.dirname(place), os.W_OK)), None)
    secret = Path("/etc/shells" if home is None else home)
    if home is not None:
        secret.write_text("secret")
        secret.chmod(0o666)
    try:
        script = f"cat {secret}; echo 1 > {secret}; echo 2 > /var/x; echo 3 > own; cat own"
        done = await shell(weak, tmp_path, script)
    finally:
        if home is not None:
            secret.unlink()
    assert done.out == "3\n"
    assert done.err.count("denied") == 3
    assert "landlock" in done.exit.guarantees


@needed
async def test_weak_tier_builds(weak: Sandbox, tmp_path: Path) -> None:
    """A compiler finds what it needs, and its temporary place."""
    source = '#include <stdio.h>\nint main(void) { return printf("built\\n") < 0; }\n'
    done = await shell(weak, tmp_path, "cc a.c -o a && ./a", files={"a.c": source})
    assert (done.out, done.err) == ("built\n", "")


def test_rules_are_in_the_words_of_the_version() -> None:
    """An older kernel is not asked for what it does not know."""
    old, new = (landlock.Rules(abi, landlock.CHANGE) for abi in (2, 7))
    assert [len(rules._attributes) for rules in (old, new)] == [8, 24]
    assert not landlock.CHANGE & (landlock.READ | landlock.TRUNCATE)
    assert not landlock.OWNED & (landlock.MAKE_CHAR | landlock.MAKE_BLOCK)


def test_what_is_allowed_is_plain_data() -> None:
    """In a sandbox only its own places may be written; without mounts nothing more is read than
    a sandbox shows."""
    assert ("own", b"/builder") in plan.allowed()
    assert all(place != b"/" for _, place in plan.allowed())
    host = plan.allowed_on_host((), "/some/tree")
    assert {use for use, place in host if place == b"/some/tree"} == {"own"}
    assert not {b"/", b"/home", b"/root", b"/etc", b"/var"} & {place for _, place in host}


async def test_weak_tier_works_where_a_link_leads_nowhere(open_place: Path, tmp_path: Path) -> None:
    """As /etc/resolv.conf does on many a host: there is nothing to show then."""
    (open_place / "here").mkdir()
    (open_place / "nowhere").symlink_to(tmp_path / "absent")
    shown = (str(open_place / "here"), str(open_place / "nowhere"))
    places = [place for _, place in plan.allowed_on_host(shown, "/some/tree")]
    assert bytes(open_place / "here") in places
    assert bytes(open_place / "nowhere") not in places
    sandbox = WeakSandbox(Options((*READ_ONLY, *shown)), "this test wants it")
    done = await shell(sandbox, tmp_path, "echo works")
    assert (done.out, done.exit.exit_code) == ("works\n", 0)
