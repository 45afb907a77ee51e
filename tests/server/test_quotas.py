"""What an instance may hold of what it uploads, and what happens beyond it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from builder.assembly.upload_quotas import families, quotas_of, usage
from builder.base.digest import Digest, digest_of
from builder.base.errors import InvalidArgumentError, ResourceExhaustedError
from builder.config.settings import Store, UploadQuota
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.counted import CAS, bounded
from builder.server.quotas import Most, Quotas, Usage
from builder.server.usage_log import UsageLog
from builder.stores.action_cache import CheckedActionCache
from builder.stores.index import TICKS_PER_LEASE
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords
from builder.stores.remote import RemoteBlobStore
from tests.server.direct import DirectChannel
from tests.stores.conftest import Time, services_of

HOUR = 3600.0
MIB = 1024 * 1024


@pytest.fixture
def clock() -> Time:
    return Time()


def named(number: int, size: int) -> Digest:
    return Digest(f"{number:064x}", size)


def used(quotas: Quotas) -> dict[str, int]:
    return {one.instance: one.used_bytes for one in quotas.usage()}


def test_an_instance_may_hold_so_much_and_no_more(clock: Time) -> None:
    """Up to the quota; then it is told what, and what to do, until leases have ended."""
    quotas = Quotas({"a": Most(100)}, HOUR, clock)
    quotas.take("a", [named(1, 60)])
    clock.now += HOUR / 2
    quotas.take("a", [named(2, 40)])
    with pytest.raises(ResourceExhaustedError, match=r"'a' holds 100 B of 100 B .* store\.quotas"):
        quotas.take("a", [named(3, 1)])
    quotas.take("b", [named(3, 10**12)])  # has none
    assert quotas.usage() == [Usage("a", 100, 2, Most(100), 1)]
    clock.now += HOUR / 2 + 2 * HOUR / TICKS_PER_LEASE
    quotas.take("a", [named(3, 60)])
    assert used(quotas) == {"a": 100}
    clock.now += 2 * HOUR
    assert used(quotas) == {"a": 0}


def test_a_blob_counts_once_as_long_as_it_is_promised(clock: Time) -> None:
    """However often it comes; asking for it promises it anew, and what was never held does not."""
    quotas = Quotas({"a": Most(100)}, HOUR, clock)
    for _ in range(5):
        quotas.take("a", [named(1, 60), named(1, 60)])
    assert used(quotas) == {"a": 60}
    for _ in range(3):
        clock.now += HOUR * 0.9
        quotas.renew("a", "sha256", [named(1, 60), named(2, 7)])
        assert used(quotas) == {"a": 60}
    clock.now += HOUR * 1.1
    assert used(quotas) == {"a": 0}


def test_a_batch_is_taken_whole_or_not_at_all(clock: Time) -> None:
    """And blobs have a bound of their own."""
    quotas = Quotas({"a": Most(10**9, 3)}, HOUR, clock)
    quotas.take("a", [named(1, 1), named(2, 1)])
    with pytest.raises(ResourceExhaustedError, match="in 2 of 3 blobs"):
        quotas.take("a", [named(3, 1), named(4, 1)])
    assert used(quotas) == {"a": 2}
    quotas.take("a", [named(1, 1), named(3, 1)])
    assert used(quotas) == {"a": 3}


def test_others_have_a_quota_each(clock: Time) -> None:
    """`*` is one for every instance that is not named; beyond many they share it."""
    quotas = Quotas({"*": Most(10), "big": Most(100)}, HOUR, clock)
    quotas.take("big", [named(0, 100)])
    for name in ("x", "y"):
        quotas.take(name, [named(0, 10)])
        with pytest.raises(ResourceExhaustedError):
            quotas.take(name, [named(1, 1)])
    for number in range(2 * Quotas.MOST_INSTANCES):
        quotas.renew(f"n{number}", "sha256", [])
    assert len(quotas.usage()) == Quotas.MOST_INSTANCES + 1


@pytest.mark.parametrize("size", [1000, 3 * MIB])
@pytest.mark.parametrize("function", ["sha256", "blake3"])
async def test_uploads_count_and_are_refused(clock: Time, size: int, function: str) -> None:
    """In batches and by ByteStream, of that instance alone; reading and asking are free, and so is
    what is there already."""
    quotas = Quotas({"small": Most(size + 500)}, HOUR, clock)
    far = MemoryBlobStore(64 * MIB)
    channel = DirectChannel(*bounded(services_of(far), quotas))
    small, other = RemoteBlobStore(channel, "small"), RemoteBlobStore(channel, "other")
    first, second = bytes(size), b"1" * size
    one, two = digest_of(first, function), digest_of(second, function)
    await small.put(one, first)
    assert used(quotas) == {"small": size}
    assert await small.get(one) == first
    await small.put(one, first)
    assert await small.find_missing([two]) == [two]
    assert used(quotas) == {"small": size}
    with pytest.raises(ResourceExhaustedError, match=r"store\.quotas"):
        await small.put(two, second)
    assert await small.find_missing([two]) == [two]
    await other.put(two, second)
    assert await far.get(two) == second
    for ask in (small.find_missing([one]), small.get(one)):
        clock.now += HOUR * 0.9
        await ask
        assert used(quotas) == {"small": size}
    clock.now += HOUR * 0.9
    assert used(quotas) == {"small": size}


async def test_what_is_no_digest_hides_no_other(clock: Time) -> None:
    """A batch with a wrong digest among others counts the others."""
    quotas = Quotas({"a": Most(100)}, HOUR, clock)
    channel = DirectChannel(*bounded(services_of(MemoryBlobStore(MIB)), quotas))

    async def upload(blobs: Sequence[bytes]) -> None:
        request = pb.BatchUpdateBlobsRequest(instance_name="a")
        request.requests.add(digest=pb.Digest(hash="G" * 64, size_bytes=1), data=b"x")
        for data in blobs:
            request.requests.add(digest=to_proto(digest_of(data)), data=data)
        await channel.unary(f"{CAS}BatchUpdateBlobs", request.SerializeToString())

    await upload([bytes(90)])
    assert used(quotas) == {"a": 90}
    with pytest.raises(ResourceExhaustedError):
        await upload([b"1" * 90])
    with pytest.raises(InvalidArgumentError):
        await channel.unary(f"{CAS}BatchUpdateBlobs", b"\x0a\x01a\xff")


def test_results_count_and_are_bounded(clock: Time) -> None:
    """By number and, with the blobs, by bytes; one that is written again counts once, as it is
    now."""
    quotas = Quotas({"a": Most(100, 0, 2), "b": Most(100)}, HOUR, clock)
    quotas.take_result("a", named(1, 7), 30)
    quotas.take_result("a", named(2, 7), 30)
    with pytest.raises(ResourceExhaustedError, match="and 2 of 2 results"):
        quotas.take_result("a", named(3, 7), 1)
    quotas.take_result("a", named(1, 7), 20)
    assert quotas.usage()[0] == Usage("a", 50, 0, Most(100, 0, 2), 1, 2)
    quotas.take("a", [named(1, 50)])  # a blob of the same hash is another thing
    with pytest.raises(ResourceExhaustedError):
        quotas.take_result("a", named(1, 7), 21)
    with pytest.raises(ResourceExhaustedError):
        quotas.take("a", [named(2, 1)])
    quotas.take_result("b", named(1, 7), 100)
    quotas.take_result("c", named(1, 7), 10**12)
    assert used(quotas) == {"a": 100, "b": 100}
    clock.now += 2 * HOUR
    assert used(quotas) == {"a": 0, "b": 0}


@pytest.mark.parametrize("is_inline", [True, False])
async def test_kept_results_count_whoever_keeps_them(clock: Time, is_inline: bool) -> None:
    """A refused one is not kept, and what was kept before stays; looking one up promises it anew,
    with the blobs that it references."""
    quotas = Quotas({"a": Most(10_000, 0, 1)}, HOUR, clock)
    blobs = MemoryBlobStore(MIB, HOUR, clock)
    cache = CheckedActionCache(blobs, MemoryRecords(MIB, clock), now=clock, account=quotas)
    held, other = digest_of(b"held"), digest_of(b"other")
    await blobs.put(held, b"held")
    await blobs.put(other, b"other")
    quotas.take("a", [held])
    result = pb.ActionResult()
    result.output_files.add(path="held", digest=to_proto(held))
    result.output_files.add(path="other", digest=to_proto(other))

    async def store(instance: str, action: Digest) -> None:
        if not is_inline or not cache.store_nowait(instance, action, result):
            await cache.store(instance, action, result)

    await store("a", held)
    await store("free", held)
    await store("free", other)
    before = quotas.usage()[0]
    assert (before.blobs, before.results) == (1, 1)
    assert before.used_bytes > len(b"held") + result.ByteSize()
    with pytest.raises(ResourceExhaustedError):
        await store("a", other)
    assert await cache.lookup("a", other) is None
    for _ in range(3):
        clock.now += HOUR * 0.9
        assert await cache.lookup("a", held) == result
        assert replace(quotas.usage()[0], refused=0) == before
    clock.now += HOUR * 2
    assert used(quotas) == {"a": 0}


class Kept:
    """Quotas of a store whose directory is given, each as after a restart."""

    def __init__(self, root: Path, clock: Time) -> None:
        self.root, self.clock = root, clock

    def quotas(self, lease_s: float = HOUR) -> Quotas:
        log = UsageLog(self.root, lease_s)
        quotas = Quotas({"a": Most(10**9), "*": Most(10**9)}, lease_s, self.clock, log.keep)
        quotas.load(quotas.restored(log.read(self.clock())))
        return quotas


def test_a_restart_begins_with_what_is_held(tmp_path: Path, clock: Time) -> None:
    """After any number of them; each lease ends when it would have ended without."""
    kept = Kept(tmp_path, clock)
    quotas = kept.quotas()
    strange = "b c/\n%é"
    quotas.take("a", [named(1, 10), digest_of(b"x", "blake3"), digest_of(b"y", "sha512")])
    quotas.take(strange, [named(1, 5)])
    quotas.take_result("a", named(2, 7), 20)
    quotas.take_result("a", named(2, 7), 25)
    told = quotas.usage()
    assert [(one.instance, one.used_bytes) for one in told] == [("a", 37), (strange, 5)]
    for _ in range(3):
        quotas = kept.quotas()
        assert quotas.usage() == told
    clock.now += HOUR * 0.9
    quotas.renew("a", "sha256", [named(1, 10), named(9, 10)])
    quotas.renew_result("a", named(2, 7), [])
    clock.now += HOUR * 0.9
    for _ in range(2):
        quotas = kept.quotas()
        assert used(quotas) == {"a": 35}
    clock.now += 2 * HOUR
    assert used(kept.quotas()) == {"a": 0}
    assert list(tmp_path.iterdir()) == []


def test_what_came_while_loading_counts_once(tmp_path: Path, clock: Time) -> None:
    """Uploads are taken before the files are read."""
    Kept(tmp_path, clock).quotas().take("a", [named(1, 10), named(2, 10)])
    clock.now += HOUR / 2
    log = UsageLog(tmp_path, HOUR)
    quotas = Quotas({"a": Most(10**9)}, HOUR, clock, log.keep)
    quotas.take("a", [named(2, 10), named(3, 10)])
    assert used(quotas) == {"a": 20}
    quotas.load(quotas.restored(log.read(clock())))
    assert used(quotas) == {"a": 30}
    clock.now += HOUR * 0.75
    assert used(quotas) == {"a": 20}


def test_damaged_lines_count_for_nothing(tmp_path: Path, clock: Time) -> None:
    """A kill may cut the last one short, and a disk may give anything; the others count."""
    Kept(tmp_path, clock).quotas().take("a", [named(1, 10), named(2, 10)])
    [path] = tmp_path.iterdir()
    whole = path.read_bytes()
    for cut in range(len(whole)):
        for left in (whole[:cut], whole[:cut] + b"\xff\n\x00" + whole[cut + 5 :]):
            path.write_bytes(left)
            assert used(Kept(tmp_path, clock).quotas()).get("a", 0) in {0, 1, 10, 11, 20}


def test_files_are_removed_when_nothing_in_them_counts(tmp_path: Path, clock: Time) -> None:
    """By a process that goes on: they are a handful, however long it runs."""
    quotas = Kept(tmp_path, clock).quotas()
    for number in range(60):
        quotas.take("a", [named(number, 1)])
        clock.now += HOUR / 8
        assert len(list(tmp_path.iterdir())) <= 7
    assert used(Kept(tmp_path, clock).quotas()) == used(quotas) == {"a": 8}


def test_a_disk_that_takes_nothing_refuses_nobody(tmp_path: Path, clock: Time) -> None:
    """What could not be written down counts until the next start; later it can be again."""
    kept = Kept(tmp_path / "usage", clock)
    quotas = kept.quotas()
    kept.root.rmdir()
    quotas.take("a", [named(1, 10)])
    assert used(quotas) == {"a": 10}
    kept.root.mkdir()
    quotas.take("a", [named(2, 5)])
    assert used(kept.quotas()) == {"a": 5}


def test_services_without_quotas_are_left_alone() -> None:
    """The very same objects."""
    services = services_of(MemoryBlobStore(MIB))
    assert bounded(services, quotas_of(Store())) == list(services)
    assert list(families(quotas_of(Store()))) == []


def test_usage_is_told() -> None:
    """In the status and in the metrics, of those that have a quota."""
    quotas = quotas_of(Store(quotas=(UploadQuota("a", 10, 5, 4), UploadQuota("*", 20))))
    quotas.take("a", [named(1, 3), named(2, 4)])
    quotas.take("b", [named(1, 5)])
    told = [(one.name, one.uploaded_bytes, one.quota_bytes) for one in usage(quotas)]
    assert told == [("a", 7, 10), ("b", 5, 20)]
    quotas.take_result("a", named(1, 7), 2)
    assert [(one.blobs, one.quota_blobs) for one in usage(quotas)] == [(2, 5), (1, 0)]
    assert [(one.results, one.quota_results) for one in usage(quotas)] == [(1, 4), (0, 0)]
    found = {family.name: family.values for family in families(quotas)}
    assert found["builder_instance_uploaded_bytes"] == {("a",): 9.0, ("b",): 5.0}
    assert found["builder_instance_results"] == {("a",): 1.0, ("b",): 0.0}
    assert found["builder_instance_quota_results"] == {("a",): 4.0, ("b",): 0.0}
    assert found["builder_instance_quota_bytes"] == {("a",): 10.0, ("b",): 20.0}
    assert found["builder_instance_uploaded_blobs"] == {("a",): 2.0, ("b",): 1.0}
