"""The services of the API from the settings: what both gRPC ports answer."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from builder.assembly.stores import Stores
from builder.builds.index import Builds
from builder.builds.lookups import LookUps
from builder.config.settings import Settings
from builder.net.rpc import Context, Service
from builder.server.action_cache import ActionCacheService
from builder.server.admission import Admission, Timeouts
from builder.server.asset_index import AssetIndex
from builder.server.assets import AssetServices, FetchPolicy
from builder.server.build_events import BuildEventsService
from builder.server.bytestream import ByteStreamService
from builder.server.capabilities import CapabilitiesService, Served
from builder.server.cas import CasService
from builder.server.execution import CacheFigures, ExecutionService, ExecutionStores, host_of
from builder.server.fetching import Bounds
from builder.server.instances import Instances
from builder.server.live_output import LiveOutput
from builder.server.logs import Logs
from builder.server.logstreams import LogStreams
from builder.server.operations import OperationsService
from builder.server.routing import routed
from builder.server.scheduler import Scheduler
from builder.server.splitting import Splitter
from builder.server.uploads import Uploads
from builder.server.workers import WorkersService
from builder.telemetry.tracing import OFF, Tracer

STORING = 4  # cas, bytestream, action cache, execution
COMPRESSORS = ("zstd", "deflate")  # of blobs on the wire


@dataclass(frozen=True, slots=True)
class Kept:
    """What services write down for those who look at the whole."""

    cache: CacheFigures
    lookups: LookUps
    builds: Builds
    live: LiveOutput
    tracer: Tracer = OFF
    who: Callable[[Context], str] = host_of


def api_services(
    settings: Settings, stores: Stores, scheduler: Scheduler, kept: Kept
) -> list[Service]:
    """Every service of the API; health, reflection and the operators' own are not among them."""
    reapi, schedule = settings.reapi, settings.scheduler
    served = Served(
        reapi.max_batch_size,
        True,
        priorities=(schedule.priority_min, schedule.priority_max),
        functions=reapi.digest_functions,
        compressors=COMPRESSORS,
        chunking=True,
        absolute_symlinks=reapi.absolute_symlinks,
        node_properties=("mtime", "unix_mode"),
    )
    logstreams = LogStreams(new_id)
    parts = _Parts(settings, scheduler, kept, Logs(logstreams, kept.live))
    storing = _storing(parts, stores)
    if stores.routes:
        others = {name: _storing(parts, one) for name, one in stores.routes.items()}
        storing = [
            routed(service, {name: services[number] for name, services in others.items()})
            for number, service in enumerate(storing)
        ]
    # With `auth`, whoever opens the stream has shown a worker's token or certificate already.
    token = settings.coordinator.join_token if settings.auth.mode == "none" else None
    return [
        CapabilitiesService(served, parts.instances()).service(),
        *storing[:STORING],
        OperationsService(scheduler).service(),
        BuildEventsService(kept.builds, time.time_ns).service(),
        logstreams.service(),
        *storing[STORING:],
        WorkersService(
            scheduler, token.reveal() if token is not None else "", kept.live.answer
        ).service(),
    ]


@dataclass(frozen=True, slots=True)
class _Parts:
    """What services of every storage are made of."""

    settings: Settings
    scheduler: Scheduler
    kept: Kept
    logs: Logs

    def instances(self) -> Instances:
        return Instances(self.settings.reapi.instances)


def _storing(parts: _Parts, stores: Stores) -> list[Service]:
    """The services of one storage: STORING of the API's own, then those of assets."""
    settings, kept = parts.settings, parts.kept
    reapi, schedule = settings.reapi, settings.scheduler
    instances, functions = parts.instances(), reapi.digest_functions
    blobs, cache = stores.blobs, stores.cache
    splitter = Splitter(blobs, stores.records, instances, functions)
    return [
        CasService(
            blobs, instances, functions, reapi.max_batch_size, COMPRESSORS, splitter
        ).service(),
        ByteStreamService(
            blobs, Uploads(blobs), instances, functions, COMPRESSORS, parts.logs
        ).service(),
        ActionCacheService(cache, blobs, instances, functions, kept.cache, kept.lookups).service(),
        ExecutionService(
            parts.scheduler,
            ExecutionStores(blobs, cache, instances, functions),
            admission_of(settings, stores),
            time.time_ns,
            (schedule.priority_min, schedule.priority_max),
            kept.cache,
            kept.tracer,
            kept.who,
        ).service(),
        *_assets(settings, stores, instances).services(),
    ]


def admission_of(settings: Settings, stores: Stores) -> Admission:
    schedule = settings.scheduler
    timeouts = Timeouts(schedule.default_timeout, schedule.max_timeout)
    return Admission(stores.blobs, timeouts, settings.reapi.absolute_symlinks)


def _assets(settings: Settings, stores: Stores, instances: Instances) -> AssetServices:
    assets = settings.assets
    bounds = Bounds(tuple(assets.hosts), assets.max_size)
    index = AssetIndex(stores.blobs, stores.records)
    policy = FetchPolicy(assets.fetch, assets.timeout, bounds)
    functions = settings.reapi.digest_functions
    return AssetServices(stores.blobs, index, instances, time.time_ns, policy, functions)


def new_id() -> str:
    return secrets.token_hex(16)
