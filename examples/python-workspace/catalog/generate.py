"""generate.py TABLE.json... DIRECTORY: each table as a Python module."""

import json
import sys
from pathlib import Path


def main(tables: list[str], directory: str) -> None:
    for table in tables:
        prices = json.loads(Path(table).read_text())
        lines = [f'"""From {Path(table).name}."""', "", "PRICES = {"]
        lines += [f"    {name!r}: {cents}," for name, cents in prices.items()]
        (Path(directory) / f"{Path(table).stem}.py").write_text("\n".join([*lines, "}", ""]))


if __name__ == "__main__":
    main(sys.argv[1:-1], sys.argv[-1])
