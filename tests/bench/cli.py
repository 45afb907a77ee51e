"""`bldr` as a whole process: nothing to do, a warm remote hit, and many workers against one.

Trees of 1,000 and 10,000 sources, an action for each 1,000 of them that joins them; beside it, on
the same files and in turns, `ninja -n`, `make -q` and a Python that does nothing. A warm hit is the
example on a running service with its outputs removed; a warm checkout is one in which bldr has not
been before. Times are medians of the console entry of this source tree; with `dist/builder.pyz`
there, it is measured too.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.cli_workers_parts import speedup
from tests.e2e.service import ROOT, environment, running

ENTRY = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from builder.cli.start import main
sys.exit(main())
"""
ZIPAPP = ROOT / "dist" / "builder.pyz"
EXAMPLE = ROOT / "examples" / "remote-execution"
RUNS = 11
GROUP = 1000
CERTAIN_TRIES = 5

Numbers = dict[str, float]


def run() -> tuple[Numbers, Numbers]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ways = programs(folder)
        figures = noop(folder, ways, 1000) | noop(folder, ways, 10_000) | warm_hit(folder, ways)
    ratios = {
        "noop_vs_ninja": round(figures["noop_1000_ms"] / figures["ninja_1000_ms"], 2),
        "noop_10000_vs_ninja": round(figures["noop_10000_ms"] / figures["ninja_10000_ms"], 2),
        "noop_vs_make": round(figures["noop_1000_ms"] / figures["make_1000_ms"], 2),
    }
    more_figures, more_ratios = speedup()
    return figures | more_figures, ratios | more_ratios


def programs(folder: Path) -> dict[str, list[str]]:
    """The ways to call bldr, by the prefix of their figures."""
    script = folder / "bldr"
    script.write_text(ENTRY)
    script.chmod(0o755)
    ways = {"": [str(script)]}
    if ZIPAPP.exists():
        ways["zipapp_"] = [sys.executable, str(ZIPAPP)]
    return ways


def noop(folder: Path, ways: Mapping[str, list[str]], count: int) -> Numbers:
    root = folder / f"tree{count}"
    tree(root, count)
    variables = environment(folder)
    for program in ways.values():
        until_noop([*program, "build"], root, variables)
    subprocess.run(["ninja"], cwd=root, check=True, capture_output=True)
    commands = {f"{prefix}noop": [*program, "build"] for prefix, program in ways.items()}
    commands |= {"ninja": ["ninja", "-n"], "make": ["make", "-q"]}
    commands |= {"python": [sys.executable, "-c", "pass"]}
    return medians(commands, root, variables, f"_{count}_ms")


def tree(root: Path, count: int) -> None:
    """The same sources and steps for bldr, ninja and make."""
    bldr, ninja, make = [], ["rule join", "  command = cat $in > $out"], ["all:"]
    for start in range(0, count, GROUP):
        name = f"g{start // GROUP}"
        (root / "src" / name).mkdir(parents=True)
        sources = [f"src/{name}/{number}.txt" for number in range(start, start + GROUP)]
        for source in sources:
            (root / source).write_text(f"{source}\n")
        bldr += [f"target {name}:", f"  inputs: [src/{name}/*.txt]", f"  outputs: [out/{name}]"]
        bldr += [f"  command: cat src/{name}/*.txt > out/{name}"]
        ninja += [f"build out/{name}: join {' '.join(sources)}"]
        make += [f"all: out/{name}", f"out/{name}: {' '.join(sources)}", "\tcat $^ > $@"]
    (root / "Builderfile").write_text("\n".join(bldr) + "\n")
    (root / "build.ninja").write_text("\n".join(ninja) + "\n")
    (root / "Makefile").write_text("\n".join(make) + "\n")


def until_noop(command: list[str], root: Path, variables: Mapping[str, str]) -> None:
    """Build until there is nothing to do: the second time, unless files were just written."""
    receipts = root / ".builder" / "done"
    before = len(list(receipts.glob("*")))
    for _ in range(CERTAIN_TRIES):
        subprocess.run(command, cwd=root, env=variables, check=True, capture_output=True)
        if len(list(receipts.glob("*"))) > before:
            return
    raise AssertionError("bldr does not take the tree as unchanged")


def medians(
    commands: Mapping[str, list[str]], root: Path, variables: Mapping[str, str], suffix: str
) -> Numbers:
    """In turns, so that all of them meet the same noise."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, command in commands.items():
            times[name].append(timed(command, root, variables))
    return {f"{name}{suffix}": round(statistics.median(of) * 1e3, 1) for name, of in times.items()}


def timed(
    command: list[str],
    root: Path,
    variables: Mapping[str, str],
    check: Callable[[str], bool] = lambda _: True,
) -> float:
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=root, env=variables, check=True, stdout=subprocess.PIPE, text=True
    )
    elapsed = time.perf_counter() - start
    assert check(done.stdout), done.stdout
    return elapsed


def warm_hit(folder: Path, ways: Mapping[str, list[str]]) -> Numbers:
    home, service_folder = folder / "home", folder / "service"
    home.mkdir()
    service_folder.mkdir()
    figures: Numbers = {}
    with running(service_folder) as service:
        for prefix, program in ways.items():
            root = folder / f"{prefix}example"
            shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns("build", ".builder"))
            command = [*program, "build", "cpp_project", "--remote"]
            variables = environment(home, BUILDER_COORDINATOR=service.coordinator)
            until_noop(command, root, variables)
            for name, removed in (("hit", ["build"]), ("checkout", ["build", ".builder"])):
                times = []
                for _ in range(RUNS):
                    for folder_name in removed:
                        shutil.rmtree(root / folder_name)
                    times.append(timed(command, root, variables, is_hit))
                    assert os.access(root / "build" / "cpp_project", os.X_OK)
                figures[f"{prefix}warm_{name}_ms"] = round(statistics.median(times) * 1e3, 1)
    return figures


def is_hit(said: str) -> bool:
    return said.startswith("[INFO] Cache hit: cpp_project")
