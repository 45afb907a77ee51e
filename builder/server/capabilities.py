"""Capabilities: what this service does, announced no earlier than it is done.

The answer is made once. `low_api_version` is 2.0 because clients of today accept only servers
whose range holds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from builder.net.rpc import Context, Method, Service
from builder.reapi.digests import DEFAULT_FUNCTIONS, NUMBERS
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import semver_pb2
from builder.server.instances import Instances
from builder.server.messages import parse
from builder.server.splitting import FAST_CDC, REP_MAX

NAME = "build.bazel.remote.execution.v2.Capabilities"
COMPRESSORS = {"zstd": pb.Compressor.ZSTD, "deflate": pb.Compressor.DEFLATE}


@dataclass(frozen=True, slots=True)
class Served:
    """What is registered beside this service. Priorities are (lowest, highest), both allowed."""

    max_batch_bytes: int
    execution: bool
    action_cache_update: bool = True
    priorities: tuple[int, int] = (-1000, 1000)
    absolute_symlinks: bool = False
    functions: Sequence[str] = DEFAULT_FUNCTIONS
    compressors: Sequence[str] = ()
    max_blob_bytes: int = 0  # 0: no limit of its own
    node_properties: Sequence[str] = ()
    chunking: bool = False  # splitting and splicing of blobs; they make 2.12


class CapabilitiesService:
    """One answer for every instance that is served."""

    def __init__(self, served: Served, instances: Instances) -> None:
        self._instances = instances
        self._answer = capabilities(served).SerializeToString()

    def service(self) -> Service:
        return Service(NAME, (Method(f"/{NAME}/GetCapabilities", unary=self.get),))

    def get(self, data: bytes, _context: Context) -> bytes:
        self._instances.check(parse(pb.GetCapabilitiesRequest, data).instance_name)
        return self._answer


def capabilities(served: Served) -> pb.ServerCapabilities:
    numbers = [NUMBERS[name] for name in served.functions]
    compressors = [COMPRESSORS[name] for name in served.compressors]
    strategy = pb.SymlinkAbsolutePathStrategy
    lowest, highest = served.priorities
    priorities = pb.PriorityCapabilities(
        priorities=[
            pb.PriorityCapabilities.PriorityRange(min_priority=lowest, max_priority=highest)
        ]
    )
    message = pb.ServerCapabilities(
        cache_capabilities=pb.CacheCapabilities(
            digest_functions=numbers,
            action_cache_update_capabilities=pb.ActionCacheUpdateCapabilities(
                update_enabled=served.action_cache_update
            ),
            cache_priority_capabilities=priorities,
            max_batch_total_size_bytes=served.max_batch_bytes,
            symlink_absolute_path_strategy=(
                strategy.ALLOWED if served.absolute_symlinks else strategy.DISALLOWED
            ),
            supported_compressors=compressors,
            supported_batch_update_compressors=compressors,
            max_cas_blob_size_bytes=served.max_blob_bytes,
        ),
        low_api_version=semver_pb2.SemVer(major=2, minor=0),
        high_api_version=semver_pb2.SemVer(major=2, minor=12 if served.chunking else 11),
    )
    if served.chunking:
        _announce_chunking(message.cache_capabilities)
    if served.execution:
        message.execution_capabilities.CopyFrom(
            pb.ExecutionCapabilities(
                digest_function=numbers[0],
                digest_functions=numbers,
                exec_enabled=True,
                execution_priority_capabilities=priorities,
                supported_node_properties=served.node_properties,
            )
        )
    return message


def _announce_chunking(cache: pb.CacheCapabilities) -> None:
    cache.split_blob_support = cache.splice_blob_support = True
    cache.fast_cdc_2020_params.avg_chunk_size_bytes = FAST_CDC.average
    cache.fast_cdc_2020_params.seed = FAST_CDC.seed
    cache.rep_max_cdc_params.min_chunk_size_bytes = REP_MAX.minimum
    cache.rep_max_cdc_params.horizon_size_bytes = REP_MAX.horizon
