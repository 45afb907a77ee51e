"""Who gives the pool its machines, one class for each way. `schema/config.schema.json` says what
every key means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from builder.config.kinds import Bytes, FilePath, Seconds

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Local:
    start_timeout: Seconds = 10.0


@dataclass(frozen=True, slots=True)
class MachinePrice:
    type: str
    hour: float
    spot_hour: float | None = None
    slots: int = 1
    place: str | None = None
    start_up: Seconds = 0.0


@dataclass(frozen=True, slots=True)
class AwsRegion:
    region: str
    image: str
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    key_name: str | None = None


@dataclass(frozen=True, slots=True)
class Aws:
    region: str
    image: str
    worker_config: FilePath
    instance_types: tuple[str, ...] = ("c7i.xlarge", "c6i.xlarge")
    key_name: str | None = None
    security_groups: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    other_regions: tuple[AwsRegion, ...] = ()
    instance_profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    user_data: FilePath | None = None
    disk_size: Bytes = 50 * GIB
    spot: bool = False
    spot_max_price: float | None = None
    on_demand_base: int = 0
    prices: tuple[MachinePrice, ...] = ()
    profile: str | None = None
    endpoint: str | None = None
    start_timeout: Seconds = 300.0


@dataclass(frozen=True, slots=True)
class Gcp:
    project: str
    zones: tuple[str, ...]
    worker_config: FilePath
    template: str | None = None
    image: str | None = None
    machine_types: tuple[str, ...] = ("n2-standard-4",)
    network: str | None = None
    subnetwork: str | None = None
    service_account: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    disk_size: Bytes = 50 * GIB
    spot: bool = False
    on_demand_base: int = 0
    prices: tuple[MachinePrice, ...] = ()
    credentials: FilePath | None = None
    endpoint: str | None = None
    start_timeout: Seconds = 300.0


@dataclass(frozen=True, slots=True)
class K8sResources:
    cpu: str | None = None
    memory: str | None = None
    ephemeral_storage: str | None = None


@dataclass(frozen=True, slots=True)
class K8s:
    template: FilePath | None = None
    image: str | None = None
    namespace: str = "default"
    service_account: str | None = None
    requests: K8sResources = field(default_factory=K8sResources)
    limits: K8sResources = field(default_factory=K8sResources)
    labels: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    kubeconfig: FilePath | None = None
    context: str | None = None
    start_timeout: Seconds = 120.0


@dataclass(frozen=True, slots=True)
class Custom:
    launch: tuple[str, ...] | None = None
    terminate: tuple[str, ...] | None = None
    list: tuple[str, ...] | None = None
    entry_point: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: Seconds = 60.0
    start_timeout: Seconds = 300.0


@dataclass(frozen=True, slots=True)
class Providers:
    local: Local = field(default_factory=Local)
    aws: Aws | None = None
    gcp: Gcp | None = None
    k8s: K8s | None = None
    custom: Custom | None = None


ProviderName = Literal["local", "aws", "gcp", "k8s", "custom"]
