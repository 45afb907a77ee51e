"""What the soak stores, and what it was promised; see `soak`."""

import random
import time
from dataclasses import dataclass, field

from builder.base.digest import Digest, digest_of
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb

MIB = 1024 * 1024
REFERENCED = 6  # blobs of one action result, three of them only through its tree
BANDS = ((0.6, 200, 20_000), (0.85, 20_000, 100_000), (0.97, 100_000, MIB), (1.0, MIB, 6 * MIB))


class Content:
    """Blobs by number, made again whenever they are needed: together `total_bytes` or more."""

    def __init__(self, total_bytes: int, seed: int) -> None:
        self.chance = random.Random(seed)
        self._seed = seed
        self.digests: list[Digest] = []
        self.total_bytes = 0
        while self.total_bytes < total_bytes or len(self.digests) < REFERENCED:
            self.digests.append(digest_of(self.data(len(self.digests))))
            self.total_bytes += self.digests[-1].size_bytes

    def data(self, number: int) -> bytes:
        chance = random.Random(self._seed << 32 | number)
        draw = chance.random()
        low, high = next((low, high) for upto, low, high in BANDS if draw < upto)
        text = b"line %d of blob %d\n" % (chance.randrange(9), number)
        size = chance.randrange(low, high)
        return chance.randbytes(size) if number % 3 else (text * (size // len(text) + 1))[:size]

    def some(self, count: int) -> list[int]:
        return self.chance.sample(range(len(self.digests)), count)

    def result(self, number: int) -> tuple[list[int], bytes, pb.ActionResult]:
        """(the numbers of all that it needs, the tree's bytes, an action result)."""
        numbers = random.Random(number).sample(range(len(self.digests)), REFERENCED)
        named = [to_proto(self.digests[one]) for one in numbers]
        half = REFERENCED // 2
        nodes = [pb.FileNode(name=f"f{n}", digest=one) for n, one in enumerate(named[half:])]
        tree = pb.Tree(root=pb.Directory(files=nodes)).SerializeToString()
        directory = pb.OutputDirectory(path="d", tree_digest=to_proto(digest_of(tree)))
        files = [pb.OutputFile(path=f"o{n}", digest=one) for n, one in enumerate(named[:half])]
        return numbers, tree, pb.ActionResult(output_files=files, output_directories=[directory])


@dataclass
class Ledger:
    """Until when each blob certainly stays, by this machine's clock, and what was broken."""

    lease_s: float
    until: dict[Digest, float] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, more: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + more

    def promised(self, digest: Digest, asked_at: float) -> None:
        """The service said at `asked_at` or later that it is there."""
        self.until[digest] = max(self.until.get(digest, 0.0), asked_at + self.lease_s)

    def holds(self, digest: Digest) -> bool:
        """Whether it has to be there now."""
        return self.until.get(digest, 0.0) > time.time()

    def absent(self, digest: Digest, how: str) -> None:
        """The service has just said that it is not there."""
        left = self.until.get(digest, 0.0) - time.time()
        if left > 0:
            self.broken(f"{how}: {digest} is gone {left:.1f} s before its lease ends")
            del self.until[digest]  # told once

    def broken(self, what: str) -> None:
        self.violations.append(f"{time.strftime('%H:%M:%S')} {what}")

    def live(self) -> list[Digest]:
        """All that has to be there now."""
        now = time.time()
        self.until = {digest: until for digest, until in self.until.items() if until > now}
        return list(self.until)
