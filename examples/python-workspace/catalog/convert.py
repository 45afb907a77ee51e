"""convert.py TABLE.csv OUT.json: a table of names and cents as JSON."""

import csv
import json
import sys


def main(source: str, target: str) -> None:
    with open(source, newline="") as file:
        prices = {row["name"]: int(row["cents"]) for row in csv.DictReader(file)}
    with open(target, "w") as file:
        json.dump(prices, file, indent=1, sort_keys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
