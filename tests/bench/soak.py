"""The storage's promises under load and kills: `python -m tests.bench soak --minutes 30`.

A real service with a small disk store takes three times its capacity, and is killed with SIGKILL
every minute. Clients write, look for, read and reference blobs, and keep a ledger of what they
were told: whatever was found, written or referenced by a result that was served has to be there
until its lease ends, with the right bytes, over all kills. Each broken promise is one violation;
`figures.violations` has to be 0. At the end the store is read from the first byte to the last.

What is asked for is promised anew by that. So that leases end and there is something to evict,
readers take each promise once, near its end, and the others ask in a measured way.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from builder.base.digest import Digest, digest_of
from builder.base.errors import (
    DataLossError,
    FailedPreconditionError,
    NotFoundError,
    ResourceExhaustedError,
    StatusError,
    UnavailableError,
)
from builder.net.channel import Channel
from builder.reapi.pb import control_pb2
from builder.stores.audit import audit
from builder.stores.disk import DiskBlobStore
from builder.stores.remote import RemoteActionCache, RemoteBlobStore
from tests.bench.soak_parts import MIB, REFERENCED, Content, Ledger
from tests.e2e.service import Service, free_port, running

CONFIG = """role: all
store: {{path: {folder}/store, max_size: CAPACITY, lease: LEASE}}
pool: {{min: 0, max: 0}}
worker: {{scratch: {folder}/worker}}
artifacts: {{enabled: false}}
"""
TIMES = 3  # the capacity, in what is written again and again
WRITERS, READERS, FINDERS, MAKERS = 4, 4, 2, 2
FOUND_AT_ONCE = 10
RENEWED = 0.15  # of all blobs, by finders within a lease; by makers as many
LOAD = 0.5  # of the capacity, written within a lease; each is read once, and stays another
BURST = 5  # every so many seconds there is one without a limit to the writers
NEVER = Digest("0" * 63 + "1", 1234)  # nobody has bytes with this hash
OUTAGE_S = 0.2  # between two tries while the service is away


@dataclass
class Soak:
    """One run. `written` is bytes, for the pace of the writers."""

    content: Content
    ledger: Ledger
    blobs: RemoteBlobStore
    cache: RemoteActionCache
    bytes_per_s: float
    started: float = field(default_factory=time.time)
    written: int = 0

    async def write(self) -> None:
        (number,) = self.content.some(1)
        await self.store(number)
        if int(time.time()) % BURST:
            ahead = self.written / self.bytes_per_s - (time.time() - self.started)
            await trio.sleep(max(0.0, ahead))

    async def store(self, number: int) -> None:
        """Write one; what is acknowledged is promised."""
        digest, asked_at = self.content.digests[number], time.time()
        await self.blobs.put(digest, self.content.data(number))
        self.ledger.promised(digest, asked_at)
        self.ledger.count("writes")
        self.written += digest.size_bytes

    async def read(self) -> None:
        live = self.ledger.live()
        if not live:
            await trio.sleep(OUTAGE_S)
            return
        chance = self.content.chance
        digest = min(chance.choices(live, k=20), key=lambda one: self.ledger.until[one])
        offset = chance.choice([0, 0, digest.size_bytes // 3])
        try:
            async with contextlib.aclosing(self.blobs.read(digest, offset)) as pieces:
                got = b"".join([piece async for piece in pieces])
        except NotFoundError:
            self.ledger.absent(digest, "read")
            return
        except DataLossError as error:
            self.ledger.broken(f"torn: {error}")
            return
        if len(got) != digest.size_bytes - offset or (not offset and digest_of(got) != digest):
            self.ledger.broken(f"torn: {digest} from {offset} gave {len(got)} other bytes")
        self.ledger.count("reads")
        self.ledger.until.pop(digest, None)

    async def find(self) -> None:
        asked = [self.content.digests[n] for n in self.content.some(FOUND_AT_ONCE)]
        asked_at = time.time()
        held = [digest for digest in asked if self.ledger.holds(digest)]
        missing = set(await self.blobs.find_missing([*asked, NEVER]))
        if NEVER not in missing:
            self.ledger.broken("find: what nobody ever wrote is said to be there")
        for digest in held:  # what was promised since is another writer's
            if digest in missing:
                self.ledger.absent(digest, "find")
        for digest in set(asked) - missing:
            self.ledger.promised(digest, asked_at)
        self.ledger.count("finds")
        await self.rest(FOUND_AT_ONCE * FINDERS)

    async def make(self) -> None:
        """A result is stored, or served; then all that it needs is promised."""
        number = self.content.chance.randrange(200)
        action = digest_of(b"action %d" % number)
        numbers, tree, result = self.content.result(number)
        needed = [digest_of(tree), *(self.content.digests[one] for one in numbers)]
        asked_at = time.time()
        if await self.cache.lookup("", action) is None:
            for one in numbers:
                await self.store(one)
            await self.blobs.put(needed[0], tree)
            self.ledger.promised(needed[0], time.time() - 1e-3)
            asked_at = time.time()
            held = [digest for digest in needed if self.ledger.holds(digest)]
            try:
                await self.cache.store("", action, result)
            except FailedPreconditionError as error:
                if all(self.ledger.holds(digest) for digest in held) and held == needed:
                    self.ledger.broken(f"closure: refused though all is promised: {error}")
                return
            self.ledger.count("results stored")
        else:
            self.ledger.count("results served")
        for digest in needed:
            self.ledger.promised(digest, asked_at)
        await self.rest(REFERENCED * MAKERS)

    async def rest(self, renewed: int) -> None:
        """Of who renews so many blobs with each round, all of its kind together."""
        await trio.sleep(self.ledger.lease_s * renewed / (RENEWED * len(self.content.digests)))

    async def keep(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do this until cancelled, outages and refusals included."""
        while True:
            try:
                await work()
            except ResourceExhaustedError as error:
                self.ledger.count("refusals")
                if "promised to clients" not in error.message and "is full" not in error.message:
                    self.ledger.broken(f"refusal without a reason: {error}")
                await trio.sleep(OUTAGE_S)
            except UnavailableError:
                self.ledger.count("calls cut by outages")
                await trio.sleep(OUTAGE_S)
            except StatusError as error:
                self.ledger.broken(f"unexpected {type(error).__name__}: {error}")
                await trio.sleep(OUTAGE_S)

    async def sweep(self) -> None:
        """Ask for everything that is promised, and read it."""
        live = self.ledger.live()
        for digest in await self.blobs.find_missing(live):
            self.ledger.absent(digest, "sweep")
        for digest in live:
            with contextlib.suppress(NotFoundError):
                assert digest_of(await self.blobs.get(digest)) == digest
                continue
            self.ledger.absent(digest, "sweep")


