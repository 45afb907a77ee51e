"""Workers as EC2 instances: RunInstances over the kinds and places that may have capacity.

Theory of operation. A launch goes through the kinds and places, of every region, in the market's
order: on-demand ones up to the base, then spot. With prices on-demand machines stand in for spot
ones that are not to be had, or dearer than they are worth. One that has no capacity, or a family's
quota used up, leads to the next, and so does a region that fails, while there is another; what was
got is given, and only nothing at all is an error. Every instance carries the pool's name and the
launch's token as tags, by which a later call, or a later coordinator, finds it.

Lists of EC2 lag behind its answers. So each attempt has a client token of its own, attempts whose
answer was lost are made again first, and for a while after a launch its instances count as listed.
A region that does not answer has what it had when it last did: its machines are not taken for gone.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import trio

from builder.providers.aws_faults import is_taken_back, is_unknown, next_type
from builder.providers.ec2 import (
    ALIVE,
    POOL_TAG,
    TOKEN_TAG,
    Attempt,
    Ec2,
    Fleet,
    Region,
    by_place,
    candidates,
    run_request,
)
from builder.providers.interface import (
    CapacityError,
    Instance,
    ProviderError,
    QuotaError,
    TransientError,
)
from builder.scale.market import Candidate, Market, Placed
from builder.telemetry.log import get_logger

log = get_logger()
SETTLED_S = 60.0  # then lists tell of every launch


class Seen(NamedTuple):
    """One instance as EC2 describes it."""

    instance: Instance
    spot: bool


class AwsProvider:
    def __init__(self, pool: str, fleet: Fleet) -> None:
        self._pool = pool
        self._fleet = fleet
        self._ec2 = Ec2(fleet)
        self._of_place = {place: one for one in fleet.regions for place in one.places}
        self._launched: dict[str, list[Instance]] = {}
        self._doubtful: dict[str, list[Attempt]] = {}  # by token: whose answers were lost
        self.market = Market(candidates(fleet), by_place(fleet))
        self._placed: dict[str, Placed] = {}  # by id
        self._recent: dict[str, tuple[Instance, float]] = {}
        self._last: dict[str, list[Seen]] = {}  # by region: its latest answer
        self._silent: set[str] = set()  # regions that do not answer
        self._lock = trio.Lock()

    async def launch(self, count: int, token: str, *, urgent: bool = False) -> list[Instance]:
        async with self._lock:
            if token not in self._launched:
                found = [one for one in await self.list() if one.token == token]
                self._launched[token] = found or await self._launch(count, token, urgent)
            return self._launched[token]

    def joined(self, id_: str) -> None:
        if (placed := self._placed.get(id_)) is not None:
            self.market.joined(placed, trio.current_time())

    async def terminate(self, ids: Iterable[str]) -> None:
        trouble: ProviderError | None = None
        wanted = list(ids)
        for region in self._fleet.regions:
            there = [id_ for id_ in wanted if self._region_of(id_) in (region, None)]
            try:
                await self._terminate(region, there)
            except ProviderError as error:
                trouble = error
        if trouble is not None:
            raise trouble

    def _region_of(self, id_: str) -> Region | None:
        if (placed := self._placed.get(id_)) is not None:
            return self._of_place[placed.candidate.place]
        for region in self._fleet.regions:
            if any(one.instance.id == id_ for one in self._last.get(region.name, ())):
                return region
        return None

    async def _terminate(self, region: Region, wanted: list[str]) -> None:
        taken_back = await self._taken_back(region, wanted)
        try:
            if wanted:
                await self._call(region, "terminate_instances", InstanceIds=wanted)
        except ProviderError as error:
            if not is_unknown(error):
                raise
            if len(wanted) > 1:  # one unknown id refuses them all
                for id_ in wanted:
                    await self._terminate(region, [id_])
        for id_ in wanted:
            self._recent.pop(id_, None)
            self._forget(id_, taken_back=id_ in taken_back)

    async def _taken_back(self, region: Region, ids: Iterable[str]) -> set[str]:
        """Those of our spot instances that AWS has given notice to, though we are first to end
        them. Who may not ask, or is not answered, takes them for ended by us."""
        spot = [id_ for id_ in ids if id_ in self._placed and self._placed[id_].candidate.spot]
        if not spot:
            return set()
        filters = [{"Name": "instance-id", "Values": spot}]
        try:
            answer = await self._call(region, "describe_spot_instance_requests", Filters=filters)
        except ProviderError:
            return set()
        requests = answer["SpotInstanceRequests"]
        return {one["InstanceId"] for one in requests if is_taken_back(one["Status"]["Code"])}

    def _forget(self, id_: str, *, taken_back: bool) -> None:
        placed = self._placed.pop(id_, None)
        if placed is not None:
            tell = self.market.interrupted if taken_back else self.market.ended
            tell(placed.candidate, trio.current_time())

    # ---- a launch

    async def _launch(self, count: int, token: str, urgent: bool) -> list[Instance]:
        got: list[Instance] = []
        spared: set[Candidate] = set()
        trouble: ProviderError | None = None
        for attempt in self._attempts(token, count, self._on_demand_missing(count), urgent):
            missing = attempt.part - len(got)
            if missing <= 0 or attempt.candidate in spared:
                continue
            try:
                got += await self._attempt(attempt._replace(part=missing), token, urgent)
            except ProviderError as error:
                trouble = error if trouble is None or error.may_retry else trouble
                refused = self._with(attempt.candidate, error)
                self.market.refused(refused, trio.current_time())
                spared.update(refused)
        if not got:
            assert trouble is not None
            raise trouble
        self._doubtful.pop(token, None)
        return got

    def _with(self, this: Candidate, error: ProviderError) -> list[Candidate]:
        """What need not be asked for either: nothing else, the type in every place of the region,
        or all that the region has. Raises what no other region could help."""
        region = self._of_place[this.place]
        there = [one for one in candidates(self._fleet) if self._of_place[one.place] is region]
        if not isinstance(error, CapacityError | QuotaError):
            if len(self._fleet.regions) == 1:
                raise error
            log.warning("A region is passed over", region=region.name, why=error.message)
            return there
        if next_type(error):
            return [one for one in there if (one.kind, one.spot) == (this.kind, this.spot)]
        return [this]

    def _attempts(self, token: str, count: int, base: int, urgent: bool) -> Iterator[Attempt]:
        yield from self._doubtful.get(token, [])[:]
        ranked = self.market.ranked(trio.current_time(), urgent=urgent)
        if self._fleet.spot:
            yield from (Attempt(one, base, "base") for one in ranked if not one.spot)
        either = not self._fleet.spot or self._fleet.prices
        yield from (Attempt(one, count, "rest") for one in ranked if one.spot or either)

    def _on_demand_missing(self, count: int) -> int:
        """By the lists that the launch began with."""
        if not self._fleet.spot:
            return count
        listed = {one.instance.id: one.spot for seen in self._last.values() for one in seen}
        recent = {id_: self._placed[id_].candidate.spot for id_ in self._recent}
        there = [spot for spot in {**recent, **listed}.values() if not spot]
        return min(count, max(0, self._fleet.on_demand_base - len(there)))

    async def _attempt(self, attempt: Attempt, token: str, urgent: bool) -> list[Instance]:
        doubtful = self._doubtful.setdefault(token, [])
        if attempt not in doubtful:
            doubtful.append(attempt)
        began, region = trio.current_time(), self._of_place[attempt.candidate.place]
        request = run_request(self._fleet, region, self._pool, token, attempt)
        try:
            answer = await self._call(region, "run_instances", **request)
        except TransientError:
            raise  # it may have been done: the same is asked again
        except ProviderError:
            doubtful.remove(attempt)
            raise
        doubtful.remove(attempt)
        now = trio.current_time()
        made = [Instance(one["InstanceId"], token) for one in answer["Instances"]]
        self._recent |= {one.id: (one, now) for one in made}
        self._placed |= {one.id: Placed(attempt.candidate, began) for one in made}
        self.market.granted(attempt.candidate, len(made), now)
        why = self.market.why(attempt.candidate, now, urgent=urgent)
        log.info("Machines chosen", count=len(made), why=why)
        return made

    # ---- what there is

    async def list(self) -> list[Instance]:
        await self._look()
        found = {one.instance.id: one.instance for seen in self._last.values() for one in seen}
        now = trio.current_time()
        self._recent = {
            id_: recent
            for id_, recent in self._recent.items()
            if recent[1] > now - SETTLED_S and id_ not in found
        }
        for id_ in [one for one in self._placed if one not in found and one not in self._recent]:
            self._forget(id_, taken_back=True)
        return [*found.values(), *(instance for instance, _ in self._recent.values())]

    async def _look(self) -> None:
        """Everywhere. One region alone may fail, unless what it has was never known."""
        troubles: dict[str, ProviderError] = {}

        async def ask(region: Region) -> None:
            try:
                self._last[region.name] = [one async for one in self._described(region)]
            except ProviderError as error:
                troubles[region.name] = error

        async with trio.open_nursery() as nursery:
            for region in self._fleet.regions:
                nursery.start_soon(ask, region)
        for name, error in troubles.items():
            unknown = name not in self._last and error.may_retry
            if unknown or len(troubles) == len(self._fleet.regions):
                raise error
            if name not in self._silent:
                log.warning("A region does not answer", region=name, why=error.message)
        self._silent = set(troubles)

    async def _described(self, region: Region) -> Any:
        request: dict[str, Any] = {
            "Filters": [
                {"Name": f"tag:{POOL_TAG}", "Values": [self._pool]},
                {"Name": "instance-state-name", "Values": ALIVE},
            ]
        }
        while True:
            answer = await self._call(region, "describe_instances", **request)
            for reservation in answer["Reservations"]:
                for one in reservation["Instances"]:
                    yield _seen(one)
            if not answer.get("NextToken"):
                return
            request["NextToken"] = answer["NextToken"]

    async def _call(self, region: Region, method: str, **request: Any) -> Any:
        return await trio.to_thread.run_sync(partial(self._blocking, region, method, request))

    def _blocking(self, region: Region, method: str, request: dict[str, Any]) -> Any:
        return self._ec2.call(region, method, request)


def _seen(one: dict[str, Any]) -> Seen:
    tags = {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])}
    instance = Instance(one["InstanceId"], tags.get(TOKEN_TAG, ""))
    return Seen(instance, one.get("InstanceLifecycle") == "spot")
