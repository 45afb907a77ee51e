"""What every way of running actions is made of: its options, and the refusal to do less."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from builder.sandbox.interface import SandboxRefusedError, SandboxSpec
from builder.sandbox.plan import OWN_IN_ROOT

START = os.path.join(os.path.dirname(os.path.abspath(__file__)), "start.py")
# A function that the linker has yet to find would be looked for in each fork again.
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "LD_BIND_NOW": "1"}


def helper(name: str) -> list[str]:
    """The command that starts a helper: an interpreter with nothing but its core."""
    return [sys.executable, "-I", "-S", "-B", START, name]


@dataclass(frozen=True, slots=True)
class Options:
    """`read_only` are host paths that actions may read, beyond the system's own directories;
    `root` is a host directory to take those from instead, empty for the host's; `layers` are an
    image's unpacked layers, the lowest first, to be the whole root; with `rooted` there is none of
    these, because the inputs of each action are its root; `ready` is how many sandboxes wait
    ready-made; `action_uid` is the kernel's user id of actions when this process is root: one
    that nobody else has; `reuse` lets an action that names a trust domain have the sandbox that
    another one of the same domain has left as it was."""

    read_only: tuple[str, ...] = ()
    ready: int = 2
    action_uid: int = 60999
    root: str = ""
    layers: tuple[str, ...] = ()
    rooted: bool = False
    reuse: bool = False


def refuse_in_inputs(spec: SandboxSpec) -> None:
    """What an action cannot have whose inputs are its root, since what looks at the names that it
    uses knows where they lead in this host's root, or in an image. Raises SandboxRefusedError."""
    if not spec.inputs_as_root:
        return
    for name in OWN_IN_ROOT:
        place = os.path.join(spec.input_root, name)
        if os.path.islink(place) or (os.path.exists(place) and not os.path.isdir(place)):
            raise SandboxRefusedError(
                f"/{name} of the inputs is no directory: an action whose inputs are its root has "
                "the sandbox's own there"
            )
    wanted = {
        "an audit": spec.audit is not None,
        "an image": spec.layers != (),
        "a list of programs": spec.programs != (),
        "the deterministic order of directories": spec.deterministic,
        "a persistent worker": spec.dialogue is not None,
    }
    if found := [name for name, asked in wanted.items() if asked]:
        raise SandboxRefusedError(
            f"an action whose inputs are its root cannot have {' nor '.join(found)}"
        )


def programs_kept(spec: SandboxSpec, held: Sequence[str]) -> dict[str, str]:
    """What enforces a list of programs. Raises SandboxRefusedError."""
    if spec.programs and "landlock" not in held:
        raise SandboxRefusedError(
            "an action can only be kept to some programs by Landlock, which this host does not have"
        )
    return {"programs": str(len(spec.programs))} if spec.programs else {}


def refuse_missing(spec: SandboxSpec, held: Sequence[str], problems: Sequence[str]) -> None:
    """Raises SandboxRefusedError when a required guarantee does not hold."""
    if missing := sorted(spec.required.difference(held)):
        why = f" ({'; '.join(problems)})" if problems else ""
        raise SandboxRefusedError(
            f"this host does not give {', '.join(missing)}{why}; "
            "`builder doctor` says how to enable it"
        )
