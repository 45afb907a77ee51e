"""Workers as EC2 instances: RunInstances over the kinds and places that may have capacity.

Theory of operation. A launch goes through attempts in order: on-demand up to the base, then spot;
each instance type, in each subnet. One that has no capacity, or a family's quota used up, leads to
the next; what was got is given, and only nothing at all is an error. Every instance carries the
pool's name and the launch's token as tags, by which a later call, or a later coordinator, finds it.

Lists of EC2 lag behind its answers. So each attempt has a client token of its own, an attempt
whose answer was lost is made again first, and for a while after a launch its instances count as
listed. botocore blocks, hence the threads; it is imported with the first call.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

from builder.providers.aws_faults import is_unknown, mapped, next_type
from builder.providers.interface import (
    CapacityError,
    Instance,
    ProviderError,
    QuotaError,
    TransientError,
)

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
    profile: str | None = None
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    spot: bool
    instance_type: str
    subnet: str | None

    @property
    def name(self) -> str:
        return f"{self.instance_type}/{self.subnet or 'default'}/{'spot' if self.spot else 'od'}"


class AwsProvider:
    def __init__(self, pool: str, fleet: Fleet) -> None:
        self._pool = pool
        self._fleet = fleet
        self._client: Any = None
        self._root_device = ""
        self._launched: dict[str, list[Instance]] = {}
        self._doubtful: dict[str, tuple[Attempt, int]] = {}  # by token: its answer was lost
        self._recent: dict[str, tuple[Instance, float]] = {}
        self._lock = trio.Lock()

    async def launch(self, count: int, token: str) -> list[Instance]:
        async with self._lock:
            if token not in self._launched:
                found = [one for one in await self.list() if one.token == token]
                self._launched[token] = found or await self._launch(count, token)
            return self._launched[token]

    async def terminate(self, ids: Iterable[str]) -> None:
        wanted = list(ids)
        for id_ in wanted:
            self._recent.pop(id_, None)
        try:
            if wanted:
                await self._call("terminate_instances", InstanceIds=wanted)
        except ProviderError as error:
            if not is_unknown(error):
                raise
            if len(wanted) > 1:  # one unknown id refuses them all
                for id_ in wanted:
                    await self.terminate([id_])

    async def _launch(self, count: int, token: str) -> list[Instance]:
        got: list[Instance] = []
        spared: set[tuple[str, bool]] = set()  # kinds whose quota is used up
        trouble: ProviderError | None = None
        base = await self._on_demand_missing(count)
        for attempt, part in self._attempts(token, count, base):
            missing = part - len(got)
            if missing <= 0 or (attempt.instance_type, attempt.spot) in spared:
                continue
            try:
                got += await self._attempt(attempt, missing, token)
            except (CapacityError, QuotaError) as error:
                trouble = error
                if next_type(error):
                    spared.add((attempt.instance_type, attempt.spot))
        if not got:
            assert trouble is not None
            raise trouble
        return got

    def _attempts(self, token: str, count: int, base: int) -> Iterator[tuple[Attempt, int]]:
        """Each with how many instances there shall be after it."""
        if (doubtful := self._doubtful.get(token)) is not None:
            yield doubtful
        markets = [(False, base), (True, count)] if self._fleet.spot else [(False, count)]
        for spot, part in markets:
            for instance_type in self._fleet.instance_types:
                for subnet in self._fleet.subnets or (None,):
                    yield Attempt(spot, instance_type, subnet), part

    async def _on_demand_missing(self, count: int) -> int:
        if not self._fleet.spot:
            return count
        there = [one async for one in self._described() if one.get("InstanceLifecycle") != "spot"]
        return min(count, max(0, self._fleet.on_demand_base - len(there)))

    async def _attempt(self, attempt: Attempt, count: int, token: str) -> list[Instance]:
        self._doubtful[token] = (attempt, count)
        try:
            answer = await self._call("run_instances", **self._request(attempt, count, token))
        except TransientError:
            raise  # it may have been done: the same is asked again
        except ProviderError:
            del self._doubtful[token]
            raise
        del self._doubtful[token]
        now = trio.current_time()
        made = [Instance(one["InstanceId"], token) for one in answer["Instances"]]
        self._recent |= {one.id: (one, now) for one in made}
        return made

    def _request(self, attempt: Attempt, count: int, token: str) -> dict[str, Any]:
        fleet = self._fleet
        tags = {**fleet.tags, POOL_TAG: self._pool, TOKEN_TAG: token}
        tags.setdefault("Name", f"builder-{self._pool}")
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        request: dict[str, Any] = {
            "ImageId": fleet.image,
            "InstanceType": attempt.instance_type,
            "MinCount": 1,
            "MaxCount": count,
            "ClientToken": _client_token(token, attempt, count),
            "UserData": fleet.user_data,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "TagSpecifications": [{"ResourceType": "instance", "Tags": listed}],
            "BlockDeviceMappings": [
                {"DeviceName": self._root_device, "Ebs": {"VolumeSize": _gib(fleet.disk_bytes)}}
            ],
            "MetadataOptions": {"HttpTokens": "required"},
        }
        if attempt.subnet is not None:
            request["SubnetId"] = attempt.subnet
        if fleet.security_groups:
            request["SecurityGroupIds"] = list(fleet.security_groups)
        if fleet.key_name is not None:
            request["KeyName"] = fleet.key_name
        if fleet.instance_profile is not None:
            request["IamInstanceProfile"] = {"Name": fleet.instance_profile}
        if attempt.spot:
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
        settled = trio.current_time() - SETTLED_S
        self._recent = {
            id_: recent
            for id_, recent in self._recent.items()
            if recent[1] > settled and id_ not in found
        }
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


def _client_token(token: str, attempt: Attempt, count: int) -> str:
    """The same for the same attempt; EC2 takes 64 characters."""
    return hashlib.sha256(f"{token} {attempt.name} {count}".encode()).hexdigest()


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
