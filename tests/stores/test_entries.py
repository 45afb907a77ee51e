"""Both ways of keeping entries, beside a plain dictionary."""

import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.base.digest import digest_of
from builder.stores.entries import SHIFT, Entries, OrderedEntries, PackedEntries, key_of, parts_of

KINDS = [OrderedEntries, PackedEntries]
FUNCTIONS = ["sha256", "blake3", "md5", "sha512"]
KEYS = [
    key_of(function, digest_of(b"%d" % n, function).hash)
    for function in FUNCTIONS
    for n in range(6)
]
STEPS = st.lists(st.tuples(st.sampled_from(KEYS), st.booleans(), st.integers(0, 2)), max_size=60)


def entry(tick: int, size: int = 70_000) -> int:
    return tick << SHIFT | size


@pytest.mark.parametrize("new", KINDS)
@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_they_hold_what_a_dictionary_holds(
    new: Callable[[], Entries], steps: list[tuple[str, bool, int]]
) -> None:
    """After any puts and pops the same is held, and what is old comes before what is not."""
    entries, plain, tick = new(), dict[str, int](), 1 << 40
    for key, put, later in steps:
        tick += later
        if put:
            entries.put(key, entry(tick))
            plain[key] = entry(tick)
        else:
            assert entries.pop(key) == plain.pop(key, None)
    entries.check()
    assert dict(entries.every()) == plain
    assert len(entries) == len(plain)
    assert {key: entries.get(key) for key in KEYS} == {key: plain.get(key) for key in KEYS}
    ticks = [one >> SHIFT for one in plain.values()]
    assert entries.oldest_tick() == min(ticks, default=None)
    assert dict(entries.aged(tick)) == plain
    assert {k for k, _ in entries.aged(tick - 2)} == {
        k for k, e in plain.items() if e >> SHIFT <= tick - 2
    }


@pytest.mark.parametrize("new", KINDS)
def test_the_oldest_come_first(new: Callable[[], Entries]) -> None:
    """Of many, the first tenth to come is of the oldest sixth."""
    entries = new()
    keys = [digest_of(b"%d" % n).hash for n in range(3000)]
    for number, key in enumerate(keys):
        entries.put(key, entry(number // 10))
    first = [one >> SHIFT for _, one in list(entries.aged(1 << 30))[:300]]
    assert max(first) <= 50
    for key, _ in list(entries.aged(1 << 30))[:300]:  # and again when those are gone
        entries.pop(key)
    assert max(one >> SHIFT for _, one in list(entries.aged(1 << 30))[:300]) <= 80


@pytest.mark.parametrize("new", KINDS)
def test_strange_ones_are_known(new: Callable[[], Entries]) -> None:
    """Of joined hashes, those that are held are not strange, and what was flagged out stays so."""
    entries = new()
    keys = [digest_of(b"%d" % n, "sha1") for n in range(5)]
    for one in keys[:2]:
        entries.put(key_of("sha1", one.hash), entry(1))
    joined = bytes.fromhex("".join(one.hash for one in keys))
    flags = [True, True, True, True, False]
    assert entries.strange("sha1", joined, flags) == [False, False, True, True, False]


@pytest.mark.parametrize(
    "wrong", ["", "00", "zz" * 32, "A" * 64, "0" * 63, "0" * 65, "no/" + "0" * 64]
)
def test_what_is_no_hash_is_not_held(wrong: str) -> None:
    """Keys that are no lower-case hash of their function are absent."""
    entries = PackedEntries()
    entries.put(digest_of(b"").hash, entry(1))
    entries.put("a" * 64, entry(1))
    assert entries.get(wrong) is None
    assert entries.pop(wrong) is None


def test_keys_have_two_parts() -> None:
    """A key without a function is of SHA-256."""
    assert [parts_of(key_of(f, "00")) for f in FUNCTIONS] == [(f, "00") for f in FUNCTIONS]


def test_packed_ones_take_less_than_100_bytes() -> None:
    """For each blob that is a file. (Measured with more: bench store.)"""
    entries = PackedEntries()
    for number in range(50_000):
        entries.put(f"{number * 0x9E3779B97F4A7C15 % 2**64:064x}"[::-1], entry(number // 100))
    buckets = [bucket for table in entries._buckets.values() for bucket in table]
    assert sum(map(sys.getsizeof, buckets)) / len(entries) < 100
