"""Workers as EC2 instances: RunInstances over the kinds and places that may have capacity.

Theory of operation. A launch goes through the kinds and places in the market's order: on-demand
ones up to the base, then spot. With prices on-demand machines stand in for spot ones that are not
to be had, or dearer than they are worth. One that has no capacity, or a family's quota used up,
leads to the next; what was got is given, and only nothing at all is an error. Every instance
carries the pool's name and the launch's token as tags, by which a later call, or a later
coordinator, finds it.

Lists of EC2 lag behind its answers. So each attempt has a client token of its own, an attempt
whose answer was lost is made again first, and for a while after a launch its instances count as
listed. botocore blocks, hence the threads; it is imported with the first call.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import trio

from builder.providers.aws_faults import is_taken_back, is_unknown, mapped, next_type
from builder.providers.interface import (
    CapacityError,
    Instance,
    ProviderError,
    QuotaError,
    TransientError,
)
from builder.scale.market import Candidate, Goods, Market, Price
from builder.telemetry.log import get_logger

log = get_logger()
POOL_TAG, TOKEN_TAG = "builder:pool", "builder:token"
ALIVE = ["pending", "running", "stopping", "stopped"]
SETTLED_S = 60.0  # then lists tell of every launch
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Fleet:
    """What to launch. `subnets` may be empty: the default one."""

    region: str
    image: str
    instance_types: tuple[str, ...]
    user_data: str
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    key_name: str | None = None
    instance_profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    disk_bytes: int = 50 * GIB
    spot: bool = False
    spot_max_price: float | None = None
    on_demand_base: int = 0
    prices: Mapping[Goods, Price] = field(default_factory=dict)
    profile: str | None = None
    endpoint: str | None = None


class Attempt(NamedTuple):
    """`part` is how many instances there shall be after it; `phase` keeps one for the base and
    one for the rest apart."""

    candidate: Candidate
    part: int
    phase: str


def candidates(fleet: Fleet) -> list[Candidate]:
    """Every type in every subnet, those of on-demand machines last where there are spot ones."""
    places = [(kind, subnet) for kind in fleet.instance_types for subnet in fleet.subnets or ("",)]
    markets = (True, False) if fleet.spot else (False,)
    return [Candidate(kind, subnet, spot) for spot in markets for kind, subnet in places]


class AwsProvider:
    def __init__(self, pool: str, fleet: Fleet) -> None:
        self._pool = pool
        self._fleet = fleet
        self._client: Any = None
        self._root_device = ""
        self._launched: dict[str, list[Instance]] = {}
        self._doubtful: dict[str, Attempt] = {}  # by token: its answer was lost
        self._market = Market(candidates(fleet), fleet.prices)
        self._placed: dict[str, Candidate] = {}  # by id: as far as this process has launched it
        self._recent: dict[str, tuple[Instance, float]] = {}
        self._lock = trio.Lock()

    async def launch(self, count: int, token: str, *, urgent: bool = False) -> list[Instance]:
        async with self._lock:
            if token not in self._launched:
                found = [one for one in await self.list() if one.token == token]
                self._launched[token] = found or await self._launch(count, token, urgent)
            return self._launched[token]

    async def terminate(self, ids: Iterable[str]) -> None:
        wanted = list(ids)
        taken_back = await self._taken_back(wanted)
        for id_ in wanted:
            self._recent.pop(id_, None)
            self._forget(id_, taken_back=id_ in taken_back)
        try:
            if wanted:
                await self._call("terminate_instances", InstanceIds=wanted)
        except ProviderError as error:
            if not is_unknown(error):
                raise
            if len(wanted) > 1:  # one unknown id refuses them all
                for id_ in wanted:
                    await self.terminate([id_])

    async def _taken_back(self, ids: Iterable[str]) -> set[str]:
        """Those of our spot instances that AWS has given notice to, though we are first to end
        them. Who may not ask, or is not answered, takes them for ended by us."""
        spot = [id_ for id_ in ids if id_ in self._placed and self._placed[id_].spot]
        if not spot:
            return set()
        filters = [{"Name": "instance-id", "Values": spot}]
        try:
            answer = await self._call("describe_spot_instance_requests", Filters=filters)
        except ProviderError:
            return set()
        requests = answer["SpotInstanceRequests"]
        return {one["InstanceId"] for one in requests if is_taken_back(one["Status"]["Code"])}

    def _forget(self, id_: str, *, taken_back: bool) -> None:
        candidate = self._placed.pop(id_, None)
        if candidate is not None:
            tell = self._market.interrupted if taken_back else self._market.ended
            tell(candidate, trio.current_time())

    async def _launch(self, count: int, token: str, urgent: bool) -> list[Instance]:
        got: list[Instance] = []
        spared: set[Candidate] = set()  # whose quota is used up
        trouble: ProviderError | None = None
        base = await self._on_demand_missing(count)
        for attempt in self._attempts(token, count, base, urgent):
            missing = attempt.part - len(got)
            if missing <= 0 or attempt.candidate in spared:
                continue
            try:
                got += await self._attempt(attempt._replace(part=missing), token, urgent)
            except (CapacityError, QuotaError) as error:
                trouble = error if trouble is None or error.may_retry else trouble
                one = attempt.candidate
                refused = self._alike(one) if next_type(error) else [one]
                self._market.refused(refused, trio.current_time())
                spared.update(refused)
        if not got:
            assert trouble is not None
            raise trouble
        return got

    def _attempts(self, token: str, count: int, base: int, urgent: bool) -> Iterator[Attempt]:
        if (doubtful := self._doubtful.get(token)) is not None:
            yield doubtful
        ranked = self._market.ranked(trio.current_time(), urgent=urgent)
        if self._fleet.spot:
            yield from (Attempt(one, base, "base") for one in ranked if not one.spot)
        either = not self._fleet.spot or self._fleet.prices
        yield from (Attempt(one, count, "rest") for one in ranked if one.spot or either)

    def _alike(self, this: Candidate) -> list[Candidate]:
        """The same type in every place."""
        every = candidates(self._fleet)
        return [one for one in every if (one.kind, one.spot) == (this.kind, this.spot)]

    async def _on_demand_missing(self, count: int) -> int:
        if not self._fleet.spot:
            return count
        there = [one async for one in self._described() if one.get("InstanceLifecycle") != "spot"]
        return min(count, max(0, self._fleet.on_demand_base - len(there)))

    async def _attempt(self, attempt: Attempt, token: str, urgent: bool) -> list[Instance]:
        self._doubtful[token] = attempt
        try:
            answer = await self._call("run_instances", **self._request(attempt, token))
        except TransientError:
            raise  # it may have been done: the same is asked again
        except ProviderError:
            del self._doubtful[token]
            raise
        del self._doubtful[token]
        now = trio.current_time()
        made = [Instance(one["InstanceId"], token) for one in answer["Instances"]]
        self._recent |= {one.id: (one, now) for one in made}
        self._placed |= {one.id: attempt.candidate for one in made}
        self._market.granted(attempt.candidate, len(made), now)
        why = self._market.why(attempt.candidate, now, urgent=urgent)
        log.info("Machines chosen", count=len(made), why=why)
        return made

    def _request(self, attempt: Attempt, token: str) -> dict[str, Any]:
        fleet, (candidate, count, _) = self._fleet, attempt
        tags = {**fleet.tags, POOL_TAG: self._pool, TOKEN_TAG: token}
        tags.setdefault("Name", f"builder-{self._pool}")
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        request: dict[str, Any] = {
            "ImageId": fleet.image,
            "InstanceType": candidate.kind,
            "MinCount": 1,
            "MaxCount": count,
            "ClientToken": _client_token(token, attempt),
            "UserData": fleet.user_data,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "TagSpecifications": [{"ResourceType": "instance", "Tags": listed}],
            "BlockDeviceMappings": [
                {"DeviceName": self._root_device, "Ebs": {"VolumeSize": _gib(fleet.disk_bytes)}}
            ],
            "MetadataOptions": {"HttpTokens": "required"},
        }
        if candidate.place:
            request["SubnetId"] = candidate.place
        if fleet.security_groups:
            request["SecurityGroupIds"] = list(fleet.security_groups)
        if fleet.key_name is not None:
            request["KeyName"] = fleet.key_name
        if fleet.instance_profile is not None:
            request["IamInstanceProfile"] = {"Name": fleet.instance_profile}
        if candidate.spot:
            request["InstanceMarketOptions"] = _spot(fleet.spot_max_price)
        return request

    async def _described(self) -> Any:
        request: dict[str, Any] = {
            "Filters": [
                {"Name": f"tag:{POOL_TAG}", "Values": [self._pool]},
                {"Name": "instance-state-name", "Values": ALIVE},
            ]
        }
        while True:
            answer = await self._call("describe_instances", **request)
            for reservation in answer["Reservations"]:
                for one in reservation["Instances"]:
                    yield one
            if not answer.get("NextToken"):
                return
            request["NextToken"] = answer["NextToken"]

    async def _call(self, method: str, **request: Any) -> Any:
        return await trio.to_thread.run_sync(partial(self._blocking, method, request))

    def _blocking(self, method: str, request: dict[str, Any]) -> Any:
        try:
            client = self._connected()
            return getattr(client, method)(**request)
        except Exception as error:
            raise mapped(error) from error

    def _connected(self) -> Any:
        if self._client is None:
            client = _connect(self._fleet)
            image = client.describe_images(ImageIds=[self._fleet.image])["Images"]
            self._root_device = (image[0].get("RootDeviceName") if image else "") or "/dev/xvda"
            self._client = client
        return self._client

    async def list(self) -> list[Instance]:
        found: dict[str, Instance] = {}
        async for one in self._described():
            tags = {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])}
            found[one["InstanceId"]] = Instance(one["InstanceId"], tags.get(TOKEN_TAG, ""))
        now = trio.current_time()
        self._recent = {
            id_: recent
            for id_, recent in self._recent.items()
            if recent[1] > now - SETTLED_S and id_ not in found
        }
        for id_ in [one for one in self._placed if one not in found and one not in self._recent]:
            self._forget(id_, taken_back=True)
        return [*found.values(), *(instance for instance, _ in self._recent.values())]


def _connect(fleet: Fleet) -> Any:
    import botocore.config  # late: only who uses this provider pays for it
    import botocore.session

    session = botocore.session.Session(profile=fleet.profile)
    config = botocore.config.Config(
        retries={"mode": "standard", "max_attempts": 3}, connect_timeout=10, read_timeout=60
    )
    return session.create_client(
        "ec2", region_name=fleet.region, endpoint_url=fleet.endpoint, config=config
    )


def _client_token(token: str, attempt: Attempt) -> str:
    """The same for the same attempt; EC2 takes 64 characters."""
    return hashlib.sha256(f"{token} {attempt}".encode()).hexdigest()


def _spot(max_price: float | None) -> dict[str, Any]:
    options: dict[str, Any] = {
        "SpotInstanceType": "one-time",
        "InstanceInterruptionBehavior": "terminate",
    }
    if max_price is not None:
        options["MaxPrice"] = f"{max_price:g}"
    return {"MarketType": "spot", "SpotOptions": options}


def _gib(size_bytes: int) -> int:
    return -(-size_bytes // GIB)
