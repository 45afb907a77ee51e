"""Which pool an operator means."""

import pytest

from builder.base.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
)
from builder.reapi.pb import control_pb2 as pb
from builder.server.control import Around, ControlService
from builder.server.execution import CacheFigures
from tests.server.farm import farming

ONE = pb.PoolState(name="default", minimum=1, maximum=2)
GPU = pb.PoolState(name="gpu", maximum=4)


async def test_the_pool_is_named_where_there_are_several() -> None:
    """Its bounds count; a slip is met with what was meant, and nothing happens."""
    held: list[tuple[str, int | None]] = []
    async with farming() as farm:

        def control(*pools: pb.PoolState) -> ControlService:
            around = Around("0", lambda: 0, lambda: pools, hold=lambda *hold: held.append(hold))
            return ControlService(farm.scheduler, CacheFigures(), around, lambda _: farm.blobs)

        both = control(ONE, GPU)
        assert both.scale(pb.ScalePoolRequest(pool="gpu", workers=4)) == GPU
        assert both.scale(pb.ScalePoolRequest(pool="default")) == ONE
        assert control(ONE).scale(pb.ScalePoolRequest(workers=2)) == ONE
        assert held == [("gpu", 4), ("default", None), ("default", 2)]
        with pytest.raises(InvalidArgumentError, match="say which: default, gpu"):
            both.scale(pb.ScalePoolRequest(workers=2))
        with pytest.raises(NotFoundError, match="did you mean 'gpu'"):
            both.scale(pb.ScalePoolRequest(pool="gpuu", workers=2))
        with pytest.raises(OutOfRangeError, match="1 to 2"):
            both.scale(pb.ScalePoolRequest(pool="default", workers=3))
        with pytest.raises(FailedPreconditionError, match="no pool of its own"):
            control().scale(pb.ScalePoolRequest(workers=2))
        assert len(held) == 3
        assert both.status(details=False).pool == ONE
        assert list(both.status(details=False).pools) == [ONE, GPU]
