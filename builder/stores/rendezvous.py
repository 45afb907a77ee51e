"""Weighted rendezvous hashing: which of several places a name belongs to.

Every place scores every name; the best score wins. So a place that is added takes only what it
wins, a place that is removed gives only what it had, and a place's share is its weight's.
Source: Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005), the logarithmic
method: score = weight / -ln(u), u uniform in (0, 1) from the hash of name and place.
"""

import math
from collections.abc import Mapping

from blake3 import blake3


def ranked(name: str, weights: Mapping[str, float]) -> list[str]:
    """The places by descending score; `weights` are more than 0."""
    scores = {place: weight / -math.log(_uniform(name, place)) for place, weight in weights.items()}
    return sorted(scores, key=lambda place: (-scores[place], place))


def _uniform(name: str, place: str) -> float:
    """In (0, 1), both ends left out."""
    number = int.from_bytes(blake3(f"{place}\0{name}".encode()).digest(8), "big")
    return ((number >> 12) + 0.5) / 2**52
