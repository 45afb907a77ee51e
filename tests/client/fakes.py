"""A small world for the client: a store in memory, and an executor with commands of its own.

The executor is a real one, only without a sandbox: it takes the action's messages and inputs from
the store as a worker does, "runs" the command in Python, and stores the outputs.

    cat OUT IN...        writes the inputs' bytes, one after the other
    tree OUT NAME...     makes a directory with files of these names, a link and an empty directory
    fail CODE TEXT       exits, with TEXT on stderr
    flaky TIMES          fails so many times, then succeeds
    lazy OUT             exits with 0 and makes nothing
    slow                 runs into its timeout
    broken               ends in an error of the server's
    loud                 writes to both streams, which are stored as blobs
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from builder.action.tree import Entry, File, Folder, Link, merkle
from builder.base.digest import Digest, digest_of, is_empty
from builder.base.errors import Code, StatusError
from builder.client.build import Build, Summary
from builder.client.builderfile import find, read, walker_of
from builder.client.console import Console
from builder.client.events import Event
from builder.client.executor import Place, Ticket, Watch
from builder.client.sharing import TargetPlace
from builder.client.target import Choices, TargetBuilder
from builder.client.workspace import Workspace
from builder.project.graph import Graph, graph
from builder.reapi.digests import from_proto, to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.reapi.status import missing
from builder.stores.memory import MemoryBlobStore
from tests.project.sample import SCHEMA


@dataclass
class MemoryResults:
    """An action cache without conditions."""

    results: dict[tuple[str, Digest], pb.ActionResult] = field(default_factory=dict)

    async def lookup(self, instance: str, action: Digest) -> pb.ActionResult | None:
        await trio.lowlevel.checkpoint()
        return self.results.get((instance, action))

    async def store(self, instance: str, action: Digest, result: pb.ActionResult) -> None:
        await trio.lowlevel.checkpoint()
        self.results[instance, action] = result


@dataclass
class FakeExecutor:
    """`before` is called with each ticket, and may raise or wait."""

    blobs: MemoryBlobStore
    results: MemoryResults
    before: Callable[[Ticket], object] = lambda ticket: None
    gate: trio.Event | None = None
    opens_at: int = 0  # so many actions at once open the gate
    cached: bool = False  # says of every result that it was in the cache
    message: str | None = "worker-1 (hermetic: namespaces+cgroup)"
    undeclared: tuple[str, ...] = ()
    ran: list[str] = field(default_factory=list)
    failed: int = 0
    running: int = 0
    most: int = 0
    sandboxes: dict[str, dict[str, bytes]] = field(default_factory=dict)

    async def execute(self, ticket: Ticket, watch: Watch) -> pb.ExecuteResponse:
        self.before(ticket)
        self.running += 1
        self.most = max(self.most, self.running)
        if self.gate is not None and self.running == self.opens_at:
            self.gate.set()
        try:
            if self.gate is not None:
                await self.gate.wait()
            await trio.lowlevel.checkpoint()
            return await self._run(ticket, watch)
        finally:
            self.running -= 1

    async def _run(self, ticket: Ticket, watch: Watch) -> pb.ExecuteResponse:
        wanted = [ticket.action]
        if lost := await self.blobs.find_missing(wanted):
            raise missing(lost)
        action = pb.Action.FromString(await self.blobs.get(ticket.action))
        command_digest = from_proto(action.command_digest)
        if lost := await self.blobs.find_missing([command_digest]):
            raise missing(lost)
        command = pb.Command.FromString(await self.blobs.get(command_digest))
        files = await self._inputs(from_proto(action.input_root_digest), "")
        self.ran.append(ticket.target)
        self.sandboxes[ticket.target] = files
        watch(_metadata())
        response = await self._perform(list(command.arguments), files)
        if response.result.exit_code == 0 and not action.do_not_cache:
            await self.results.store("", ticket.action, response.result)
        response.message = self.message or ""
        response.cached_result = self.cached
        return response

    async def _inputs(self, digest: Digest, prefix: str) -> dict[str, bytes]:
        if not is_empty(digest) and (lost := await self.blobs.find_missing([digest])):
            raise missing(lost)
        directory = pb.Directory.FromString(await self.blobs.get(digest))
        found = {prefix + link.name: b"-> " + link.target.encode() for link in directory.symlinks}
        for node in directory.files:
            name = from_proto(node.digest)
            if not is_empty(name) and (lost := await self.blobs.find_missing([name])):
                raise missing(lost)
            found[prefix + node.name] = await self.blobs.get(name)
        for child in directory.directories:
            found |= await self._inputs(from_proto(child.digest), f"{prefix}{child.name}/")
        return found

    async def _perform(self, argv: list[str], files: dict[str, bytes]) -> pb.ExecuteResponse:
        response = pb.ExecuteResponse()
        result = response.result
        result.execution_metadata.CopyFrom(_metadata(self.undeclared))
        match argv:
            case ["cat", out, *names]:
                data = b"".join(files[name] for name in names)
                await self.blobs.put(digest_of(data), data)
                result.output_files.add(path=out, digest=to_proto(digest_of(data)))
            case ["tree", out, *names]:
                await self._tree(result, out, names)
            case ["fail", code, text]:
                result.exit_code = int(code)
                result.stderr_raw = text.encode()
                result.stdout_raw = b"some output\n"
            case ["flaky", times]:
                self.failed += 1
                result.exit_code = int(self.failed <= int(times))
            case ["lazy", *_]:
                pass
            case ["slow"]:
                result.stdout_raw = b"so far\n"
                response.status.code = Code.DEADLINE_EXCEEDED
                response.status.message = "execution timeout exceeded: 1.0s"
            case ["broken"]:
                response.status.code = Code.INTERNAL
                response.status.message = "the disk is on fire"
            case ["loud"]:
                for data, digest in (
                    (b"out", result.stdout_digest),
                    (b"err", result.stderr_digest),
                ):
                    await self.blobs.put(digest_of(data), data)
                    digest.CopyFrom(to_proto(digest_of(data)))
            case _:
                raise AssertionError(argv)
        return response

    async def _tree(self, result: pb.ActionResult, out: str, names: list[str]) -> None:
        entries: dict[str, Entry] = {"empty": Folder(), "link": Link(names[0])}
        for name in names:
            await self.blobs.put(digest_of(name.encode()), name.encode())
            entries[name] = File(digest_of(name.encode()), name.endswith(".sh"))
        made = merkle(entries)
        tree = pb.Tree(root=pb.Directory.FromString(made.directories[made.root]))
        for digest, data in made.directories.items():
            if digest != made.root:
                tree.children.add().ParseFromString(data)
        data = tree.SerializeToString()
        await self.blobs.put(digest_of(data), data)
        result.output_directories.add(path=out, tree_digest=to_proto(digest_of(data)))


def _metadata(undeclared: tuple[str, ...] = ()) -> pb.ExecutedActionMetadata:
    metadata = pb.ExecutedActionMetadata(worker="worker-1")
    metadata.worker_completed_timestamp.FromNanoseconds(time.time_ns() - 125 * 10**9)
    proof = workers_pb2.ExecutionProof(backend="namespaces+cgroup", undeclared=undeclared)
    metadata.auxiliary_metadata.add().Pack(proof)
    return metadata


@dataclass
class World:
    """A project directory and where it is built. `lines` is what the last build said; `shared`
    may put another place around the one of this world."""

    root: Path
    blobs: MemoryBlobStore = field(default_factory=lambda: MemoryBlobStore(1 << 30))
    results: MemoryResults = field(default_factory=MemoryResults)
    remote: bool = True
    choices: Choices = field(default_factory=Choices)
    shared: Callable[[TargetBuilder], TargetPlace] = lambda builder: builder
    lines: str = ""
    errors: str = ""
    executor: FakeExecutor = field(init=False)
    events: list[Event] = field(default_factory=list)
    workspace: Workspace = field(init=False)  # of the last build
    graph: Graph = field(init=False)

    def __post_init__(self) -> None:
        self.executor = FakeExecutor(self.blobs, self.results)

    def write(self, files: dict[str, str | bytes]) -> None:
        for path, content in files.items():
            place = self.root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            data = content.encode() if isinstance(content, str) else content
            place.write_bytes(data)

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    async def build(self, *names: str, jobs: int = 4, keep_going: bool = False) -> Summary:
        """As the command does it, on this world's place."""
        walker = walker_of(self.root)
        path = find(self.root)
        found = graph(read(path, lambda: SCHEMA, walker=walker))
        self.graph = found
        chosen = found.select(names)
        workspace = self.workspace = Workspace(self.root, found, walker=walker)
        out, err = io.StringIO(), io.StringIO()
        several = len([n for n in found.closure(chosen) if found.project.targets[n].arguments]) > 1
        console = Console(out, err, several=several, listeners=[self.events.append])
        place = Place(
            "Using remote execution (coordinator: 127.0.0.1:9000)",
            self.remote,
            self.blobs,
            self.results,
            self.executor,
        )
        builder = TargetBuilder(place, workspace, console, self.choices)
        build = Build(found, workspace, console, self.shared(builder), jobs, keep_going)
        self.executor.ran.clear()
        try:
            return await build.run(chosen)
        finally:
            self.lines, self.errors = out.getvalue(), err.getvalue()


def unavailable(times: int, error: StatusError) -> Callable[[Ticket], None]:
    """A `before` that fails so many times."""
    left = [times]

    def before(ticket: Ticket) -> None:
        if left[0]:
            left[0] -= 1
            raise error

    return before
