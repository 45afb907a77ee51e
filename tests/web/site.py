"""A dashboard on a free port, over a service that is plain values."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

import trio
from prometheus_client import CollectorRegistry

from builder.base.digest import Digest, digest_of
from builder.base.errors import NotFoundError
from builder.builds.invocation import ActionFailure, Invocation, TestAttempt
from builder.builds.lookups import Found as LookedUp
from builder.builds.tally import BAD, Tally
from builder.net.listeners import open_listeners
from builder.reapi.pb import control_pb2 as pb
from builder.server.contents import Entry, Found
from builder.telemetry.series import Sample, Series
from builder.web.metrics import MetricsPages
from builder.web.serving import serve_app

EVIL = '"><script>document.title="owned"</script><img src=x onerror=alert(1)>'


def made(number: int, **fields: object) -> pb.Action:
    """An action of the invocation `inv`, number by number one second later."""
    action = pb.Action(
        operation=f"operations/{number:032x}",
        action=f"{number:064x}/1",
        worker=f"w{number % 8}",
        target=f"//pkg:t{number}",
        mnemonic="Cc",
        invocation="inv",
        outcome="succeeded",
    )
    start = int(time.time()) - 100_000 + number
    action.queued.FromSeconds(start)
    action.started.FromSeconds(start)
    action.ended.FromSeconds(start + 2)
    for name, value in fields.items():
        setattr(action, name, value)
    return action


@dataclass
class Plain:
    """`web.sight.Sight` over what a test puts in; `done` says what was asked of it."""

    found: list[pb.Action] = field(default_factory=list)
    state: pb.Status = field(default_factory=lambda: pb.Status(state="running", version="0"))
    explanation: pb.MissExplanation = field(default_factory=pb.MissExplanation)
    details: pb.ActionDetails = field(default_factory=pb.ActionDetails)
    done: list[object] = field(default_factory=list)
    series: Series = field(default_factory=Series)
    files: dict[str, Found] = field(default_factory=lambda: {"": Found()})
    told: Invocation | None = None
    looked_up: dict[str, LookedUp] = field(default_factory=dict)
    rows_looked_up: list[pb.Action] = field(default_factory=list)
    over: trio.Event = field(default_factory=trio.Event)
    number: int = 0
    given: int = 0  # actions that the pages were given
    ready: bool = True

    def status(self, details: bool) -> pb.Status:
        return self.state

    def samples(self) -> Sequence[Sample]:
        return self.series.samples()

    def decisions(self) -> Sequence[str]:
        return [f"12:00 launches 2 {EVIL}"]

    def builds(self) -> Sequence[Invocation]:
        return [] if self.told is None else [self.told]

    def actions(self, request: pb.ListActionsRequest) -> pb.ListActionsResponse:
        wanted = [
            one
            for one in [*self.found, *self.rows_looked_up]
            if request.invocation in ("", one.invocation)
            and request.worker in ("", one.worker)
            and (not request.failures or one.outcome in BAD)
            and not (request.ran and one.outcome == "cached")
        ]
        page = wanted[request.skip :][: request.limit or 100]
        self.given += len(page)
        return pb.ListActionsResponse(actions=page, more=len(wanted) > request.skip + len(page))

    def tallies(self, invocation: str = "") -> Sequence[Tally]:
        tallies: dict[str, Tally] = {}
        for one in self.found:
            if one.invocation and invocation in ("", one.invocation):
                tally = tallies.setdefault(one.invocation, Tally(one.invocation))
                tally.add(one.outcome, one.target, one.queued.seconds, one.ended.seconds)
        for id_, found in self.looked_up.items():
            if invocation in ("", id_):
                tallies.setdefault(id_, Tally(id_)).add_lookups(found, len(self.rows_looked_up))
        return list(tallies.values())

    async def action(self, id_: str) -> pb.ActionDetails:
        if not self.found:
            raise NotFoundError(f"no action {id_}")
        return self.details

    async def explain(self, id_: str) -> pb.MissExplanation:
        return self.explanation

    def build(self, invocation: str) -> Invocation | None:
        return self.told if invocation == "inv" else None

    async def inputs(self, id_: str, path: str) -> Found:
        if path not in self.files:
            raise NotFoundError(f"there is no {path!r}")
        return self.files[path]

    outputs = inputs

    async def read(self, id_: str, digest: Digest) -> AsyncGenerator[bytes, None]:
        yield EVIL.encode()

    async def output(self, id_: str, stream: str) -> AsyncGenerator[bytes, None]:
        return self._written(stream)

    async def _written(self, stream: str) -> AsyncGenerator[bytes, None]:
        yield f"{stream} of {EVIL}\n".encode()
        await self.over.wait()
        yield b"the end\n"

    async def again(self, id_: str) -> str:
        self.done.append(("again", id_))
        return "operations/0000"

    def cancel(self, id_: str) -> None:
        self.done.append(("cancel", id_))

    def drain(self, worker: str) -> None:
        self.done.append(("drain", worker))

    def scale(self, pool: str, workers: int | None) -> None:
        self.done.append(("scale", pool, workers))

    def version(self) -> int:
        return self.number


def evil() -> Plain:
    """Everything that a client may choose tries to become script."""
    plain = Plain(found=[made(1, target=EVIL, mnemonic=EVIL, reason=EVIL, worker=EVIL)])
    plain.found[0].outcome = "failed"
    plain.found[0].invocation = "inv"
    details = plain.details
    details.summary.CopyFrom(plain.found[0])
    details.command.arguments.extend(["cc", EVIL])
    details.command.environment_variables.add(name=EVIL, value=EVIL)
    details.action.platform.properties.add(name=EVIL, value=EVIL)
    details.inputs.add(path=EVIL)
    details.response.result.output_files.add(path=EVIL)
    details.response.status.message = EVIL
    details.stdout = EVIL.encode()
    details.proof.audit.outside.add(name=EVIL, use="read", program=EVIL)
    digest = digest_of(EVIL.encode())
    links = (Entry(EVIL, target=EVIL), Entry(EVIL))  # the second one leads nowhere
    entries = (Entry(EVIL, digest), *links, Entry(EVIL, is_directory=True))
    plain.files = {"": Found(entries), EVIL: Found(file=digest)}
    details.timeline.add(what=EVIL)
    details.notes.append(EVIL)
    plain.explanation.action.CopyFrom(plain.found[0])
    plain.explanation.conclusion = EVIL
    plain.explanation.differences.add(kind="input", name=EVIL, before=EVIL, after="", diff=EVIL)
    plain.looked_up["inv"] = LookedUp(EVIL, 1.0, 2.0, hits=3, targets={EVIL: None})
    plain.told = Invocation(EVIL, command=EVIL, patterns=[EVIL], targets={EVIL: "failed"})
    plain.told.verdicts[EVIL] = EVIL
    plain.told.failures.append(ActionFailure(EVIL, EVIL, EVIL, 1))
    plain.told.tests[EVIL, 1, 1, 1] = TestAttempt(EVIL, 1, 1, 1, "failed", 1.0, cached=False)
    plain.state.problems.append(EVIL)
    plain.state.queues.add(platform=EVIL, waiting=1)
    plain.state.worker.add(
        name=EVIL, state="idle", backend=EVIL, host=EVIL, ailment=EVIL, platform={EVIL: EVIL}
    )
    plain.state.pools.add(name=EVIL, maximum=4, next_action=EVIL)
    plain.state.pools.add(name="other", maximum=4)
    plain.state.stores.add(name="blobs", capacity_bytes=100, used_bytes=5)
    for second in range(10):
        plain.state.queue.completed += second
        plain.series.add(plain.state, float(second))
    return plain


PAGES = (
    "/",
    "/invocations",
    "/invocations/inv",
    "/actions",
    "/actions?show=failures",
    f"/actions?worker={quote(EVIL)}",
    "/actions/0000",
    "/actions/0000/miss",
    "/actions/0000/inputs/",
    "/actions/0000/outputs/",
    "/workers",
    f"/workers?show={quote(EVIL)}",
    "/storage",
)


@asynccontextmanager
async def site(plain: Plain) -> AsyncIterator[str]:
    """Its address as `http://host:port`."""
    pages = MetricsPages(
        CollectorRegistry(), lambda: plain.ready, lambda: list(plain.state.problems), plain
    )
    [listener] = await open_listeners("127.0.0.1:0")
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve_app(pages.app(), [listener], stop=stop))
        yield f"http://{listener.address}"
        stop.set()
        nursery.cancel_scope.cancel()
