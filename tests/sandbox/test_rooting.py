"""The inputs of an action as the whole root of what it sees."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.sandbox import native
from builder.sandbox.interface import (
    AuditLevel,
    Limits,
    Network,
    Outcome,
    Sandbox,
    SandboxError,
    SandboxRefusedError,
)
from builder.sandbox.options import Options
from builder.sandbox.weak import WeakSandbox
from tests.sandbox.support import Result, shell, spec
from tests.sandbox.test_image import system_layer


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """With a small system as its inputs, as a client would send it."""
    (tmp_path / "inputs").mkdir()
    system_layer(tmp_path / "inputs")
    return tmp_path


async def within(
    sandbox: Sandbox,
    base: Path,
    script: str,
    files: Mapping[str, str] | None = None,
    **more: object,
) -> Result:
    return await shell(sandbox, base, script, files=files, inputs_as_root=True, **more)


async def test_it_sees_its_inputs_and_nothing_else(sandbox: Sandbox, base: Path) -> None:
    """Neither this host's system nor the sandbox's own places, but its /proc, /dev and /tmp."""
    script = "ls /; cat /etc/secret; ls /usr/bin /usr/share; echo /proc/[0-9]*; cat /proc/self/comm"
    done = await within(sandbox, base, script, {"etc/secret": "ours\n"})
    assert done.exit.outcome is Outcome.EXITED, done
    assert done.exit.exit_code == 0 or "/usr/share" in done.err
    lines = done.out.splitlines()
    top = {"bin", "dev", "etc", "lib", "proc", "tmp", "usr"}
    assert set(lines[: lines.index("ours")]) - {"lib64"} == top, done
    programs = lines[lines.index("/usr/bin:") + 1 :]
    assert programs[:3] == ["env", "id", "stat"]
    assert lines[-2].split()[0] == "/proc/1"
    assert lines[-1] == "cat"


async def test_it_may_write_everywhere_and_its_inputs_stay(sandbox: Sandbox, base: Path) -> None:
    """What it writes is found by the names that it has in the root; of the sandbox's own places
    nothing is."""
    script = """
    echo new > /etc/made && echo changed > /etc/kept && echo x > /out/deep/x
    echo t > /tmp/t && echo s > /dev/shm/s; echo d > /dev/null; pwd; id -u
    """
    files = {"etc/kept": "as it was"}
    done = await within(
        sandbox, base, script, files, output_parents=("out/deep",), working_directory="etc"
    )
    assert done.out.split() == ["/etc", "1000"], done
    found = {name: data for name, data in done.tree.items() if not name.startswith(("usr", "bin"))}
    expected = {"etc/made": b"new\n", "etc/kept": b"changed\n", "out/deep/x": b"x\n"}
    assert {name: found[name] for name in found if name.startswith(("etc", "out"))} == expected
    assert not [name for name in found if name.startswith(("tmp", "dev", "proc"))]
    assert (base / "inputs/etc/kept").read_text() == "as it was"


async def test_guarantees_are_those_of_every_action(sandbox: Sandbox, base: Path) -> None:
    done = await within(sandbox, base, "cat /proc/self/status")
    plain = await shell(sandbox, base, "cat /proc/self/status", files={})
    assert done.exit.guarantees == plain.exit.guarantees

    def rights(said: str) -> list[str]:
        kept = ("Cap", "NoNewPrivs", "Seccomp", "Uid", "Groups")
        return [line for line in said.splitlines() if line.startswith(kept)]

    assert rights(done.out) == rights(plain.out)
    assert "CapEff:\t0000000000000000" in done.out


@pytest.mark.parametrize("way", ["../" * 20 + "usr/share", "/proc/1/root", "/proc/self/cwd/../.."])
async def test_there_is_no_way_out(sandbox: Sandbox, base: Path, way: str) -> None:
    """Neither by the parents of its root nor by another process's."""
    done = await within(sandbox, base, f"ls {way} && ls {way}/builder")
    assert "work" not in done.out, done
    assert done.exit.exit_code != 0


async def test_links_lead_to_its_own_places(sandbox: Sandbox, base: Path) -> None:
    """Absolute ones too, those of the directories that are made before the start included."""
    (base / "inputs/opt").mkdir()
    (base / "inputs/opt/lib").symlink_to("/etc")
    (base / "inputs/bin/there").symlink_to("/bin/cat")
    more = {"output_parents": ("opt/lib/made",), "working_directory": "opt/lib"}
    done = await within(sandbox, base, "there /etc/a; ls -d /etc/made", {"etc/a": "a\n"}, **more)
    assert done.out.split() == ["a", "/etc/made"], done


@pytest.mark.parametrize("name", ["proc", "dev", "tmp"])
async def test_a_place_of_the_sandbox_must_be_a_directory(
    sandbox: Sandbox, base: Path, name: str
) -> None:
    """A link there, which could lead anywhere, is not followed; the action is not run."""
    (base / "inputs" / name).symlink_to("/etc")
    with pytest.raises(SandboxRefusedError, match=f"/{name} of the inputs is no directory"):
        await within(sandbox, base, "true", {"etc/a": ""})


async def test_what_cannot_be_mounted_is_told(
    sandbox: Sandbox, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it turns out as late as that: the sandbox has failed then, and no action."""
    monkeypatch.setattr(native, "refuse_in_inputs", lambda _spec: None)
    (base / "inputs/dev").symlink_to("/etc")
    with pytest.raises(SandboxError, match="Not a directory"):
        await within(sandbox, base, "true")
    (base / "inputs/dev").unlink()
    assert (await within(sandbox, base, "echo fine")).out == "fine\n"


async def test_names_of_servers_come_with_the_network(sandbox: Sandbox, base: Path) -> None:
    """Where the inputs have a file for them."""
    files = {"etc/resolv.conf": "none\n"}
    for network, same in (
        (Network.NONE, False),
        (Network.FULL, os.path.exists("/etc/resolv.conf")),
    ):
        done = await within(sandbox, base, "cat /etc/resolv.conf", files, network=network)
        shown = Path("/etc/resolv.conf").read_text() if same else "none\n"
        assert done.out == shown


async def test_its_ends_are_told_as_ever(sandbox: Sandbox, base: Path) -> None:
    """No such program, a deadline, and a crowd at once."""
    wanted = spec(base, "/bin/nothing", inputs_as_root=True)
    async with await sandbox.run(wanted) as finished:
        assert (finished.exit.outcome, finished.exit.exit_code) == (Outcome.NOT_STARTED, 127)
    late = await within(
        sandbox, base, "while :; do :; done", limits=Limits(wall_s=0.2, grace_s=0.1)
    )
    assert late.exit.outcome is Outcome.TIMED_OUT


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"audit": AuditLevel.FULL}, "an audit"),
        ({"layers": ("/nowhere",)}, "an image"),
        ({"programs": ("sh",), "deterministic": True}, "a list of programs nor the determin"),
    ],
)
async def test_what_knows_other_roots_only_is_refused(
    sandbox: Sandbox, tmp_path: Path, asked: dict[str, object], why: str
) -> None:
    wanted = spec(tmp_path, "/bin/true", inputs_as_root=True, **asked)
    with pytest.raises(SandboxRefusedError, match=why):
        await sandbox.run(wanted)


async def test_without_a_sandbox_it_is_refused(tmp_path: Path) -> None:
    weak = WeakSandbox(Options(), "this test wants it")
    with pytest.raises(SandboxRefusedError, match="inputs as its root"):
        await weak.run(spec(tmp_path, "/bin/true", inputs_as_root=True))
