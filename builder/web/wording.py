"""Values of the pages as people read them: the filters of the templates."""

import time

from builder.base.units import format_duration
from builder.reapi.pb import control_pb2 as pb
from builder.telemetry import telling
from builder.web.timeline import at

TODAY_S = 12 * 3600.0  # what is older is told with its day
TAIL = 20  # lines of a log


def clock(at_s: float) -> str:
    """In the service's time zone, which every page names at its end."""
    form = "%H:%M:%S" if abs(time.time() - at_s) < TODAY_S else "%b %d %H:%M"
    return time.strftime(form, time.localtime(at_s))


def zone() -> str:
    return time.strftime("%Z")


def count(number: float) -> str:
    return f"{number:,}"


def problems(number: int) -> str:
    return f"{number} problem{'s' if number != 1 else ''}" if number else "healthy"


def took(action: pb.Action, now_s: float) -> float:
    return telling.took(action, round(now_s * 1e9))


def waited(action: pb.Action, now_s: float) -> str:
    """Until it began on the worker that has it, or has brought it to an end."""
    if action.outcome == "cached":
        return "-"
    if action.HasField("started"):
        end_s = at(action.started)
    else:
        end_s = at(action.ended) if action.HasField("ended") else now_s
    return format_duration(max(end_s - at(action.queued), 0.0))


def ran(action: pb.Action, now_s: float) -> str:
    if not action.HasField("started"):
        return "-"
    end_s = at(action.ended) if action.HasField("ended") else now_s
    return format_duration(max(end_s - at(action.started), 0.0))


def text(data: bytes) -> str:
    return telling.plain(data.decode(errors="replace"))


def tail(data: bytes) -> str:
    """The end of it: that is where errors are."""
    return "\n".join(text(data).rstrip("\n").split("\n")[-TAIL:])
