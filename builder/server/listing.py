"""What a client of ListOperations asks for: which operations, how many, and from where on.

A page token is the place of the last operation of the page before, by age and name; so it still
holds when that operation is forgotten meanwhile. Ages are of this process's clock: tokens of an
earlier one are refused.
"""

from collections.abc import Callable
from dataclasses import dataclass

from builder.base.errors import InvalidArgumentError
from builder.reapi.pb import operations_pb2 as pb
from builder.schedule.operation import Stage

COLLECTION = "operations"
PAGE = 100  # operations, when the client leaves it to us
MOST_PAGE = 1000
FILTERS = (
    "done=true, done=false, cached=true, cached=false, stage=QUEUED, stage=EXECUTING or "
    "stage=COMPLETED"
)

Kind = Callable[[Stage, bool], bool]  # of a stage, and whether the action cache answered


@dataclass(frozen=True, slots=True)
class Wanted:
    kind: Kind
    size: int
    prefix: str
    after: tuple[float, str]

    @classmethod
    def of(cls, request: pb.ListOperationsRequest, epoch: float) -> "Wanted":
        """Raises InvalidArgumentError."""
        if request.page_size < 0:
            raise InvalidArgumentError(f"page_size is {request.page_size}; 0 or more is right")
        return cls(
            _kind(request.filter),
            min(request.page_size or PAGE, MOST_PAGE),
            _prefix(request.name),
            _after(request.page_token, epoch),
        )

    def place(self, at: float, name: str) -> bool:
        """Whether it is in the collection, and on this page or a later one."""
        return (at, name) > self.after and name.startswith(self.prefix)


def page_token(epoch: float, at: float, name: str) -> str:
    return f"{epoch.hex()}/{at.hex()}/{name}"


def _after(token: str, epoch: float) -> tuple[float, str]:
    if not token:
        return 0.0, ""
    process, _, rest = token.partition("/")
    at, _, name = rest.partition("/")
    try:
        if process == epoch.hex():
            return float.fromhex(at), name
    except (ValueError, OverflowError):
        pass
    raise InvalidArgumentError(
        "the page token is none of this service's, or is from before its restart; list from the "
        "start"
    )


def _prefix(name: str) -> str:
    """`operations` or `{instance}/operations`; nothing means all. Raises InvalidArgumentError."""
    if not name:
        return ""
    if name.strip("/").rpartition("/")[2] != COLLECTION:
        raise InvalidArgumentError(
            f"{name[:200]!r} is no collection: use [{{instance}}/]{COLLECTION}, or no name"
        )
    return name.strip("/") + "/"


def _kind(text: str) -> Kind:
    """Raises InvalidArgumentError that lists what there is."""
    field, _, value = text.replace(":", "=").replace(" ", "").partition("=")
    if not field:
        return lambda _stage, _cached: True
    if value.lower() in ("true", "false"):
        truth = value.lower() == "true"
        if field == "done":
            return lambda stage, _cached: (stage is Stage.COMPLETED) == truth
        if field == "cached":
            return lambda _stage, cached: cached == truth
    if field == "stage" and value.upper() in Stage.__members__:
        wanted = Stage[value.upper()]
        return lambda stage, _cached: stage is wanted
    raise InvalidArgumentError(f"filter {text[:200]!r} is not understood: use {FILTERS}")
