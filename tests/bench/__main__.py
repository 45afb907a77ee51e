"""`python -m tests.bench NAME [OPTION...]`: run one bench; the last line is one JSON object.

A bench is a module of this folder with `run() -> (figures, ratios)`: two dictionaries of numbers.
One that takes options has `run(*options)`.
"""

import importlib
import json
import sys
from inspect import signature
from pathlib import Path

PARTS = ("__main__",)


def names() -> list[str]:
    found = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    return [name for name in found if name not in PARTS and not name.endswith("_parts")]


def main() -> int:
    name, options = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    bench = importlib.import_module(f"tests.bench.{name}") if name in names() else None
    if bench is None or (options and not signature(bench.run).parameters):
        print(f"usage: python -m tests.bench NAME, one of: {', '.join(names())}", file=sys.stderr)
        return 2
    figures, ratios = bench.run(*options)
    print(json.dumps({"bench": name, "figures": figures, "ratios": ratios}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
