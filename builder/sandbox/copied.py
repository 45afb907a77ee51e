"""A work tree that is a copy of the inputs: where nothing else keeps them from being changed."""

import os
import shutil

import trio

from builder.base.errors import InvalidArgumentError
from builder.sandbox.finished import OpenTree
from builder.sandbox.interface import Exit, SandboxSpec

DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


class FinishedInCopy(OpenTree):
    """The copy is in the scratch directory, which the worker removes."""

    def __init__(self, done: Exit, tree: str) -> None:
        super().__init__(done, os.open(tree, DIRECTORY))


async def copy_inputs(spec: SandboxSpec, owner: int | None = None) -> str:
    """The copy's path, with the directories that outputs go to. `owner` is whose it is to be.

    Raises InvalidArgumentError when a link leads one of those out of the work tree.
    """
    return await trio.to_thread.run_sync(_copy, spec, owner)


def _copy(spec: SandboxSpec, owner: int | None) -> str:
    tree = os.path.join(os.path.abspath(spec.scratch), "tree")
    shutil.copytree(spec.input_root, tree, symlinks=True)
    os.chmod(tree, 0o755)  # noqa: S103 - nobody passes the directory above
    real = os.path.realpath(tree)
    for parent in (*spec.output_parents, spec.working_directory):
        path = os.path.join(tree, parent)
        found = os.path.realpath(path)
        if found != real and not found.startswith(real + os.sep):
            raise InvalidArgumentError(f"a link leads {parent!r} out of the work tree")
        os.makedirs(found, exist_ok=True)
    if owner is not None:
        for base, directories, files in os.walk(tree):
            for name in (".", *directories, *files):
                os.chown(os.path.join(base, name), owner, owner, follow_symlinks=False)
    return tree
