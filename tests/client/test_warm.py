"""Outputs that are gone come back from the server; or the ordinary way is taken."""

import marshal
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from builder.base.errors import Code, NotFoundError, UnavailableError
from builder.client import warm
from builder.client.noop import FOLDER, STATE, answer
from builder.client.receipt import Said
from builder.client.warm import BATCH_READ, GET_RESULT
from builder.net.blocking import BlockingChannel
from builder.net.listeners import open_listeners
from builder.net.rpc import Context, Method, Service
from builder.net.server import serve
from builder.reapi.digests import from_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from tests.client.fakes import World
from tests.client.test_noop import until

BUILDERFILE = """\
target one: {inputs: [src/a], outputs: [out/deep/one], command: [cat, out/deep/one, src/a]}
target two: {inputs: [":one"], outputs: [two], command: [cat, two, out/deep/one, out/deep/one]}
target empty: {inputs: [none], outputs: [out/empty], command: [cat, out/empty, none]}
"""


class Server:
    """The two methods that are needed, on a world's stores."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[str] = []
        self.tokens: list[object] = []
        self.spoil: Callable[[bytes], bytes] = lambda data: data
        self.lost = False

    def services(self) -> list[Service]:
        return [
            Service("results", (Method(GET_RESULT, unary=self._result),)),
            Service("blobs", (Method(BATCH_READ, unary=self._blobs),)),
        ]

    def _result(self, data: bytes, context: Context) -> bytes:
        request = pb.GetActionResultRequest.FromString(data)
        self.asked.append("result")
        self.tokens.append(context.metadata.get("authorization"))
        found = self.world.results.results.get(("", from_proto(request.action_digest)))
        if found is None:
            raise NotFoundError("no such result")
        return found.SerializeToString()

    def _blobs(self, data: bytes, _context: Context) -> bytes:
        request, response = pb.BatchReadBlobsRequest.FromString(data), pb.BatchReadBlobsResponse()
        self.asked.append("blobs")
        for digest in request.digests:
            one = response.responses.add(digest=digest)
            if self.lost:
                one.status.code = Code.NOT_FOUND
            else:
                one.data = self.spoil(self.world.blobs.get_nowait(from_proto(digest)))
        return response.SerializeToString()


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery) -> Server:
    """A project that is built, with a receipt and us in its directory, and its server."""
    world = World(tmp_path / "project")
    world.write({"Builderfile": BUILDERFILE, "src/a": "A", "none": ""})
    monkeypatch.chdir(world.root)
    server = Server(world)
    listeners = await open_listeners("127.0.0.1:0")
    served = await nursery.start(partial(serve, server.services(), listeners))
    await until(partial(keep, world, served.addresses[0]))
    server.asked.clear()
    return server


async def keep(world: World, address: str) -> bool:
    started = time.monotonic()
    summary = await world.build()
    made = [built.entries for built in summary.built.values()]
    said = [
        Said(name, built.stored_at, "", "", built.action, built.entries)
        for name, built in summary.built.items()
    ]
    command = (["build"], "Builderfile")
    return world.workspace.receipt(command, started, (), made, said, (address, ""))


async def answered() -> bool:
    return await trio.to_thread.run_sync(answer, ["build"], time.monotonic(), warm.fetch)


def files() -> dict[str, bytes]:
    return {p: Path(p).read_bytes() for p in ("out/deep/one", "two", "out/empty")}


async def test_what_is_gone_comes_back(server: Server) -> None:
    """All results are asked for, only what is gone is read, and the next time nothing is."""
    before = files()
    shutil.rmtree("out")
    assert await answered()
    assert files() == before
    assert server.asked == ["result"] * 3 + ["blobs"]
    assert await answered()
    assert len(server.asked) == 4
    assert os.listdir(f"{STATE}/tmp") == []


async def test_an_output_that_was_changed_is_replaced(server: Server) -> None:
    """Whoever edits an output gets back what the action makes."""
    Path("two").write_text("mine")
    assert await answered()
    assert Path("two").read_text() == "AA"


async def test_executable_bit(server: Server) -> None:
    """A file has the mode that its result says."""
    Path("two").chmod(0o755)
    assert await answered()
    assert not os.access("two", os.X_OK) or os.geteuid() == 0
    assert Path("two").stat().st_mode & 0o111 == 0


async def test_the_token_goes_along(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the environment's, and no receipt keeps it."""
    monkeypatch.setenv("BUILDER_TOKEN", "secret")
    Path("two").unlink()
    assert await answered()
    assert set(server.tokens[-3:]) == {"Bearer secret"}
    assert not any(b"secret" in path.read_bytes() for path in Path(STATE, FOLDER).iterdir())


def _other_result(server: Server) -> None:
    for result in server.world.results.results.values():
        result.execution_metadata.worker_completed_timestamp.FromSeconds(1)


IRREGULAR: dict[str, Callable[[Server], object]] = {
    "a source that changed": lambda _: Path("src/a").write_text("B"),
    "a result that the server has not": lambda s: s.world.results.results.clear(),
    "a result of another execution": _other_result,
    "a blob that the server has not": lambda s: setattr(s, "lost", True),
    "a blob with other bytes": lambda s: setattr(s, "spoil", lambda data: data + b"!"),
    "a directory where the output was": lambda _: Path("two").mkdir(),
    "a file where a directory was": lambda _: (
        shutil.rmtree("out"),
        Path("out").write_text("in the way"),
    ),
}


@pytest.mark.parametrize("what", IRREGULAR)
async def test_everything_else_takes_the_ordinary_way(server: Server, what: str) -> None:
    """And nothing was touched."""
    Path("two").unlink()
    IRREGULAR[what](server)
    assert not await answered()
    assert not Path("two").is_file()
    assert os.listdir(f"{STATE}/tmp") == []


async def test_no_server(server: Server) -> None:
    """One that is away is the ordinary way's business, too."""
    Path("two").unlink()
    (path,) = Path(STATE, FOLDER).iterdir()
    receipt = marshal.loads(path.read_bytes())
    assert not warm.fetch(".", str(path), {**receipt, "away": ("unix:/nowhere", "")})
    assert await trio.to_thread.run_sync(warm.fetch, ".", str(path), receipt)


async def test_large_outputs_take_the_ordinary_way(server: Server) -> None:
    """Their time is that of the bytes."""
    receipt = {
        "made": {"big": ()},
        "targets": [("t", 1.0, "", "", ("00", 1, {"big": ("11", warm.MOST_BYTES + 1, False)}))],
        "away": ("127.0.0.1:1", ""),
    }
    assert not warm.fetch(".", "receipt", receipt)


async def test_calls_that_travel_together(nursery: trio.Nursery) -> None:
    """More calls than the server takes at once are answered in order, and a refusal is raised."""

    def echo(data: bytes, _context: Context) -> bytes:
        if data == b"bad":
            raise UnavailableError("not now")
        return data

    listeners = await open_listeners("127.0.0.1:0")
    service = Service("echo", (Method("/echo", unary=echo),))
    server = await nursery.start(partial(serve, [service], listeners))
    requests = [b"%d" % number * (number % 97) for number in range(1500)] + [b"x" * 1_000_000]

    def call() -> None:
        with BlockingChannel(server.addresses[0]) as channel:
            assert channel.unary("/echo", requests) == requests
            with pytest.raises(UnavailableError, match="not now"):
                channel.unary("/echo", [b"good", b"bad"])

    await trio.to_thread.run_sync(call)
