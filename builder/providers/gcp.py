"""Workers as Compute Engine instances, over its REST API.

An instance's name is made from the launch's token, so asking twice meets what was made before
(409). Each is tried in every zone with every machine type, in the market's order, until one has
capacity; Google tells of a lack of it in the operation's error, so operations are waited for. With
prices on-demand machines stand in for spot ones that are not to be had. Labels carry the pool and
the token. Spot machines are deleted when they are preempted, and others that were stopped when the
list tells of them, so that nothing is left to pay for.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from builder.providers.gcp_access import GoogleToken
from builder.providers.gcp_faults import fault, operation_fault
from builder.providers.interface import (
    CapacityError,
    Instance,
    ProviderError,
    QuotaError,
    TransientError,
)
from builder.scale.market import Candidate, Goods, Market, Placed, Price
from builder.telemetry.log import get_logger

log = get_logger()
ENDPOINT = "https://compute.googleapis.com"
POOL_LABEL, TOKEN_LABEL = "builder-pool", "builder-launch"
ENDED = ("STOPPED", "TERMINATED")  # their disks still cost something
GONE = ("STOPPING", "DEPROVISIONING", *ENDED)
WAIT_S = 130.0  # Google answers a wait after two minutes at most
AT_ONCE = 10  # Google takes many seconds for each
GIB = 1024**3
Token = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Machines:
    """What to launch. With a `template` what else is set overrides it."""

    project: str
    zones: tuple[str, ...]
    machine_types: tuple[str, ...]
    startup_script: str
    template: str | None = None
    image: str | None = None
    network: str | None = None
    subnetwork: str | None = None
    service_account: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    disk_bytes: int = 50 * GIB
    spot: bool = False
    on_demand_base: int = 0
    prices: Mapping[Goods, Price] = field(default_factory=dict)
    endpoint: str | None = None


def label(text: str) -> str:
    """A valid label value: itself, or, if it is not one, what is left of it with a hash."""
    if re.fullmatch(r"[a-z0-9_-]{1,63}", text):
        return text
    return f"{re.sub('[^a-z0-9_-]+', '-', text.lower())[:40]}-{_hash(text)}"


def instance_name(pool: str, token: str, number: int) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", pool.lower()).strip("-")[:30].strip("-") or "pool"
    return f"builder-{slug}-{_hash(f'{pool} {token}')}-{number}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def body(
    wanted: Machines, pool: str, token: str, name: str, zone: str, machine_type: str, spot: bool
) -> dict[str, Any]:
    """The instance resource. What a template has is left to it unless it is set."""
    made: dict[str, Any] = {
        "name": name,
        "machineType": f"zones/{zone}/machineTypes/{machine_type}",
        "labels": {**wanted.labels, POOL_LABEL: label(pool), TOKEN_LABEL: label(token)},
        "metadata": {"items": [{"key": "startup-script", "value": wanted.startup_script}]},
    }
    if spot:
        made["scheduling"] = {"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE"}
    if wanted.image is not None:
        source = {
            "sourceImage": wanted.image,
            "diskSizeGb": str(-(-wanted.disk_bytes // GIB)),
        }
        made["disks"] = [{"boot": True, "autoDelete": True, "initializeParams": source}]
    if wanted.template is None or wanted.network or wanted.subnetwork:
        link = {"network": wanted.network, "subnetwork": wanted.subnetwork}
        made["networkInterfaces"] = [{key: value for key, value in link.items() if value}]
    if wanted.service_account is not None:
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        made["serviceAccounts"] = [{"email": wanted.service_account, "scopes": scopes}]
    return made


@asynccontextmanager
async def open_gcp(
    pool: str, wanted: Machines, credentials: str | None
) -> AsyncIterator["GcpProvider"]:
    """`credentials` is a file; without it Google's usual chain is asked."""
    import httpx  # late: only who uses this provider pays for it

    token = GoogleToken(credentials)
    base = wanted.endpoint or ENDPOINT
    async with httpx.AsyncClient(base_url=base, timeout=WAIT_S, trust_env=False) as client:
        yield GcpProvider(pool, wanted, client, token)


