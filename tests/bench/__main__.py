"""`python -m tests.bench NAME`: run one bench; the last line is one JSON object.

A bench is a module of this folder with `run() -> (figures, ratios)`: two dictionaries of numbers.
"""

import importlib
import json
import sys
from pathlib import Path

PARTS = ("__main__",)


def names() -> list[str]:
    found = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    return [name for name in found if name not in PARTS and not name.endswith("_parts")]


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in names():
        print(f"usage: python -m tests.bench NAME, one of: {', '.join(names())}", file=sys.stderr)
        return 2
    name = sys.argv[1]
    figures, ratios = importlib.import_module(f"tests.bench.{name}").run()
    print(json.dumps({"bench": name, "figures": figures, "ratios": ratios}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
