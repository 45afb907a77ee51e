import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.base.sha256tree import INITIAL_STATE, ROUND_CONSTANTS, Sha256Tree, combine


def sample(size: int) -> bytes:
    return bytes(itertools.islice(itertools.cycle(range(251)), size))


def tree_hash(data: bytes) -> str:
    state = Sha256Tree()
    state.update(data)
    return state.hexdigest()


def reference(data: bytes) -> bytes:
    """The definition, word for word: split at the largest power of two below the size."""
    if len(data) <= 1024:
        from hashlib import sha256

        return sha256(data).digest()
    split = 1 << ((len(data) - 1).bit_length() - 1)
    return combine(reference(data[:split]), reference(data[split:]))


def test_the_constants_are_those_of_the_standard() -> None:
    """FIPS 180-4 gives the first and the last round constant; the state is that of SHA-384."""
    assert (ROUND_CONSTANTS[0], ROUND_CONSTANTS[63]) == (0x428A2F98, 0xC67178F2)
    assert INITIAL_STATE[:2] == (0xCBBB9D5D, 0x629A292A)


@pytest.mark.parametrize(
    ("size", "begins"),
    [
        (1025, "36c0998b21839ef7"),
        (2048, "b584996386f01793"),
        (2049, "7318d2029b0392ed"),
        (102400, "0668d69e5331840d"),
    ],
)
def test_published_vectors(size: int, begins: str) -> None:
    """The bytes 0 to 250, again and again."""
    assert tree_hash(sample(size)).startswith(begins)


@given(st.integers(0, 6000), st.lists(st.integers(1, 2500), max_size=8))
def test_pieces_do_not_matter(size: int, cuts: list[int]) -> None:
    """Fed in any pieces it is what the definition says of the whole."""
    data = sample(size)
    state, at = Sha256Tree(), 0
    for cut in cuts:
        state.update(data[at : at + cut])
        at += cut
    state.update(data[at:])
    assert state.hexdigest() == reference(data).hex()