class GcpProvider:
    def __init__(self, pool: str, wanted: Machines, client: Any, token: Token) -> None:
        self._pool = pool
        self._wanted = wanted
        self._client = client
        self._token = token
        self._project = f"/compute/v1/projects/{wanted.project}"
        self._zones: dict[str, str] = {}
        self.market = Market(_candidates(wanted), wanted.prices)
        self._placed: dict[str, Placed] = {}  # by name: as far as this process has launched it
        self._launched: dict[str, list[Instance]] = {}
        self._lock = trio.Lock()

    async def launch(self, count: int, token: str, *, urgent: bool = False) -> list[Instance]:
        async with self._lock:
            if token not in self._launched:
                self._launched[token] = await self._create(count, token, urgent)
            return self._launched[token]

    def joined(self, id_: str) -> None:
        if (placed := self._placed.get(id_)) is not None:
            self.market.joined(placed, trio.current_time())

    async def terminate(self, ids: Iterable[str]) -> None:
        wanted = list(ids)
        if any(id_ not in self._zones for id_ in wanted):
            await self.list()
        for id_ in wanted:
            if (zone := self._zones.get(id_)) is not None:
                path = f"{self._project}/zones/{zone}/instances/{id_}"
                taken_back = await self._is_going(id_, path)
                await self._call("DELETE", path, fine=(404,))
                self._forget(id_, taken_back=taken_back)

    async def _is_going(self, id_: str, path: str) -> bool:
        """Whether Google has called a spot machine back, though we are first to end it."""
        if id_ not in self._placed or not self._placed[id_].candidate.spot:
            return False
        there = await self._call("GET", path, fine=(404,))
        return there.get("status", GONE[0]) in GONE

    def _forget(self, id_: str, *, taken_back: bool) -> None:
        placed = self._placed.pop(id_, None)
        if placed is not None:
            tell = self.market.interrupted if taken_back else self.market.ended
            tell(placed.candidate, trio.current_time())

    async def _create(self, count: int, token: str, urgent: bool) -> list[Instance]:
        there = await self._described()
        mine = [Instance(one["name"], label(token)) for one in there if _is_of(one, token)]
        if mine:
            return mine
        standard = [one for one in there if not _is_spot(one)]
        base = max(0, self._wanted.on_demand_base - len(standard)) if self._wanted.spot else count
        made: dict[int, Instance] = {}
        troubles: list[ProviderError] = []
        spared: set[Candidate] = set()

        async def make(number: int) -> None:
            name = instance_name(self._pool, token, number)
            try:
                async with at_once:
                    await self._place(name, token, number > base, urgent, spared)
            except ProviderError as error:
                troubles.append(error)
            else:
                made[number] = Instance(name, label(token))

        at_once = trio.CapacityLimiter(AT_ONCE)
        async with trio.open_nursery() as nursery:
            for number in range(1, count + 1):
                nursery.start_soon(make, number)
        if not made:
            raise troubles[0]
        return [made[number] for number in sorted(made)]

    async def _place(
        self, name: str, token: str, spot: bool, urgent: bool, spared: set[Candidate]
    ) -> None:
        """In the first place that has room for it; `spared` have none for others of the launch."""
        trouble: ProviderError | None = None
        either = spot and bool(self._wanted.prices)
        for one in self.market.ranked(trio.current_time(), urgent=urgent):
            if one.spot != spot and not either:
                continue
            began = trio.current_time()
            try:
                await self._insert(name, token, one)
            except (CapacityError, QuotaError) as error:
                trouble = error if trouble is None or error.may_retry else trouble
                if one not in spared:
                    spared.add(one)
                    self.market.refused([one], trio.current_time())
            else:
                self._zones[name] = one.place
                self._placed[name] = Placed(one, began)
                now = trio.current_time()
                self.market.granted(one, 1, now)
                why = self.market.why(one, now, urgent=urgent)
                log.info("Machine chosen", name=name, why=why)
                return
        assert trouble is not None
        raise trouble

    async def _insert(self, name: str, token: str, one: Candidate) -> None:
        zone = one.place
        made = body(self._wanted, self._pool, token, name, zone, one.kind, one.spot)
        params = {}
        if self._wanted.template is not None:
            template = f"global/instanceTemplates/{self._wanted.template}"
            params["sourceInstanceTemplate"] = template
        path = f"{self._project}/zones/{zone}"
        operation = await self._call(
            "POST", f"{path}/instances", json=made, params=params, fine=(409,)
        )
        while operation and operation.get("status") != "DONE":
            operation = await self._call("POST", f"{path}/operations/{operation['name']}/wait")
        if error := operation.get("error"):
            raise operation_fault(error)

    async def _described(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        ended: list[str] = []
        params = {"filter": f"labels.{POOL_LABEL}={label(self._pool)}"}
        while True:
            path = f"{self._project}/aggregated/instances"
            answer = await self._call("GET", path, params=params)
            for place, part in answer.get("items", {}).items():
                for one in part.get("instances", []):
                    if one["status"] in ENDED:
                        ended.append(f"{self._project}/{place}/instances/{one['name']}")
                    elif one["status"] not in GONE:
                        self._zones[one["name"]] = place.removeprefix("zones/")
                        found.append(one)
            if not answer.get("nextPageToken"):
                for path_of_one in ended:
                    await self._call("DELETE", path_of_one, fine=(404,))
                return found
            params = {**params, "pageToken": answer["nextPageToken"]}

    async def _call(
        self, method: str, path: str, fine: tuple[int, ...] = (), **request: Any
    ) -> Any:
        import httpx

        headers = {"Authorization": f"Bearer {await self._token()}"}
        try:
            answer = await self._client.request(method, path, headers=headers, **request)
        except httpx.HTTPError as error:
            raise TransientError(f"Google: {error!r}") from error
        if answer.status_code in fine:
            return {}
        if answer.status_code >= 300:
            raise fault(answer.status_code, answer.text)
        return answer.json()

    async def list(self) -> list[Instance]:
        launched = list(self._placed)  # what is launched meanwhile may not be listed
        found = [
            Instance(one["name"], one.get("labels", {}).get(TOKEN_LABEL, ""))
            for one in await self._described()
        ]
        there = {one.id for one in found}
        for id_ in launched:
            if id_ not in there:
                self._forget(id_, taken_back=True)
        return found


def _candidates(wanted: Machines) -> list[Candidate]:
    """Every type in every zone, those of on-demand machines last where there are spot ones."""
    markets = (True, False) if wanted.spot else (False,)
    return [
        Candidate(kind, zone, spot)
        for spot in markets
        for kind in wanted.machine_types
        for zone in wanted.zones
    ]


def _is_of(one: dict[str, Any], token: str) -> bool:
    return bool(one.get("labels", {}).get(TOKEN_LABEL) == label(token))


def _is_spot(one: dict[str, Any]) -> bool:
    return bool(one.get("scheduling", {}).get("provisioningModel") == "SPOT")
