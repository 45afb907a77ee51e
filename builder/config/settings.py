"""All settings, as the rest of the program sees them.

`schema/config.schema.json` describes every key for people and editors and states the same
defaults; a test compares the two both ways. Durations are seconds and sizes are bytes here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from builder.config.kinds import (
    ANY_PORT,
    ARTIFACTS,
    COORDINATOR,
    METRICS,
    REAPI,
    Address,
    Bytes,
    FilePath,
    Late,
    Seconds,
    Secret,
)
from builder.config.providers import ProviderName, Providers

if TYPE_CHECKING:
    from builder.config.storage import Storage
else:  # twenty classes, which take as long to make as all others together
    Storage = Annotated[object, Late("builder.config.storage", "Storage")]

KIB, MIB, GIB = 1024, 1024**2, 1024**3

PolicyName = Literal[
    "predictive", "holt_winters", "specification", "threshold", "hpa", "p95", "static"
]
Role = Literal["all", "coordinator", "worker", "client"]
AccessRole = Literal["reader", "writer", "trusted", "worker", "operator"]
DigestFunction = Literal[
    "sha256", "blake3", "sha1", "sha384", "sha512", "md5", "sha256tree", "gitsha1"
]


@dataclass(frozen=True, slots=True)
class Coordinator:
    listen: Address = COORDINATOR
    drain_grace: Seconds = 30.0
    join_token: Secret | None = None


@dataclass(frozen=True, slots=True)
class WireLimits:
    max_streams: int = 1000
    max_header_size: Bytes = 64 * KIB
    max_message_size: Bytes = 4 * MIB + 64 * KIB
    initial_window: Bytes = 128 * KIB
    stream_window: Bytes = 4 * MIB
    all_windows: Bytes = 32 * MIB
    connection_window: Bytes = 16 * MIB
    rate_window: Seconds = 10.0
    max_resets: int = 2000
    max_control_frames: int = 10_000
    max_tiny_frames: int = 20_000
    max_frame_size: Bytes = 64 * KIB
    max_unfinished: Bytes = 256 * MIB
    all_unfinished: Bytes = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Connections:
    handshake_timeout: Seconds = 10.0
    headers_timeout: Seconds = 15.0
    keepalive: Seconds = 60.0
    keepalive_timeout: Seconds = 20.0
    stall_timeout: Seconds = 300.0
    max_age: Seconds = 0.0
    max_age_jitter: float = 0.1


@dataclass(frozen=True, slots=True)
class Reapi:
    listen: Address = REAPI
    instances: tuple[str, ...] = ()
    digest_functions: tuple[DigestFunction, ...] = get_args(DigestFunction)
    max_batch_size: Bytes = 4032 * KIB
    absolute_symlinks: bool = False
    limits: WireLimits = field(default_factory=WireLimits)
    connections: Connections = field(default_factory=Connections)


@dataclass(frozen=True, slots=True)
class UploadQuota:
    instance: str
    uploads: Bytes
    blobs: int = 0
    results: int = 0


@dataclass(frozen=True, slots=True)
class Store:
    kind: Literal["disk", "memory"] = "disk"
    path: FilePath = "~/.cache/builder/store"
    max_size: Bytes = 20 * GIB
    max_results_size: Bytes = GIB
    lease: Seconds = 3 * 3600.0
    fsync: Literal["none", "data", "full"] = "none"
    compression: Literal["zstd", "none"] = "zstd"
    quotas: tuple[UploadQuota, ...] = ()
    max_result_age: Seconds = 0.0
    failed_results: Literal["refuse", "keep"] = "refuse"


@dataclass(frozen=True, slots=True)
class Artifacts:
    enabled: bool = True
    listen: Address = ARTIFACTS
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Assets:
    fetch: bool = True
    hosts: tuple[str, ...] = ()
    max_size: Bytes = 2 * GIB
    timeout: Seconds = 300.0


@dataclass(frozen=True, slots=True)
class Resource:
    name: str
    count: int


@dataclass(frozen=True, slots=True)
class PersistentWorkers:
    processes: int = 4
    max_requests: int = 1000
    max_age: Seconds = 3600.0
    max_idle: Seconds = 600.0
    max_memory: Bytes = 2 * GIB


@dataclass(frozen=True, slots=True)
class Peers:
    listen: Address = ANY_PORT
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    coordinator: Address = COORDINATOR
    name: str | None = None
    slots: int = 0
    cpu: float | None = None
    memory: Bytes | None = None
    disk: Bytes | None = None
    resources: tuple[Resource, ...] = ()
    platform: Mapping[str, str] = field(default_factory=dict)
    scratch: FilePath = "~/.cache/builder/worker"
    cache_size: Bytes = 10 * GIB
    persistent: PersistentWorkers = field(default_factory=PersistentWorkers)
    join_token: Secret | None = None
    ca: FilePath | None = None
    cert: FilePath | None = None
    key: FilePath | None = None
    drain_grace: Seconds = 30.0
    notices: Literal["none", "aws", "gcp"] = "none"
    metadata_endpoint: str | None = None
    peers: Peers = field(default_factory=Peers)


@dataclass(frozen=True, slots=True)
class Audit:
    mode: Literal["off", "cheap", "full"] = "off"
    sample: float = 1.0


@dataclass(frozen=True, slots=True)
class PoolWorkers:
    slots: int | None = None
    cpu: float | None = None
    memory: Bytes | None = None
    disk: Bytes | None = None
    resources: tuple[Resource, ...] = ()
    platform: Mapping[str, str] = field(default_factory=dict)
    audit: Audit | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    name: str = "default"
    provider: ProviderName = "local"
    min: int = 2
    max: int = 20
    target: int | None = None
    autoscale: bool = False
    policy: PolicyName = "predictive"
    scale_up_threshold: float = 0.75
    scale_down_threshold: float = 0.25
    scale_up_cooldown: Seconds = 30.0
    scale_down_cooldown: Seconds = 120.0
    alpha: float = 0.3
    window: int = 10
    record: FilePath | None = None
    forecast: FilePath | None = None
    workers: PoolWorkers | None = None
    providers: Providers | None = None


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    memory: Bytes | None = None
    cpu_cores: float | None = None
    processes: int = 512
    open_files: int | None = None
    file_size: Bytes | None = None
    output_size: Bytes = 64 * MIB
    disk_size: Bytes | None = None
    disk_files: int | None = None
    cpu_time: Seconds | None = None
    grace: Seconds = 2.0


@dataclass(frozen=True, slots=True)
class ImageRegistry:
    host: str
    mirrors: tuple[str, ...] = ()
    insecure: bool = False
    username: str | None = None
    password: Secret | None = None
    ca: FilePath | None = None


@dataclass(frozen=True, slots=True)
class Images:
    registries: tuple[ImageRegistry, ...] = ()
    layouts: tuple[FilePath, ...] = ()
    default_registry: str | None = None
    path: FilePath = "~/.cache/builder/images"
    max_size: Bytes = 20 * GIB
    tag_age: Seconds = 300.0


@dataclass(frozen=True, slots=True)
class Sandbox:
    isolation: Literal["required", "best-effort"] = "required"
    required: tuple[str, ...] = ()
    network: Literal["none", "full"] = "none"
    read_only_paths: tuple[FilePath, ...] = ()
    root: FilePath | None = None
    inputs_as_root: bool = False
    reuse: Literal["off", "trusted"] = "off"
    runtime: Literal["native", "crun", "runc", "podman"] = "native"
    images: Images = field(default_factory=Images)
    audit: Audit = field(default_factory=Audit)
    limits: SandboxLimits = field(default_factory=SandboxLimits)


@dataclass(frozen=True, slots=True)
class UserShare:
    user: str
    weight: float


@dataclass(frozen=True, slots=True)
class InstanceQuota:
    instance: str
    running: int = 0
    queued: int = 0


@dataclass(frozen=True, slots=True)
class Stealing:
    backlog: int = 2
    victims: int = 2
    threshold: int = 1
    batch: int = 4
    interval: Seconds = 0.2
    timeout: Seconds = 2.0


@dataclass(frozen=True, slots=True)
class Scheduler:
    heartbeat_interval: Seconds = 5.0
    heartbeat_timeout: Seconds = 15.0
    reconnect_grace: Seconds = 5.0
    abandon_grace: Seconds = 30.0
    infrastructure_retries: int = 3
    retry_delay: Seconds = 0.5
    priority_min: int = -100
    priority_max: int = 100
    age_per_priority: Seconds = 10.0
    shares: tuple[UserShare, ...] = ()
    quotas: tuple[InstanceQuota, ...] = ()
    preempt_after: Seconds = 0.0
    learn_sizes: bool = True
    failed_rest: Seconds = 30.0
    hedge: bool = False
    hedge_after: Seconds = 10.0
    default_timeout: Seconds = 3600.0
    max_timeout: Seconds = 86400.0
    unserved_timeout: Seconds = 300.0
    keep_finished: Seconds = 3600.0
    keep_finished_memory: Bytes = 64 * MIB
    max_queued: int = 1_000_000
    strict_platform: bool = False
    work_stealing: bool = False
    stealing: Stealing = field(default_factory=Stealing)


@dataclass(frozen=True, slots=True)
class Metrics:
    enabled: bool = True
    listen: Address = METRICS
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Logging:
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["human", "json", "auto"] = "auto"


@dataclass(frozen=True, slots=True)
class Tracing:
    endpoint: str | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Token:
    name: str
    token: Secret
    role: AccessRole = "reader"


@dataclass(frozen=True, slots=True)
class Identity:
    name: str
    role: AccessRole


@dataclass(frozen=True, slots=True)
class Auth:
    mode: Literal["none", "token", "mtls"] = "none"
    tokens: tuple[Token, ...] = ()
    identities: tuple[Identity, ...] = ()
    results: Literal["writers", "trusted"] = "writers"


@dataclass(frozen=True, slots=True)
class Tls:
    cert: FilePath | None = None
    key: FilePath | None = None
    client_ca: FilePath | None = None
    min_version: Literal["1.2", "1.3"] = "1.2"


@dataclass(frozen=True, slots=True)
class Client:
    coordinator: Address = COORDINATOR
    remote: Literal[False, True, "local", "auto"] = False
    fallback: bool = False
    targets: tuple[str, ...] = ()
    instance: str = ""
    jobs: int = 0
    token: Secret | None = None
    ca: FilePath | None = None
    cert: FilePath | None = None
    key: FilePath | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    role: Role = "all"
    insecure: bool = False
    coordinator: Coordinator = field(default_factory=Coordinator)
    reapi: Reapi = field(default_factory=Reapi)
    store: Store = field(default_factory=Store)
    storage: Storage | None = None
    artifacts: Artifacts = field(default_factory=Artifacts)
    assets: Assets = field(default_factory=Assets)
    worker: Worker = field(default_factory=Worker)
    pool: Pool = field(default_factory=Pool)
    pools: tuple[Pool, ...] = ()
    providers: Providers = field(default_factory=Providers)
    sandbox: Sandbox = field(default_factory=Sandbox)
    scheduler: Scheduler = field(default_factory=Scheduler)
    metrics: Metrics = field(default_factory=Metrics)
    logging: Logging = field(default_factory=Logging)
    tracing: Tracing = field(default_factory=Tracing)
    auth: Auth = field(default_factory=Auth)
    tls: Tls = field(default_factory=Tls)
    client: Client = field(default_factory=Client)
