"""The check of a small blob's stored bytes, which each read compares.

XXH3: two kilobytes take 0.15 us, where a CRC-32 takes 1.3 and SHA-256 three. What it doubts is
hashed with the blob's own function. It is in the index only, never in a segment.
"""

from xxhash import xxh3_64_intdigest

MASK = (1 << 32) - 1


def check_of(stored: bytes | bytearray | memoryview) -> int:
    """32 bits."""
    return xxh3_64_intdigest(stored) & MASK
