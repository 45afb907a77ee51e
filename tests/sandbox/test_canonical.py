"""A spec as bytes: read back to itself, one form for one meaning, and told by every result."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.base.errors import InvalidArgumentError
from builder.sandbox import canonical, outcome
from builder.sandbox.interface import (
    AuditLevel,
    Dialogue,
    Limits,
    Network,
    Sandbox,
    SandboxSpec,
)
from tests.sandbox.support import ENVIRONMENT, act, new_inputs, new_scratch

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=8)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
SIZE = st.none() | st.integers(1, 1 << 50)
TIME = st.none() | st.floats(0.001, 1e6)
SPECS = st.builds(
    SandboxSpec,
    argv=st.lists(TEXT, min_size=1, max_size=3).map(tuple),
    input_root=st.just("/in"),
    scratch=st.just("/scratch"),
    environment=st.dictionaries(TEXT, TEXT, max_size=3),
    working_directory=TEXT,
    output_parents=TEXTS,
    layers=st.just(()),
    image=TEXT,
    network=st.sampled_from(Network),
    hosts=TEXTS,
    limits=st.builds(
        Limits, wall_s=TIME, cpu_s=TIME, memory_bytes=SIZE, cpu_cores=TIME, disk_bytes=SIZE
    ),
    deterministic=st.booleans(),
    required=st.frozensets(TEXT, max_size=3),
    audit=st.none() | st.sampled_from(AuditLevel),
    outputs=TEXTS,
    programs=TEXTS,
    clock=st.none() | st.integers(0, 253402300799),
    dialogue=st.none() | st.builds(Dialogue, TEXT, TEXT, st.just(canonical.unheard)),
)


@given(SPECS)
def test_bytes_are_read_back_to_the_same_spec(spec: SandboxSpec) -> None:
    """Nothing is lost, so what is enforced of the one is enforced of the other."""
    data = canonical.encoded(spec)
    again = canonical.decoded(data, spec.input_root, spec.scratch)
    assert again == spec
    assert canonical.encoded(again) == data
    assert canonical.digest(again) == canonical.digest(spec)
    assert json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode() == data


def test_what_is_equal_and_not_alike_is_written_as_it_is() -> None:
    """So that the bytes do not depend on what the worker has encoded before."""
    specs = [SandboxSpec(("x",), "/a", "/b", limits=Limits(wall_s=one)) for one in (2, 2.0, 2)]
    texts = [canonical.encoded(spec).partition(b'"wall_s":')[2][:3] for spec in specs]
    assert texts == [b"2},", b"2.0", b"2},"]


def test_the_same_is_enforced_of_what_was_read_back() -> None:
    """Broker and init are told byte for byte the same."""
    spec = SandboxSpec(
        ("cc", "\udcff"), "/in", "/s", {"B": "2", "A": "1"}, limits=Limits(wall_s=1.5, cpu_s=2)
    )
    again = canonical.decoded(canonical.encoded(spec), "/in", "/s")
    assert outcome.wish(again) == outcome.wish(spec)
    assert outcome.job(again) == outcome.job(spec)


def test_order_and_places_make_no_difference() -> None:
    """Where it runs and how it was put together is not what it may do."""
    one = SandboxSpec(("x",), "/a", "/b", {"A": "1", "B": "2"}, required=frozenset({"p", "q"}))
    other = SandboxSpec(("x",), "/c", "/d", {"B": "2", "A": "1"}, required=frozenset({"q", "p"}))
    assert canonical.encoded(one) == canonical.encoded(other)


@pytest.mark.parametrize("field", canonical.NAMES)
def test_every_field_makes_a_difference(field: str) -> None:
    """What is not in the bytes could be changed unseen."""
    other = {
        "argv": ("y",), "environment": {"A": "1"}, "working_directory": "d", "image": "i",
        "output_parents": ("o",), "network": Network.FULL, "hosts": ("h",), "outputs": ("o",),
        "programs": ("p",), "inputs_as_root": True, "reuse": "ci", "clock": 7,
        "limits": Limits(processes=7), "deterministic": True, "required": frozenset({"seccomp"}),
        "audit": AuditLevel.FULL, "dialogue": Dialogue("in", "out", canonical.unheard),
    }  # fmt: skip
    plain = SandboxSpec(("x",), "/in", "/scratch")
    changed = dataclasses.replace(plain, **{field: other[field]})  # type: ignore[arg-type]  # one
    assert canonical.digest(plain) != canonical.digest(changed)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"argv": 1}', b"\xff"])
def test_other_bytes_are_refused(data: bytes) -> None:
    """What is no spec is told so."""
    with pytest.raises(InvalidArgumentError, match="no sandbox spec"):
        canonical.decoded(data, "/in", "/scratch")


async def test_a_result_names_the_spec_that_held(sandbox: Sandbox, tmp_path: Path) -> None:
    """The digest in the result is that of the bytes from which the same spec can be made."""
    done = await act(sandbox, tmp_path, "true", limits=Limits(processes=9))
    places = str(new_inputs(tmp_path)), str(new_scratch(tmp_path))
    spec = SandboxSpec(("true",), *places, ENVIRONMENT, limits=Limits(processes=9))
    assert done.exit.spec == canonical.digest(spec)
