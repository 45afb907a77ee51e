"""An image as the root: its layers, one above the other, and nothing of the host's."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from builder.sandbox.interface import AuditLevel, NameClass, Outcome, Sandbox, SandboxRefusedError
from builder.sandbox.native import open_sandbox
from builder.sandbox.options import Options
from builder.sandbox.roots import Roots
from builder.sandbox.weak import WeakSandbox
from tests.sandbox.support import shell, spec

PROGRAMS = ("/bin/sh", "/bin/cat", "/bin/ls", "/usr/bin/env", "/usr/bin/id", "/usr/bin/stat")


def system_layer(place: Path) -> Path:
    """A few of the host's programs with their libraries, at the paths that they expect."""
    for program in PROGRAMS:
        told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for file in (program, *(word for word in told.split() if word.startswith("/"))):
            target = place / file.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(file), target)
    return place


def layer(place: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


@pytest.fixture
def image(tmp_path: Path) -> tuple[str, ...]:
    """Three layers, the lowest first: the second changes and removes what the first has."""
    below = layer(
        system_layer(tmp_path / "layers/1"),
        {"opt/app/version": "old\n", "opt/gone": "", "opt/hidden/by-opaque": "", "etc/secret": "s"},
    )
    (below / "etc/secret").chmod(0o600)
    middle = layer(tmp_path / "layers/2", {"opt/app/version": "new\n", "opt/hidden/own": ""})
    os.mknod(middle / "opt/gone", 0o020000, 0)  # a whiteout, which any user may make
    os.setxattr(middle / "opt/hidden", "user.overlay.opaque", b"y")
    top = layer(tmp_path / "layers/3", {"etc/os-release": "ID=pictured\n", "etc/passwd": "ours\n"})
    return str(below), str(middle), str(top)


async def test_actions_see_the_layers_as_one_root(
    sandbox: Sandbox, image: tuple[str, ...], tmp_path: Path
) -> None:
    """What an upper layer changes or removes is changed or gone, and nothing is the host's."""
    script = "cat /opt/app/version /etc/os-release; ls / /opt /opt/hidden; ls /usr/lib/python3*"
    done = await shell(sandbox, tmp_path, script, layers=image)
    assert done.exit.outcome is Outcome.EXITED, done
    lines = done.out.splitlines()
    assert lines[:2] == ["new", "ID=pictured"], done
    assert lines[lines.index("/opt:") :] == ["/opt:", "app", "hidden", "", "/opt/hidden:", "own"]
    top = lines[lines.index("/:") + 1 : lines.index("/opt:")]
    assert set(top) - {"lib64", ""} == (
        {"bin", "builder", "dev", "etc", "lib", "opt", "proc", "run", "tmp", "usr", "var"}
    )


async def test_guarantees_are_those_of_the_host_root(
    sandbox: Sandbox, image: tuple[str, ...], tmp_path: Path
) -> None:
    """Nothing of the image can be written, accounts are the usual ones, the action's user owns
    what the image has and is never the kernel's root; the work tree and /tmp are its own."""
    script = """
    id -u; cat /etc/passwd | cat; cat /etc/secret; echo; stat -c %U /etc/secret /opt/app
    for place in / /opt /etc /etc/passwd /opt/app/version /dev /builder; do
      (echo x > $place/new || echo x > $place) 2>/dev/null && echo WROTE $place
    done
    echo fine > /tmp/a && echo fine > here && cat /tmp/a here
    """
    done = await shell(sandbox, tmp_path, script, layers=image)
    lines = done.out.splitlines()
    assert lines[0] == "1000", done
    assert any(line.startswith("builder:x:1000:") for line in lines)
    assert "ours" not in lines
    assert lines[-5:] == ["s", "builder", "builder", "fine", "fine"], done
    assert "WROTE" not in done.out
    plain = await shell(sandbox, tmp_path, "true")
    assert done.exit.guarantees == plain.exit.guarantees
    assert done.tree == {"here": b"fine\n"}


async def test_host_and_images_are_apart(
    sandbox: Sandbox, image: tuple[str, ...], tmp_path: Path
) -> None:
    """One sandbox runs actions of several images and of the host, each in its own root."""
    script = "cat /opt/app/version || echo none"
    outs = [
        (await shell(sandbox, tmp_path, script, layers=layers)).out
        for layers in (image, (), image[:1], image)
    ]
    assert outs == ["new\n", "none\n", "old\n", "new\n"]


async def test_missing_program_is_the_actions_fault(sandbox: Sandbox, tmp_path: Path) -> None:
    """An image may hold nothing at all: then no program is there to be started."""
    (tmp_path / "layers/1").mkdir(parents=True)
    done = await shell(sandbox, tmp_path, "true", layers=(str(tmp_path / "layers/1"),))
    assert done.exit.outcome is Outcome.NOT_STARTED


async def test_more_layers_than_one_page_of_paths(
    sandbox: Sandbox, image: tuple[str, ...], tmp_path: Path
) -> None:
    """As many as an image may have, at paths of any length."""
    above = [
        str(layer(tmp_path / "layers" / ("n" * 200 + str(number)), {"opt/at": f"{number}\n"}))
        for number in range(125)
    ]
    done = await shell(sandbox, tmp_path, "cat /opt/at", layers=(*image, *above))
    assert done.out == "124\n", done


async def test_audit_takes_the_image_for_the_system(
    sandbox: Sandbox, image: tuple[str, ...], tmp_path: Path
) -> None:
    """What an action uses of its image is declared with the image."""
    level = AuditLevel.CHEAP if os.getuid() == 0 else AuditLevel.FULL
    done = await shell(sandbox, tmp_path, "cat /opt/app/version", layers=image, audit=level)
    assert done.exit.audit is not None
    found = {one.name: one.kind for one in done.exit.audit.accesses}
    assert found["/opt/app/version"] is NameClass.SYSTEM
    assert not done.exit.audit.outside


async def test_idle_images_are_ended(image: tuple[str, ...], tmp_path: Path) -> None:
    """The processes of images that nothing runs in any more do not pile up."""
    made: list[tuple[str, ...]] = []
    async with open_sandbox(ready=1) as sandbox:
        ended: list[tuple[str, ...]] = []

        class Counted:
            backend, guarantees = sandbox.backend, sandbox.guarantees

            def __init__(self, layers: tuple[str, ...], _inputs: bool) -> None:
                made.append(layers)
                self._layers = layers

            run = staticmethod(sandbox.run)

            async def close(self) -> None:
                ended.append(self._layers)

        roots = Roots(Counted, most_idle=1)
        for layers in (image, image[:1], image[:1], image):
            async with await roots.run(spec(tmp_path, "/bin/true", layers=layers)):
                pass
        assert roots.images == 1
        await roots.close()
    assert made == [image, image[:1], image]
    assert ended == [image, image[:1], image]


async def test_without_a_sandbox_images_are_refused(tmp_path: Path) -> None:
    """Where there are no mounts an image is no root, and nothing runs in the host's instead."""
    weak = WeakSandbox(Options(), "this test wants it")
    with pytest.raises(SandboxRefusedError, match="image"):
        await weak.run(spec(tmp_path, "/bin/true", layers=("/nowhere",)))
