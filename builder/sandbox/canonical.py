"""A spec as bytes: one form for equal specs, read back to an equal one, and known by its digest.

The bytes say all that an action may see and use, and nothing of the worker that runs it: its
places (`input_root`, `scratch`, the directories of an image's layers) are given apart, and who is
told of a dialogue's start is nobody else's affair. Two workers that enforce the same spec
therefore give the same digest, and each result carries that of the spec that held for it.
"""

import dataclasses
import hashlib
import json
import marshal
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain, zip_longest
from operator import attrgetter
from typing import Any

from builder.base.errors import InvalidArgumentError
from builder.sandbox.interface import AuditLevel, Dialogue, Limits, Network, SandboxSpec

PLACES = frozenset({"input_root", "scratch", "layers"})
ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
LISTS = ("argv", "output_parents", "hosts", "outputs", "programs")
LIMITS = tuple(one.name for one in dataclasses.fields(Limits))
NAMES = tuple(one.name for one in dataclasses.fields(SandboxSpec) if one.name not in PLACES)
OWN = ("argv", "environment", "output_parents", "outputs")  # what two actions seldom share, sorted
FORMED = ("network", "limits", "required", "audit", "dialogue")  # which JSON cannot say as they are
AS_THEY_ARE = tuple(name for name in NAMES if name not in OWN and name not in FORMED)
OWN_OF, PLAIN_OF, LIMITS_OF = attrgetter(*OWN), attrgetter(*AS_THEY_ARE), attrgetter(*LIMITS)
FRAMES = 256
MARSHAL_PLAIN = 2  # its version whose bytes depend on the values alone


def encoded(spec: SandboxSpec) -> bytes:
    """Equal specs give equal bytes, whatever order their parts were put together in."""
    around = frame(marshal.dumps((PLAIN_OF(spec), formed(spec)), MARSHAL_PLAIN))
    argv, environment, parents, outputs = OWN_OF(spec)
    pairs = [f"{ENCODER.encode(k)}:{ENCODER.encode(v)}" for k, v in sorted(environment.items())]
    own = (listed(argv), "{" + ",".join(pairs) + "}", listed(parents), listed(outputs))
    return "".join(chain.from_iterable(zip_longest(around, own, fillvalue=""))).encode()


def formed(spec: SandboxSpec) -> tuple[Any, ...]:
    """The values of `FORMED` as marshal can say them."""
    pipes, audit = spec.dialogue, spec.audit
    return (
        spec.network.value,
        LIMITS_OF(spec.limits),
        sorted(spec.required),
        None if audit is None else audit.value,
        None if pipes is None else (pipes.stdin, pipes.stdout),
    )


def listed(texts: Iterable[str]) -> str:
    """As the encoder writes a list, but it is at its fastest with a single text."""
    return "[" + ",".join(map(ENCODER.encode, texts)) + "]"


@lru_cache(maxsize=FRAMES)
def frame(alike: bytes) -> tuple[str, ...]:
    """What stands around the values of `OWN` where all others are these. Most actions of a worker
    have them in common; the key is bytes, because 2 and 2.0 are equal and not written alike."""
    plain, others = marshal.loads(alike)  # noqa: S302 - from right above
    values = dict(zip((*AS_THEY_ARE, *FORMED), (*plain, *others), strict=True))
    values["limits"] = dict(zip(LIMITS, values["limits"], strict=True))
    found, text = [], "{"
    for name in sorted(NAMES):
        text += f'"{name}":'
        if name in OWN:
            found.append(text)
            text = ","
        else:
            text += ENCODER.encode(values[name]) + ","
    return (*found, text.removesuffix(",") + "}")


def digest(spec: SandboxSpec) -> str:
    """SHA-256 of the bytes, in hexadecimal digits."""
    return hashlib.sha256(encoded(spec)).hexdigest()


def decoded(
    data: bytes, input_root: str, scratch: str, layers: tuple[str, ...] = ()
) -> SandboxSpec:
    """The spec of these bytes, at these places. Raises InvalidArgumentError for what `encoded`
    has not written."""
    try:
        found = json.loads(data)
        if sorted(found) != sorted(NAMES):
            raise ValueError(f"it has {', '.join(sorted(set(found) ^ set(NAMES)))} too much or not")
        found |= {name: tuple(found[name]) for name in LISTS}
        pipes = found["dialogue"]
        found |= {
            "network": Network(found["network"]),
            "limits": Limits(**found["limits"]),
            "required": frozenset(found["required"]),
            "audit": None if found["audit"] is None else AuditLevel(found["audit"]),
            "dialogue": None if pipes is None else Dialogue(pipes[0], pipes[1], unheard),
        }
        return SandboxSpec(input_root=input_root, scratch=scratch, layers=layers, **found)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise InvalidArgumentError(f"this is no sandbox spec: {error}") from None


def unheard(_pid: int) -> None:
    """Of a decoded spec nobody is told."""