@contextlib.asynccontextmanager
async def served(folder: Path, port: int, config: str) -> AsyncIterator[Service]:
    """The service, ready; `kill` it before the end, or it is drained."""
    flags = f"--coordinator 127.0.0.1:{port} --reapi 0 --metrics :0".split()
    service = running(folder, flags=flags, config=config)
    started = await trio.to_thread.run_sync(service.__enter__)
    try:
        yield started
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(service.__exit__, None, None, None)


async def lives(
    soak: Soak, folder: Path, port: int, config: str, kills: int, kill_every_s: float
) -> None:
    """Start the service and kill it, again and again; the last one is drained."""
    for life in range(kills + 1):
        asked, last = time.perf_counter(), life == kills
        async with served(folder, port, config) as service:
            took = time.perf_counter() - asked
            soak.ledger.counts["slowest start ms"] = max(
                soak.ledger.counts.get("slowest start ms", 0), int(took * 1000)
            )
            before = soak.ledger.counts.get("reads", 0)
            await trio.sleep(kill_every_s)
            while (  # noqa: ASYNC110 -- the ledger has no event; so busy can a machine be
                soak.ledger.counts.get("reads", 0) == before and service.process.poll() is None
            ):
                await trio.sleep(OUTAGE_S)
            if last:
                await soak.sweep()
            if service.process.poll() is not None:
                soak.ledger.broken("the service ended by itself: " + " / ".join(service.lines[-9:]))
                return
            await tally(soak, service)
            if not last:
                service.process.kill()
                soak.ledger.count("kills")


async def tally(soak: Soak, service: Service) -> None:
    """Add up what this process has evicted."""
    status: control_pb2.Status = await trio.to_thread.run_sync(service.status)
    for store in status.stores:
        if store.name == "blobs":
            soak.ledger.count("evicted", store.evicted_entries)


async def verified(folder: Path, capacity: int, lease_s: float, ledger: Ledger) -> None:
    """Read the whole store that the last service has left."""
    store = DiskBlobStore(folder / "store" / "blobs", capacity, lease_s)
    try:
        await store.load()
        async with contextlib.aclosing(audit(store, put_aside=False)) as findings:
            async for digest, whole in findings:
                ledger.count("audited")
                if not whole:
                    ledger.broken(f"torn: {digest} does not have its hash on the disk")
        store.check()
    finally:
        store.close()


async def soaked(
    folder: Path, kills: int, kill_every_s: float, capacity: int, lease_s: float, seed: int
) -> Ledger:
    """A whole run; what was counted, and what was broken."""
    ledger, port = Ledger(lease_s), free_port()
    content = Content(TIMES * capacity, seed)
    config = CONFIG.replace("CAPACITY", str(capacity)).replace("LEASE", f"{lease_s:g}s")
    async with Channel(f"127.0.0.1:{port}") as channel, trio.open_nursery() as nursery:
        pace = LOAD * capacity / lease_s
        soak = Soak(content, ledger, RemoteBlobStore(channel), RemoteActionCache(channel), pace)
        works = [soak.write] * WRITERS + [soak.read] * READERS
        for work in [*works, *[soak.find] * FINDERS, *[soak.make] * MAKERS]:
            nursery.start_soon(soak.keep, work)
        await lives(soak, folder, port, config, kills, kill_every_s)
        nursery.cancel_scope.cancel()
    ledger.count("written MiB", soak.written // MIB)
    await verified(folder, capacity, lease_s, ledger)
    return ledger


def run(*args: str) -> tuple[dict[str, float], dict[str, float]]:
    """Figures, and no ratios; the violations go to the standard error too."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench soak")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kill-every", type=float, default=60.0, help="seconds")
    parser.add_argument("--capacity", type=int, default=256, help="MiB")
    parser.add_argument("--lease", type=float, default=30.0, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(args)
    with tempfile.TemporaryDirectory(prefix="builder-soak-") as folder:
        ledger = trio.run(
            soaked,
            Path(folder),
            max(0, round(given.minutes * 60 / given.kill_every) - 1),
            given.kill_every,
            given.capacity * MIB,
            given.lease,
            given.seed,
        )
    for violation in ledger.violations:
        print(violation, file=sys.stderr)
    figures = {name.replace(" ", "_"): float(value) for name, value in ledger.counts.items()}
    return {"violations": float(len(ledger.violations)), **figures}, {}
