"""What an action cannot do, tried against the real kernel: one sandbox, all of `escapes.py`; and
again in an image, whose root is another one, and in a sandbox that another action has had.
"""

import functools
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from builder.sandbox.native import NativeSandbox, open_sandbox
from builder.sandbox.options import Options
from builder.sandbox.plan import SYSTEM
from tests.sandbox.attacks import ATTACKS
from tests.sandbox.escapes import ESCAPES, HOST_SECRET
from tests.sandbox.support import PYTHON, READ_ONLY, act, settled

ATTEMPTS = Path(__file__).with_name("attempts.py").read_text()
TRIED = [*ESCAPES, *ATTACKS]
ABSTRACT = f"builder-test-{os.getpid()}"


@asynccontextmanager
async def opened(layers: tuple[str, ...], reuse: str) -> AsyncIterator[NativeSandbox]:
    """The host's root; or that of an image which holds nothing, with the host's programs shown in
    it."""
    if not layers:
        async with open_sandbox(read_only=READ_ONLY, reuse=bool(reuse)) as sandbox:
            assert isinstance(sandbox, NativeSandbox)
            yield sandbox
        return
    system = [path for path in SYSTEM if os.path.lexists(path)]
    options = Options((*system, "/etc/ld.so.cache", *READ_ONLY), layers=layers)
    async with trio.open_nursery() as nursery:
        image = NativeSandbox(options, nursery)
        await image.start()
        try:
            yield image
        finally:
            await image.close()
            nursery.cancel_scope.cancel()


async def answers(base: Path, *, way: str) -> dict[str, str]:
    (base / "layers/empty").mkdir(parents=True)
    layers = (str(base / "layers/empty"),) if way == "image" else ()
    reuse = "ci" if way == "reused" else ""
    secret = base / "secret"
    secret.write_text(HOST_SECRET)
    secret.chmod(0o644)
    with (
        socket.create_server(("127.0.0.1", 0)) as port,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
    ):
        abstract.bind(f"\0{ABSTRACT}")
        abstract.listen()
        named.bind(str(base / "socket"))
        named.listen()
        async with opened(layers, reuse) as sandbox:
            places = {
                "@SECRET@": str(secret),
                "@SCRATCH@": str(base),
                "@SOCKET@": str(base / "socket"),
                "@ABSTRACT@": ABSTRACT,
                "@PORT@": str(port.getsockname()[1]),
                "@BROKER@": str(sandbox.broker_pid),
            }
            text = json.dumps({name: code for name, code, _ in TRIED})
            text = functools.reduce(lambda out, key: out.replace(key, places[key]), places, text)
            files = {"attempts.py": ATTEMPTS, "table.json": text}
            argv = (PYTHON, "-I", "-S", "attempts.py", "table.json")
            if reuse:
                await act(sandbox, base, "/bin/true", files=files, reuse=reuse)
                await settled(sandbox)
            done = await act(sandbox, base, *argv, files=files, layers=layers, reuse=reuse)
    assert done.exit.exit_code == 0, (done.exit, done.err)
    assert done.exit.usage.reused == bool(reuse)
    found: dict[str, str] = json.loads(done.out)
    return found


@pytest.fixture(scope="module", params=["host", "image"])
def told(request: pytest.FixtureRequest) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="builder-cannot-") as base:
        return trio.run(functools.partial(answers, Path(base), way=request.param))


def test_escapes_are_many_and_different() -> None:
    """No name and no attempt is there twice."""
    assert len(TRIED) >= 240
    assert len({name for name, _, _ in TRIED}) == len({code for _, code, _ in TRIED})
    assert len({name for name, _, _ in TRIED}) == len(TRIED)


@pytest.mark.parametrize(("name", "accepted"), [(name, ok) for name, _, ok in TRIED])
def test_an_action_cannot(told: dict[str, str], name: str, accepted: tuple[str, ...]) -> None:
    """The attempt fails, and in the way that says which wall it met."""
    assert told[name] in accepted


@pytest.mark.slow
@pytest.mark.usefixtures("some_descriptors")
def test_nor_can_who_has_the_sandbox_of_another() -> None:
    """All of it again, where an action of the same trust domain has been before."""
    with tempfile.TemporaryDirectory(prefix="builder-cannot-") as base:
        told = trio.run(functools.partial(answers, Path(base), way="reused"))
    assert {name: told[name] for name, _, ok in TRIED if told[name] not in ok} == {}


def state(file: Path) -> tuple[object, ...]:
    """All but the time of the last look, which looking changes."""
    info = file.stat()
    return hashlib.sha256(file.read_bytes()).digest(), info[:7], info.st_mtime_ns, info.st_ctime_ns


async def test_inputs_stay_as_they_are(tmp_path: Path) -> None:
    """Whatever an action does to its inputs happens to a copy: the store's bytes, modes and
    times are untouched, though it may write, truncate, rename, link and remove."""
    blob = tmp_path / "blob"
    blob.write_text("precious")
    names = ("written", "cut", "moved", "removed", "linked", "mode")
    (tmp_path / "inputs").mkdir()
    for name in names:
        os.link(blob, tmp_path / "inputs" / name)
    before = state(blob)
    script = (
        "echo x > written; : > cut; mv moved elsewhere; rm removed; ln linked second;"
        "echo y >> second; chmod 777 mode; touch -d 2001-01-01 mode; ls"
    )
    async with open_sandbox(read_only=READ_ONLY) as sandbox:
        done = await act(sandbox, tmp_path, "/bin/sh", "-c", script)
    assert done.exit.exit_code == 0, done.err
    assert done.out.split() == ["cut", "elsewhere", "linked", "mode", "second", "written"]
    assert state(blob) == before
    assert sorted(path.name for path in (tmp_path / "inputs").iterdir()) == sorted(names)
