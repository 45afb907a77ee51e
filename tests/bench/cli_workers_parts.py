"""Eight workers against one, on actions that sleep and on actions that compute.

Sixteen independent actions, `bldr build -j 64` as a process, on a service with that many workers of
one slot each; without `slots` a local worker takes its share of the processors. What computes
cannot be quicker than the machine's processors allow; `processors` says how many.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.service import environment, running

ACTIONS = 16
SLEEP = "sleep 2"
COMPUTE = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
BLDR = [sys.executable, "-m", "builder", "build", "-j", "64", "--remote"]

CONFIG = """role: all
store: {{path: {folder}/store}}
worker: {{scratch: {folder}/worker, slots: 1}}
artifacts: {{listen: ":0"}}
"""

Numbers = dict[str, float]


def speedup() -> tuple[Numbers, Numbers]:
    figures: Numbers = {"processors": len(os.sched_getaffinity(0))}
    for workers in (1, 8):
        flags = f"--coordinator 127.0.0.1:0 --reapi 0 --metrics :0 --workers-min {workers}".split()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with running(folder, flags=flags, config=CONFIG) as service:
                variables = environment(folder, BUILDER_COORDINATOR=service.coordinator)
                for kind, script in (("sleep", SLEEP), ("compute", COMPUTE)):
                    seconds = build(folder / kind, script, variables)
                    figures[f"{kind}_{workers}_workers_s"] = round(seconds, 2)
    ratios = {
        f"speedup_8_workers{suffix}": round(
            figures[f"{kind}_1_workers_s"] / figures[f"{kind}_8_workers_s"], 2
        )
        for kind, suffix in (("sleep", ""), ("compute", "_compute"))
    }
    print(table(figures, ratios))
    return figures, ratios


def table(figures: Numbers, ratios: Numbers) -> str:
    """For people."""
    rows = [f"{ACTIONS} actions    1 worker   8 workers   times as fast"]
    for kind, suffix in (("sleep", ""), ("compute", "_compute")):
        one, eight = (figures[f"{kind}_{workers}_workers_s"] for workers in (1, 8))
        ratio = ratios[f"speedup_8_workers{suffix}"]
        rows.append(f"{kind:<12}{one:>8.1f} s{eight:>10.1f} s{ratio:>16.2f}")
    rows.append(f"on {figures['processors']:g} processors")
    return "\n".join(rows)


def build(root: Path, script: str, variables: dict[str, str]) -> float:
    root.mkdir()
    lines = []
    for number in range(ACTIONS):
        lines += [f"target t{number}:", f"  outputs: [out/{number}]"]
        lines += [f"  command: '{script}; echo {number} > out/{number}'"]
    (root / "Builderfile").write_text("\n".join(lines) + "\n")
    start = time.perf_counter()
    subprocess.run(BLDR, cwd=root, env=variables, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start
