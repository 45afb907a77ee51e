"""What is asked of EC2: the machines that a pool wants, and the requests for them by region.

botocore blocks, so `Ec2.call` belongs in a thread; it is imported with the first call.
"""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from builder.providers.aws_faults import mapped
from builder.scale.market import Candidate, Goods, Price

POOL_TAG, TOKEN_TAG = "builder:pool", "builder:token"
ALIVE = ["pending", "running", "stopping", "stopped"]
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Region:
    """What differs from region to region. `subnets` may be empty: the default one."""

    name: str
    image: str
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    key_name: str | None = None

    @property
    def places(self) -> tuple[str, ...]:
        return self.subnets or (self.name,)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What to launch: in the first region, or in one of the `others`."""

    region: str
    image: str
    instance_types: tuple[str, ...]
    user_data: str
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    key_name: str | None = None
    others: tuple[Region, ...] = ()
    instance_profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    disk_bytes: int = 50 * GIB
    spot: bool = False
    spot_max_price: float | None = None
    on_demand_base: int = 0
    prices: Mapping[Goods, Price] = field(default_factory=dict)
    profile: str | None = None
    endpoint: str | None = None

    @property
    def regions(self) -> tuple[Region, ...]:
        first = Region(self.region, self.image, self.subnets, self.security_groups, self.key_name)
        return first, *self.others


class Attempt(NamedTuple):
    """`part` is how many instances there shall be after it; `phase` keeps one for the base and
    one for the rest apart."""

    candidate: Candidate
    part: int
    phase: str


def candidates(fleet: Fleet) -> list[Candidate]:
    """Every type in every place, those of on-demand machines last where there are spot ones."""
    places = [place for region in fleet.regions for place in region.places]
    markets = (True, False) if fleet.spot else (False,)
    kinds = fleet.instance_types
    return [Candidate(kind, place, spot) for spot in markets for kind in kinds for place in places]


def by_place(fleet: Fleet) -> dict[Goods, Price]:
    """The prices, where one of a region is that of its subnets which have none of their own."""
    prices = dict(fleet.prices)
    for region in fleet.regions:
        for kind in fleet.instance_types:
            if (there := prices.get((kind, region.name))) is not None:
                for subnet in region.subnets:
                    prices.setdefault((kind, subnet), there)
    return prices


def run_request(
    fleet: Fleet, region: Region, pool: str, token: str, attempt: Attempt
) -> dict[str, Any]:
    """RunInstances, but for the root device, which only the image tells."""
    candidate, count, _ = attempt
    tags = {**fleet.tags, POOL_TAG: pool, TOKEN_TAG: token}
    tags.setdefault("Name", f"builder-{pool}")
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    request: dict[str, Any] = {
        "ImageId": region.image,
        "InstanceType": candidate.kind,
        "MinCount": 1,
        "MaxCount": count,
        "ClientToken": _client_token(token, attempt),
        "UserData": fleet.user_data,
        "InstanceInitiatedShutdownBehavior": "terminate",
        "TagSpecifications": [{"ResourceType": "instance", "Tags": listed}],
        "MetadataOptions": {"HttpTokens": "required"},
    }
    if candidate.place in region.subnets:
        request["SubnetId"] = candidate.place
    if region.security_groups:
        request["SecurityGroupIds"] = list(region.security_groups)
    if region.key_name is not None:
        request["KeyName"] = region.key_name
    if fleet.instance_profile is not None:
        request["IamInstanceProfile"] = {"Name": fleet.instance_profile}
    if candidate.spot:
        request["InstanceMarketOptions"] = _spot(fleet.spot_max_price)
    return request


class Ec2:
    """One client for each region, made when it is first asked."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._session: Any = None
        self._connecting = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._root_devices: dict[str, str] = {}

    def call(self, region: Region, method: str, request: dict[str, Any]) -> Any:
        """Raises ProviderError."""
        try:
            client = self._connected(region)
            if method == "run_instances":
                disk = {"VolumeSize": -(-self._fleet.disk_bytes // GIB)}
                device = {"DeviceName": self._root_devices[region.name], "Ebs": disk}
                request = {**request, "BlockDeviceMappings": [device]}
            return getattr(client, method)(**request)
        except Exception as error:
            raise mapped(error) from error

    def _connected(self, region: Region) -> Any:
        if region.name not in self._clients:
            client = self._connect(region.name)
            image = client.describe_images(ImageIds=[region.image])["Images"]
            root = (image[0].get("RootDeviceName") if image else "") or "/dev/xvda"
            self._root_devices[region.name] = root
            self._clients[region.name] = client
        return self._clients[region.name]

    def _connect(self, region: str) -> Any:
        import botocore.config  # late: only who uses this provider pays for it
        import botocore.session

        config = botocore.config.Config(
            retries={"mode": "standard", "max_attempts": 3}, connect_timeout=10, read_timeout=60
        )
        with self._connecting:  # a session is for one thread at a time, its clients for all
            if self._session is None:
                self._session = botocore.session.Session(profile=self._fleet.profile)
            return self._session.create_client(
                "ec2", region_name=region, endpoint_url=self._fleet.endpoint, config=config
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
