"""bill.py CURRENCY NAME...: what these plants cost together."""

import sys

import herbs
import trees

PER_EURO = {"eur": 1.0, "dkk": 7.46}


def total_cents(names: list[str]) -> int:
    """Raises KeyError for a plant that is not in the catalog."""
    prices = {**herbs.PRICES, **trees.PRICES}
    return sum(prices[name] for name in names)


def main() -> None:
    currency, *names = sys.argv[1:]
    amount = total_cents(names) / 100 * PER_EURO[currency]
    print(f"{', '.join(names)}: {amount:.2f} {currency.upper()}")
