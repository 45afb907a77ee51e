"""One block of a Builderfile as many targets: `matrix` and `foreach`.

    target t: {matrix: {mode: [fast, small]}, foreach: "src/*.c", ...}
    t/fast/src/a.c  t/fast/src/b.c  t/small/src/a.c ...       one action each
    t                                                         a group that collects them

`foreach` finds source files, as globs in `inputs` do: a file that some target makes is none.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from builder.project.model import Source
from builder.project.paths import PathError, Pattern, pattern, within
from builder.project.words import Value, Words, of_file

if TYPE_CHECKING:
    from builder.base.document import Path

# (wanted, excluded) -> the source files that match, sorted.
Find = Callable[[Sequence[Pattern], Sequence[Pattern]], Sequence[str]]
OWN_NAMES = ("file", "dir", "name", "stem")


@dataclass(frozen=True, slots=True)
class Member:
    """One of a block's targets: what its name ends in, its variables, the file it is for."""

    suffix: str
    words: Words
    file: str = ""


def members(
    source: Source,
    where: "Path",
    block: Mapping[str, Any],
    values: Mapping[str, Value],
    find: Find,
    package: str = "",
) -> Iterator[Member]:
    """Raises UsageError, with its place, for what cannot be expanded. Files are the package's."""
    matrix: Mapping[str, list[Any]] = block.get("matrix", {})
    for axis in matrix:
        if axis in values or axis in OWN_NAMES:
            message = f"{axis!r} is the name of a variable already"
            raise source.error((*where, "matrix", axis), message, "choose another name", key=True)
    for point in product(*matrix.values()):
        chosen = dict(zip(matrix, map(str, point), strict=True))
        suffix = "".join(f"/{value}" for value in chosen.values())
        words = Words(source, {**values, **chosen})
        if "foreach" not in block:
            yield Member(suffix, words)
            continue
        for path in _files(source, (*where, "foreach"), block["foreach"], words, find, package):
            file = path.removeprefix(package).lstrip("/")
            own = Words(source, {**words.values, **of_file(file)})
            yield Member(f"{suffix}/{file}", own, path)


def _files(
    source: Source,
    where: "Path",
    globs: str | list[str],
    words: Words,
    find: Find,
    package: str,
) -> Sequence[str]:
    if isinstance(globs, str):
        texts = [(where, words.text(globs, where))]
    else:
        texts = list(words.items(globs, where))
    wanted: list[Pattern] = []
    excluded: list[Pattern] = []
    for here, text in texts:
        try:
            chosen = excluded if text.startswith("!") else wanted
            chosen.append(within(package, pattern(text.removeprefix("!"))))
        except PathError as error:
            raise source.error(here, str(error), error.hint) from None
    found = find(wanted, excluded)
    if not found:
        shown = ", ".join(one.text for one in wanted) or "an exclusion alone"
        hint = "correct the glob (it is relative to the Builderfile), or remove the target"
        raise source.error(where, f"foreach over {shown} finds no file", hint)
    return found
