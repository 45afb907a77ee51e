"""Node properties: modification time and mode of files, directories and links.

`mtime` and `unix_mode` of inputs are applied, and those of outputs are told to who asked for them
in `Command.output_node_properties`. Of a mode only the permission bits count: an input is never
set-user-id. Source: REAPI v2 `NodeProperties`.
"""

import os
import stat

from builder.base.errors import InvalidArgumentError
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import wrappers_pb2
from builder.worker.content import MTIME_NS

PERMISSIONS = 0o777


def has_own_attributes(properties: pb.NodeProperties) -> bool:
    """Whether they say anything of the mode or the time, which files of one blob share."""
    return properties.HasField("unix_mode") or properties.HasField("mtime")


def apply(path: str, properties: pb.NodeProperties) -> None:
    """To a file or directory of this worker's alone."""
    if properties.HasField("unix_mode"):
        os.chmod(path, properties.unix_mode.value & PERMISSIONS)
    apply_time(path, properties)


def apply_time(path: str, properties: pb.NodeProperties) -> None:
    """To a link too, which is not followed; without `mtime` the time that all inputs have.

    Raises InvalidArgumentError for what is no time.
    """
    at_ns = MTIME_NS
    if properties.HasField("mtime"):
        try:
            at_ns = properties.mtime.ToNanoseconds()
        except ValueError as error:
            name = os.path.basename(path)
            raise InvalidArgumentError(f"the mtime of input {name!r} is none: {error}") from None
    os.utime(path, ns=(at_ns, at_ns), follow_symlinks=False)


def told(status: os.stat_result, wanted: frozenset[str]) -> pb.NodeProperties | None:
    """What was asked for and is known here; None for nothing."""
    found = pb.NodeProperties()
    if "mtime" in wanted:
        found.mtime.FromNanoseconds(status.st_mtime_ns)
    if "unix_mode" in wanted:
        found.unix_mode.CopyFrom(wrappers_pb2.UInt32Value(value=stat.S_IMODE(status.st_mode)))
    return found if found.HasField("mtime") or found.HasField("unix_mode") else None
