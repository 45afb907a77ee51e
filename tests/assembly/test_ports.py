"""What the settings say of the wire reaches it."""

from dataclasses import astuple, fields, replace

from builder.assembly.ports import upkeep_of, wire_limits
from builder.config.settings import Connections, WireLimits
from builder.net.upkeep import Upkeep
from builder.wire.limits import Limits


def test_every_time_of_connections_reaches_them() -> None:
    """Each changes something, and the defaults are those of the room below."""
    assert upkeep_of(Connections(max_age=0.0)) == Upkeep()
    for field in fields(Connections):
        changed = replace(Connections(), **{field.name: 0.25})
        assert 0.25 in astuple(upkeep_of(changed)), field.name


def test_every_limit_reaches_the_wire() -> None:
    assert wire_limits(WireLimits()) == Limits()
    for field in fields(WireLimits):
        changed = replace(WireLimits(), **{field.name: 77_777})
        assert 77_777 in astuple(wire_limits(changed)), field.name
