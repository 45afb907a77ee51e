"""Why a command may have failed: it speaks of a file that lies in the project and is no input."""

import re
from collections.abc import Callable, Container, Iterator

from builder.client.console import Streams
from builder.project.model import Target
from builder.project.paths import PathError, normalise

WORD = re.compile(r"[^\s'\"`:;,()\[\]{}<>|=‘’“”]+")
MOST_BYTES = 64 * 1024  # of a stream's end, where the reason mostly is
MOST_WORDS = 2000
MOST_SHOWN = 3


def undeclared(
    target: Target,
    streams: Streams,
    inputs: Container[str],
    is_file: Callable[[str], bool],
) -> str:
    """What to add to the reason of a failure; empty when nothing speaks for it. `is_file`: of a
    path relative to the project."""
    outputs = target.outputs
    found = [
        path
        for path in dict.fromkeys(_paths(target.package, streams))
        if path not in inputs
        and is_file(path)
        and not any(output.holds(path) for output in outputs)
    ]
    if not found:
        return ""
    shown = ", ".join(target.own(path) for path in found[:MOST_SHOWN])
    are = "is in the project and no input" if len(found) == 1 else "are in the project, no inputs"
    return f"; {shown} {are} of {target.name!r}: add to its 'inputs' what it needs"


def _paths(package: str, streams: Streams) -> Iterator[str]:
    text = b" ".join(data[-MOST_BYTES:] for data in (streams.stderr, streams.stdout))
    words = WORD.findall(text.decode(errors="replace"))
    for word in dict.fromkeys(words[:MOST_WORDS]):
        try:
            path = normalise(word.rstrip("."))
        except PathError:
            continue  # no path of a project
        yield f"{package}/{path}" if package else path
