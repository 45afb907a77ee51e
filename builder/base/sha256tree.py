"""SHA256TREE: a hash of which every aligned power-of-two part is a hash of its own.

Up to 1,024 bytes it is SHA-256. A longer input is split at the largest power of two that is
smaller than its size; the hashes of both parts are one 64-byte block, which goes through
SHA-256's block cipher once: own initial state, no padding, no feed-forward addition. Source:
REAPI v2 `DigestFunction.SHA256TREE`.

Theory of operation. Leaves are 1,024 bytes. Like a binary counter, the stack holds one finished
subtree per set bit of the number of leaves; two of the same height merge as soon as it is known
that more bytes follow, for the last leaf's way up depends on where the input ends.
"""

from hashlib import sha256
from struct import Struct

LEAF_BYTES = 1024
WORDS_16 = Struct(">16I")
WORDS_8 = Struct(">8I")
MASK = 0xFFFFFFFF


def primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def root_fraction(number: int, power: int) -> int:
    """The first 32 bits of the fraction of the square (2) or cube (3) root, by integers alone."""
    scaled = number << (32 * power)
    low, high = 0, 1 << 40
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**power <= scaled else (low, middle)
    return low & MASK


ROUND_CONSTANTS = tuple(root_fraction(prime, 3) for prime in primes(64))  # FIPS 180-4, 4.2.2
# The square roots of the ninth to the sixteenth prime, 23 to 53; SHA-384 begins with them too.
INITIAL_STATE = tuple(root_fraction(prime, 2) for prime in primes(16)[8:])


def combine(left: bytes, right: bytes) -> bytes:
    """The hash of a node, from those of its two parts."""
    w = list(WORDS_16.unpack(left + right))
    for t in range(16, 64):
        x, y = w[t - 15], w[t - 2]
        s0 = (x >> 7 | x << 25) ^ (x >> 18 | x << 14) ^ (x >> 3)
        s1 = (y >> 17 | y << 15) ^ (y >> 19 | y << 13) ^ (y >> 10)
        w.append((w[t - 16] + (s0 & MASK) + w[t - 7] + (s1 & MASK)) & MASK)
    a, b, c, d, e, f, g, h = INITIAL_STATE
    for k, word in zip(ROUND_CONSTANTS, w, strict=True):
        s1 = ((e >> 6 | e << 26) ^ (e >> 11 | e << 21) ^ (e >> 25 | e << 7)) & MASK
        t1 = h + s1 + ((e & f) ^ (~e & g)) + k + word
        s0 = ((a >> 2 | a << 30) ^ (a >> 13 | a << 19) ^ (a >> 22 | a << 10)) & MASK
        t2 = s0 + ((a & b) ^ (a & c) ^ (b & c))
        h, g, f, e, d, c, b, a = g, f, e, (d + t1) & MASK, c, b, a, (t1 + t2) & MASK
    return WORDS_8.pack(a, b, c, d, e, f, g, h)


class Sha256Tree:
    """An incremental hasher in hashlib's shape."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._leaves = 0
        self._stack: list[bytes] = []

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._rest += data
        whole = (len(self._rest) - 1) // LEAF_BYTES if self._rest else 0
        for n in range(whole):
            self._push(sha256(self._rest[n * LEAF_BYTES : (n + 1) * LEAF_BYTES]).digest())
        del self._rest[: whole * LEAF_BYTES]

    def _push(self, node: bytes) -> None:
        """Add a leaf that is not the last one: each set low bit is a subtree that it completes."""
        count = self._leaves
        while count & 1:
            node = combine(self._stack.pop(), node)
            count >>= 1
        self._stack.append(node)
        self._leaves += 1

    def hexdigest(self) -> str:
        node = sha256(self._rest).digest()
        for left in reversed(self._stack):
            node = combine(left, node)
        return node.hex()
