"""A generated tree of 1,000 targets in ten packages, each action in a real sandbox of this machine.

A package has 90 actions in nine rows, each of which reads a source and one or two outputs of the
row above, a group for each row, and a bundle of all, which needs bundles of earlier packages. First
everything is built, then nothing has changed, then one source has, then outputs are gone.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.service import ROOT, environment

Numbers = dict[str, float]
PACKAGES, ROWS, COLUMNS = 10, 9, 10  # 10 * (9 * 10 + 9 + 1) = 1,000
ENTRY = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom builder.cli.start import main; main()"


def generate(root: Path, packages: int = PACKAGES, rows: int = ROWS, columns: int = COLUMNS) -> int:
    """The number of targets that it has."""
    root.mkdir(parents=True)
    (root / "Builderfile.workspace").write_text("")
    count = 0
    for number in range(packages):
        folder = root / f"p{number}"
        (folder / "src").mkdir(parents=True)
        lines = []
        for row in range(rows):
            for column in range(columns):
                name = f"t{row}-{column}"
                (folder / "src" / name).write_text(f"{number} {name}\n")
                above = [f"t{row - 1}-{c}" for c in {column, (column * 7 + 3) % columns}]
                needed = [f":{one}" for one in sorted(above)] if row else []
                inputs = ", ".join([f"src/{name}", *(f'"{one}"' for one in needed)])
                files = " ".join([f"src/{name}", *(f"out/{one[1:]}" for one in needed)])
                lines += [f"target {name}:", f"  inputs: [{inputs}]", f"  outputs: [out/{name}]"]
                lines += [f"  command: cat {files} | cksum > out/{name}"]
                count += 1
            members = ", ".join(f"t{row}-{column}" for column in range(columns))
            lines += [f"target row{row}: {{depends: [{members}]}}"]
            count += 1
        before = [f"//p{other}:bundle" for other in range(number) if other % 3 == number % 3]
        rows_named = [f":row{row}" for row in range(rows)]
        inputs = ", ".join(f'"{one}"' for one in [*rows_named, *before])
        lines += ["target bundle:", f"  inputs: [{inputs}]", "  outputs: [bundle]"]
        lines += ["  command: cat out/* > bundle"]
        count += 1
        (folder / "Builderfile").write_text("\n".join(lines) + "\n")
    return count


def run() -> tuple[Numbers, Numbers]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "home").mkdir()
        root = folder / "tree"
        figures: Numbers = {"targets": generate(root)}
        figures["first_s"] = build(root)
        figures["again_s"] = build(root)
        source = root / "p0" / "src" / "t0-0"
        source.write_text("changed\n")
        figures["one_source_changed_s"] = build(root)
        outputs = digest_of(root)
        shutil.rmtree(root / ".builder" / "done")
        for package in range(PACKAGES):
            shutil.rmtree(root / f"p{package}" / "out")
        figures["all_hits_s"] = build(root)
        assert digest_of(root) == outputs
    actions = PACKAGES * (ROWS * COLUMNS + 1)
    figures["actions_per_s"] = round(actions / figures["first_s"], 1)
    return figures, {"noop_of_first": round(figures["again_s"] / figures["first_s"], 5)}


def build(root: Path) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", ENTRY, "build", "//..."],
        cwd=root,
        env=environment(root.parent / "home"),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return round(time.perf_counter() - start, 3)


def digest_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".builder" not in os.fspath(path.relative_to(root))
    }
