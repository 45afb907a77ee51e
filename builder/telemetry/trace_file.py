"""A record of the work that came, as `builder pool simulate` replays it.

One JSON object a line, {"at_s": 12.5, "duration_s": 3.2}: when an action was asked for, counted
from the start of this file, and how long it held its slot. Lines come when actions end, so they
are not in the order of asking. What cannot be written is missing, and said once.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

from builder.base.errors import UsageError
from builder.reapi.pb.remote_execution_pb2 import ExecuteResponse
from builder.reapi.times import nanoseconds
from builder.telemetry.log import get_logger

MOST_BYTES = 256 * 1024 * 1024  # five million actions

log = get_logger()


class TraceFile:
    """Owns the file at `path`, which it begins anew; one as old as that is kept as `.1`.

    Raises UsageError for one that cannot be written.
    """

    def __init__(self, path: Path, wall_ns: Callable[[], int]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                path.replace(f"{path}.1")
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(f"pool.record: {path}: {error.strerror}") from None
        self._path = path
        self._began_ns = wall_ns()
        self._left = MOST_BYTES

    def observe(self, response: bytes) -> None:
        """Of a serialized ExecuteResponse that a worker has sent; refused ones held no slot."""
        metadata = ExecuteResponse.FromString(response).result.execution_metadata
        asked_ns = nanoseconds(metadata.queued_timestamp)
        start, end = metadata.worker_start_timestamp, metadata.worker_completed_timestamp
        held_ns = nanoseconds(end) - nanoseconds(start)
        if not metadata.worker or held_ns <= 0:
            return
        at_s = max(asked_ns - self._began_ns, 0) / 1e9
        told = {"at_s": round(at_s, 3), "duration_s": round(held_ns / 1e9, 4)}
        line = json.dumps(told).encode() + b"\n"
        if 0 < self._left < len(line):
            log.warning("The record of the pool's work is full", file=str(self._path))
        self._left -= len(line)
        if self._left >= 0:
            self._write(line)

    def _write(self, line: bytes) -> None:
        try:
            os.write(self._file, line)
        except OSError as error:
            self._left = 0
            log.warning("The record of the pool's work ends", file=str(self._path), why=str(error))

    def close(self) -> None:
        os.close(self._file)
