"""Steps as Commands and Actions."""

from dataclasses import replace

import pytest

from builder.action.encode import BASE_ENVIRONMENT, Step, command_of, prepare
from builder.action.tree import Entry, File
from builder.base.digest import digest_of
from builder.base.errors import InvalidArgumentError
from builder.reapi.pb import remote_execution_pb2 as pb

STEP = Step(
    arguments=("cc", "-c", "a.c"),
    output_paths=("b.o", "a.o", "b.o"),
    environment={"Z": "1", "A": "2"},
    platform=(("OSFamily", "linux"), ("ISA", "x86-64")),
    timeout_s=1.5,
)
INPUTS: dict[str, Entry] = {"a.c": File(digest_of(b"int a;")), "d/b.h": File(digest_of(b""))}


def test_the_messages_are_canonical() -> None:
    """Variables, outputs and properties are sorted and each once; defaults are left out."""
    prepared = prepare(STEP, INPUTS)
    command = pb.Command.FromString(prepared.blobs[prepared.command])
    assert list(command.arguments) == ["cc", "-c", "a.c"]
    names = [variable.name for variable in command.environment_variables]
    assert names == sorted({*BASE_ENVIRONMENT, "A", "Z"})
    assert list(command.output_paths) == ["a.o", "b.o"]
    action = pb.Action.FromString(prepared.blobs[prepared.action])
    assert [(p.name, p.value) for p in action.platform.properties] == [
        ("ISA", "x86-64"),
        ("OSFamily", "linux"),
    ]
    assert (action.timeout.seconds, action.timeout.nanos) == (1, 500_000_000)
    assert action.input_root_digest.hash == prepared.root.hash
    assert action.command_digest.hash == prepared.command.hash
    assert not action.do_not_cache
    for digest, data in prepared.blobs.items():
        assert digest_of(data) == digest


def test_what_programs_take_for_the_time_is_where_the_clock_stands() -> None:
    """Unless the step says otherwise; without a clock it is the first day of 1980."""
    clock = (("wall-clock", "2024-05-01T12:00:00Z"),)
    steps = [STEP, replace(STEP, platform=clock)]
    steps.append(replace(steps[1], environment={"SOURCE_DATE_EPOCH": "7"}))
    told = [
        {pair.name: pair.value for pair in command_of(step).environment_variables} for step in steps
    ]
    assert [one["SOURCE_DATE_EPOCH"] for one in told] == ["315532800", "1714564800", "7"]


def test_everything_that_must_be_stored_is_named_once() -> None:
    """Messages and files together are what a worker fetches."""
    prepared = prepare(STEP, INPUTS)
    assert len(prepared.blobs) == 4  # action, command, the root and d/
    assert prepared.digests == [*prepared.blobs, digest_of(b"int a;"), digest_of(b"")]


def test_order_does_not_matter() -> None:
    """Two ways of writing the same step give the same action."""
    other = replace(
        STEP,
        output_paths=("a.o", "b.o"),
        environment=dict(reversed(STEP.environment.items())),
        platform=STEP.platform[::-1],
    )
    assert prepare(other, dict(reversed(INPUTS.items()))).action == prepare(STEP, INPUTS).action


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": ("cc", "-c", "a.c", "")},
        {"output_paths": ("a.o",)},
        {"environment": {"Z": "1", "A": "3"}},
        {"environment": {**STEP.environment, "PATH": "/bin"}},
        {"platform": STEP.platform[:1]},
        {"platform": ()},
        {"timeout_s": 1.25},
        {"timeout_s": None},
        {"cacheable": False},
        {"tools": {"cc": "x"}},
    ],
)
def test_everything_that_counts_is_in_the_digest(change: dict[str, object]) -> None:
    """Each part of a step changes the action."""
    assert prepare(replace(STEP, **change), INPUTS).action != prepare(STEP, INPUTS).action  # type: ignore[arg-type]


def test_inputs_count() -> None:
    """Bytes, names and the executable bit of inputs change the action."""
    seen = {prepare(STEP, INPUTS).action}
    for changed in (
        {**INPUTS, "a.c": File(digest_of(b"int b;"))},
        {**INPUTS, "a.c": File(digest_of(b"int a;"), executable=True)},
        {**INPUTS, "c.c": File(digest_of(b"int a;"))},
        {"a.c": INPUTS["a.c"]},
    ):
        seen.add(prepare(STEP, changed).action)
    assert len(seen) == 5


def test_steps_that_no_worker_could_run() -> None:
    """No program, or an output outside of the work tree."""
    for step in (
        replace(STEP, arguments=()),
        replace(STEP, arguments=("",)),
        replace(STEP, output_paths=("../x",)),
        replace(STEP, output_paths=("/x",)),
    ):
        with pytest.raises(InvalidArgumentError):
            prepare(step, INPUTS)


def test_the_digest_is_stable() -> None:
    """This very digest is what earlier versions stored results under; changing it by accident
    would empty every cache."""
    step = Step(("true",), ("out",), platform=(("OSFamily", "linux"),))
    assert prepare(step, {"a": File(digest_of(b"a"))}).action.hash == STABLE


STABLE = "6cd1cc6d03d381479243a034d93df3a3154f506a0610504b3dbf3fdf28f648b0"
