"""Limits as platform properties: what is written is what is read, and wrong ones are told."""

import pytest

from builder.base.errors import InvalidArgumentError
from builder.reapi.limits import ActionLimits, action_limits


@pytest.mark.parametrize(
    ("network", "text"),
    [
        (True, "full"),
        (False, "none"),
        (("b.org:81", "a.org"), "a.org,b.org:81"),
        ((), "none"),
    ],
)
def test_network_is_all_none_or_hosts(network: bool | tuple[str, ...], text: str) -> None:
    """Each form has one text, which comes back as the same."""
    properties = ActionLimits(network=network).properties()
    assert properties == [("network", text)]
    again = ActionLimits(network=action_limits(properties).network)
    assert again.properties() == properties


@pytest.mark.parametrize("text", ["", "a b", "a.org,", "http://a.org", "none,a.org/x"])
def test_what_is_no_network_is_told(text: str) -> None:
    """With what it may be."""
    with pytest.raises(InvalidArgumentError, match=r"property network: .*use none, full, or hosts"):
        action_limits([("network", text)])


@pytest.mark.parametrize("name", ["deterministic", "inputs-as-root"])
def test_flags(name: str) -> None:
    """Said only when they are wanted; anything but true and false is told."""
    field = name.replace("-", "_")
    assert ActionLimits(**{field: True}).properties() == [(name, "true")]
    assert getattr(action_limits([(name, "true")]), field)
    assert not getattr(action_limits([(name, "false")]), field)
    with pytest.raises(InvalidArgumentError, match=rf"{name} is 'yes': use true or false"):
        action_limits([(name, "yes")])


def test_a_network_is_on_or_off_for_some() -> None:
    """BuildStream writes it so."""
    assert action_limits([("network", "on")]).network is True
    assert action_limits([("network", "off")]).network is False


def test_programs_are_a_list() -> None:
    """In one form however it is written; what is none is told."""
    assert ActionLimits(programs=("sh", "a/b")).properties() == [("programs", "a/b,sh")]
    assert action_limits([("programs", "sh,a/b,sh")]).programs == ("a/b", "sh")
    for wrong in ("", "sh,", "a\0b"):
        with pytest.raises(InvalidArgumentError, match=r"programs is .*: use names and paths"):
            action_limits([("programs", wrong)])


def test_a_wall_clock_is_a_moment() -> None:
    """In one form however it is written; what is none is told."""
    assert ActionLimits(clock=0).properties() == [("wall-clock", "1970-01-01T00:00:00Z")]
    for text in ("fixed", "315532800", "1980-01-01T01:00:00+01:00"):
        assert action_limits([("wall-clock", text)]).clock == 315532800
    with pytest.raises(InvalidArgumentError, match="property wall-clock: 'noon' is no moment"):
        action_limits([("wall-clock", "noon")])


def test_nothing_said_is_left_to_the_worker() -> None:
    """No property, no limit."""
    assert action_limits([]) == ActionLimits()
    assert ActionLimits().properties() == []


def test_processor_time_is_a_duration() -> None:
    """`max-cpu-time` is written in seconds and read in any unit; none at all is refused."""
    assert ActionLimits(cpu_s=90).properties() == [("max-cpu-time", "90s")]
    assert action_limits([("max-cpu-time", "1m30s")]).cpu_s == 90
    for wrong in ("0s", "soon"):
        with pytest.raises(InvalidArgumentError, match="max-cpu-time"):
            action_limits([("max-cpu-time", wrong)])


def test_a_trust_domain_is_a_name() -> None:
    """What could be another's, or nobody's, is told."""
    assert ActionLimits(reuse="ci/main").properties() == [("sandbox-reuse", "ci/main")]
    assert action_limits([("sandbox-reuse", "ci/main")]).reuse == "ci/main"
    for wrong in ("", "a b", "a:b", "a\n", "a" * 129):
        with pytest.raises(InvalidArgumentError, match=r"sandbox-reuse is .*: name a trust domain"):
            action_limits([("sandbox-reuse", wrong)])
