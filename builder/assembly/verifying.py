"""A target built several times, for `bldr verify`."""

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from builder.assembly.client import FAILED, Request, run
from builder.assembly.project import open_project
from builder.base.digest import Digest
from builder.client.state import StateDirectory
from builder.client.target import Built
from builder.client.verify import (
    await_another_second,
    conclusion,
    described,
    differences,
    keep,
    seeds,
    workers,
)
from builder.config.settings import Settings
from builder.project.query import members


@dataclass(frozen=True, slots=True)
class Verdict:
    """`code` is the command's; `found` are the differences in words."""

    code: int
    found: tuple[str, ...] = ()
    conclusion: str = ""


def verify(
    request: Request, settings: Settings, target: str, count: int, *, seeded: bool
) -> Verdict:
    """Ends with the first run that fails, of which the build has told. Raises BuilderError."""
    opened = open_project(request.directory)
    names = members(opened.graph, opened.graph.select([target]))
    wanted = "outputs" if request.download == "none" else request.download
    request = replace(request, arguments=None, fresh=frozenset(names), download=wanted)
    runs: list[dict[str, Built]] = []
    kept: dict[Digest, Path] = {}
    with tempfile.TemporaryDirectory(dir=StateDirectory(opened.root).path / "tmp") as folder:
        while len(runs) < count:
            variables = seeds(len(runs) + 1) if seeded else {}
            started = time.monotonic()
            request = replace(request, started=started, variables=variables, avoid=workers(runs))
            finished = run(request, settings, opened)
            if finished.summary is None or finished.code:
                return Verdict(finished.code)
            runs.append({name: finished.summary.built[name] for name in names})
            keep(opened.root, runs[-1].values(), Path(folder), kept)
            if len(runs) < count:
                await_another_second(time.time())
        found = tuple(
            f"{name}: {described(one, lambda digest: kept[digest].read_bytes())}"
            for name in names
            for one in differences([run[name] for run in runs])
        )
    return Verdict(FAILED if found else 0, found, conclusion(runs, found))
