"""What runs an action's program: the host's kernel, or a WebAssembly engine.

The property `runtime` says it: `wasm` or `native`. Without it a program whose name ends in `.wasm`
is a module, which no kernel runs by itself. A pool whose workers have an engine may declare
`runtime: wasm`, and then gets such actions alone.
"""

from collections.abc import Iterable

from builder.base.errors import InvalidArgumentError

RUNTIME = "runtime"
NATIVE, WASM = "native", "wasm"
SUFFIX = ".wasm"


def is_wasm(properties: Iterable[tuple[str, str]], program: str) -> bool:
    """Raises InvalidArgumentError that names the property."""
    given = dict(properties).get(RUNTIME)
    if given not in (None, NATIVE, WASM):
        raise InvalidArgumentError(f"property {RUNTIME} is {given!r}: use {WASM} or {NATIVE}")
    return program.endswith(SUFFIX) if given is None else given == WASM
