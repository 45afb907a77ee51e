"""Storage that is put together, from the file to the wire: what a tier's death does to it."""

import json
import os
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from builder.assembly.composition import object_options
from builder.assembly.coordinator import Coordinator, open_coordinator
from builder.assembly.pages import open_pages
from builder.assembly.settings import load_settings
from builder.assembly.sighting import Sighting
from builder.base.digest import Digest, digest_of
from builder.base.errors import NotFoundError, UnavailableError, UsageError
from builder.config.kinds import Address, Secret
from builder.config.settings import Artifacts, Metrics, Settings
from builder.config.storage import ObjectTier
from builder.net.channel import Channel
from builder.reapi.digests import to_proto
from builder.reapi.pb import control_pb2, operations_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.execution import NAME as EXECUTION
from builder.stores.disk import DiskBlobStore
from builder.stores.disk_records import DiskRecords
from builder.stores.object import ObjectBlobs, opened
from builder.stores.remote import RemoteActionCache, RemoteBlobStore
from tests.stores.servers import BUCKET, RedisProcess, redis_process, s3_options

BASE = """
role: coordinator
coordinator: {{listen: 127.0.0.1:0}}
reapi: {{listen: 127.0.0.1:0}}
artifacts: {{enabled: false}}
metrics: {{enabled: false}}
store: {{path: {root}/store}}
"""
REDIS = """
storage:
  blobs:
    tiered:
      near: {{disk: {{path: {root}/blobs, max_size: 64MiB}}}}
      far: {{redis: {{url: {url}, timeout: 20s}}}}
  results:
    tiered:
      near: {{memory: {{max_size: 1MiB}}}}
      far: {{redis: {{url: {url}, timeout: 20s}}}}
"""


ON_A_PORT = Settings(
    metrics=Metrics(enabled=False), artifacts=Artifacts(listen=Address("127.0.0.1", 0))
)


@asynccontextmanager
async def coordinator(root: Path, text: str, **values: str) -> AsyncIterator[Coordinator]:
    """A coordinator of this configuration, which is a template of `root` and `values`."""
    path = root / "config.yaml"
    path.write_text((BASE + text).format(root=root, **values))
    settings, _ = load_settings(str(path), {}, {})
    async with open_coordinator(settings) as made:
        made.ready()
        yield made


def some(count: int, seed: int, size: int = 900) -> dict[Digest, bytes]:
    chance = random.Random(seed)
    data = [chance.randbytes(size) for _ in range(count)]
    return {digest_of(one): one for one in data}


async def look_until(made: Coordinator, well: bool) -> None:
    """Look at ourselves until the storage is so."""
    with trio.fail_after(60):
        while (not any("storage tier" in one for one in made.wellbeing.sentences())) != well:
            await made.wellbeing.look()
            await trio.sleep(0.01)


ACCOUNT = json.dumps(
    {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
)


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    with redis_process() as server:
        yield server


async def test_redis_dies_during_a_run(tmp_path: Path, redis: RedisProcess) -> None:
    """Nothing fails while it is away or when it comes back empty; health and metrics tell."""
    async with (
        coordinator(tmp_path, REDIS, url=redis.url) as made,
        Channel(made.reapi) as channel,
    ):
        store, results = RemoteBlobStore(channel), RemoteActionCache(channel)
        told: set[Digest] = set()

        async def build(seed: int) -> None:
            """Upload what is missing, then read all that was ever said to be present."""
            blobs = some(20, seed)
            for digest in await store.find_missing(blobs):
                await store.put(digest, blobs[digest])
            told.update(blobs)
            assert await store.find_missing(told) == []
            for digest in told:
                assert digest_of(await store.get(digest)) == digest
            [first, *_] = blobs
            result = pb.ActionResult(output_files=[pb.OutputFile(path="f", digest=to_proto(first))])
            await results.store("", first, result)
            assert await results.lookup("", first) == result

        await build(1)
        redis.kill()
        await build(2)
        await look_until(made, well=False)
        assert "storage tier blobs.far is down: Redis" in "\n".join(made.wellbeing.sentences())
        assert made.is_ready()
        assert b'builder_tier_up{tier="blobs.far"} 0.0' in made.metrics.expose()
        tiers = {one.name: one for one in made.control.status(details=False).tiers}
        assert tiers["blobs.far"].trouble.startswith("Redis")
        assert (tiers["blobs.near"].kind, tiers["blobs.near"].trouble) == ("disk", "")
        assert tiers["blobs.near"].hits > 0
        await build(3)
        redis.start()
        await look_until(made, well=True)
        await build(4)
        figures = made.metrics.expose()
    assert b'builder_tier_up{tier="blobs.far"} 1.0' in figures
    assert b'builder_tier_hits_total{tier="blobs.near"}' in figures
    assert b'builder_tier_seconds_count{operation="put",tier="blobs.far"}' in figures
    assert b'builder_store_used_bytes{store="blobs.near"}' in figures


async def test_what_one_coordinator_stored_another_one_has(
    tmp_path: Path, redis: RedisProcess
) -> None:
    """Two services with nothing in common but Redis: a result and its blobs are hits of the other,
    and what only Redis has is on the disk before it is promised."""
    blobs = some(3, 5)
    action, *outputs = blobs
    result = pb.ActionResult(
        output_files=[pb.OutputFile(path=one.hash, digest=to_proto(one)) for one in outputs]
    )
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with (
        coordinator(tmp_path / "one", REDIS, url=redis.url) as made,
        Channel(made.reapi) as channel,
    ):
        for digest, data in blobs.items():
            await RemoteBlobStore(channel).put(digest, data)
        await RemoteActionCache(channel).store("", action, result)
    async with (
        coordinator(tmp_path / "two", REDIS, url=redis.url) as made,
        Channel(made.reapi) as channel,
    ):
        assert await RemoteActionCache(channel).lookup("", action) == result
        redis.kill()
        for digest in outputs:
            assert await RemoteBlobStore(channel).get(digest) == blobs[digest]


FAR = """
storage:
  blobs:
    tiered:
      near: {{disk: {{path: {root}/blobs, max_size: 64MiB}}}}
      far: {{remote: {{address: "{address}", instance: shared}}}}
      write: {write}
      queue: {queue}
  results:
    tiered:
      near: {{disk: {{path: {root}/results}}}}
      far: {{remote: {{address: "{address}", instance: shared}}}}
"""


@pytest.mark.parametrize("write", ["through", "back"])
async def test_another_builder_behind_a_disk(tmp_path: Path, write: str) -> None:
    """A remote tier is another service: it gets what is written, and gives what the near disk has
    lost; when it ends, the near one goes on."""
    blobs = {**some(10, 6), **some(2, 7, 3_000_000)}
    [action, *_] = blobs
    result = pb.ActionResult(stdout_digest=to_proto(action))
    for name in ("far", "near", "fresh"):
        (tmp_path / name).mkdir()
    async with coordinator(tmp_path / "far", "") as far, Channel(far.reapi) as to_far:
        values = {"address": far.reapi, "write": write, "queue": "{}"}
        if write == "back":
            values["queue"] = f"{{path: {tmp_path}/queue}}"
        async with (
            coordinator(tmp_path / "near", FAR, **values) as near,
            Channel(near.reapi) as channel,
        ):
            store = RemoteBlobStore(channel)
            for digest, data in blobs.items():
                await store.put(digest, data)
            await RemoteActionCache(channel).store("", action, result)
        values["queue"] = "{}"
        assert await RemoteBlobStore(to_far).find_missing(blobs) == []
        async with (
            coordinator(tmp_path / "fresh", FAR, **values) as near,
            Channel(near.reapi) as channel,
        ):
            store = RemoteBlobStore(channel)
            assert await RemoteActionCache(channel).lookup("", action) == result
            assert await store.find_missing(blobs) == []
            for digest, data in blobs.items():
                assert await store.get(digest) == data
            for server in far.servers:
                await server.drain(0.0)
            more = some(5, 8)
            for digest, data in more.items():
                await store.put(digest, data)
            assert await store.find_missing([*blobs, *more]) == []
            for digest, data in {**blobs, **more}.items():
                assert await store.get(digest) == data


BUCKETS = """
storage:
  blobs:
    sharded:
      shards:
        - {{name: a, store: {{object: {a}}}}}
        - {{name: b, weight: 2, store: {{mirrored: {{a: {{object: {b}}}, b: {{memory: {{}}}}}}}}}}
  results:
    metered: {{name: results-bucket, store: {{object: {a}}}}}
"""


async def test_blobs_in_buckets(tmp_path: Path) -> None:
    """Shards, mirrors and buckets below each other; the artifact store's names have no sizes."""

    def bucket(prefix: str) -> str:
        options = s3_options()
        return (
            f"{{url: 's3://{BUCKET}/{tmp_path.name}/{prefix}', endpoint: '{options['endpoint']}', "
            f"access_key: test, secret_key: test, options: {{region: us-east-1}}}}"
        )

    blobs = {**some(10, 9), **some(1, 10, 9_000_000)}
    [action, *_] = blobs
    result = pb.ActionResult(stdout_digest=to_proto(action))
    values = {"a": bucket("a"), "b": bucket("b")}
    async with (
        coordinator(tmp_path, BUCKETS, **values) as made,
        Channel(made.reapi) as channel,
    ):
        store = RemoteBlobStore(channel)
        for digest, data in blobs.items():
            await store.put(digest, data)
        await RemoteActionCache(channel).store("", action, result)
        assert {tier.name: tier.kind for tier in made.stores.tiers} == {
            "blobs.a": "object",
            "blobs.b.a": "object",
            "blobs.b.b": "memory",
            "results-bucket": "object",
        }
        for digest in blobs:
            assert await made.stores.blobs.size_of("sha256", digest.hash) == digest.size_bytes
    async with (
        coordinator(tmp_path, BUCKETS, **values) as made,
        Channel(made.reapi) as channel,
    ):
        assert await RemoteActionCache(channel).lookup("", action) == result
        for digest, data in blobs.items():
            assert await RemoteBlobStore(channel).get(digest) == data


ALONE = """
storage:
  blobs: {{remote: {{address: "{address}"}}}}
"""


async def test_storage_that_cannot_serve_is_not_ready(tmp_path: Path) -> None:
    """Where no other tier stands in, a tier that is down takes the service out of rotation."""
    async with coordinator(tmp_path, ALONE, address="127.0.0.1:9") as made:
        await look_until(made, well=False)
        assert not made.is_ready()
        [sentence] = made.wellbeing.sentences()
        assert sentence.startswith("storage tier blobs is down: ")


async def test_a_disk_tier_that_cannot_be_written_is_down(tmp_path: Path) -> None:
    """It shows in health, and the far tier serves."""
    text = """
storage:
  blobs: {{tiered: {{near: {{disk: {{path: {root}/blobs}}}}, far: {{memory: {{}}}}}}}}
"""
    async with coordinator(tmp_path, text) as made:
        blobs = tmp_path / "blobs"
        blobs.rename(tmp_path / "gone")
        await look_until(made, well=False)
        assert made.is_ready()
        [sentence] = made.wellbeing.sentences()
        assert "storage tier blobs.near is down" in sentence
        os.rename(tmp_path / "gone", blobs)
        await look_until(made, well=True)


async def test_a_plain_store_has_nothing_around_it(tmp_path: Path) -> None:
    """What is not composed is used as it is: no call goes through anything more."""
    async with coordinator(tmp_path, "") as made:
        assert type(made.stores.blobs) is DiskBlobStore
        assert type(made.stores.records) is DiskRecords
        assert made.stores.every_cache() is made.stores.cache
        assert [tier.meter for tier in made.stores.tiers] == [None, None]


async def test_pages_read_where_the_instance_stores(tmp_path: Path) -> None:
    """What people are shown of an action comes from the storage of its instance, HTTP included."""
    command = pb.Command(arguments=["cc", "-c", "a.c"])
    root = pb.Directory(files=[pb.FileNode(name="a.c", digest=to_proto(digest_of(b"int a;")))])
    action = pb.Action(
        command_digest=to_proto(digest_of(command.SerializeToString())),
        input_root_digest=to_proto(digest_of(root.SerializeToString())),
    )
    parts = [one.SerializeToString() for one in (command, root, action)]
    named = digest_of(parts[-1])
    async with coordinator(tmp_path, ROUTES) as made, Channel(made.reapi) as channel:
        blobs = RemoteBlobStore(channel, "release")
        for data in (*parts, b"int a;"):
            await blobs.put(digest_of(data), data)
        await RemoteActionCache(channel).store("release", named, pb.ActionResult())
        request = pb.ExecuteRequest(instance_name="release", action_digest=to_proto(named))
        async with channel.stream(f"/{EXECUTION}/Execute") as call:
            await call.send(request.SerializeToString())
            await call.done_sending()
            operation = operations_pb2.Operation.FromString(await call.receive() or b"")
        details = await made.control.actions.get(control_pb2.GetActionRequest(id=operation.name))
        assert details.command == command
        assert [one.path for one in details.inputs] == ["a.c"]
        sight = Sighting(made)
        file = (await sight.inputs(operation.name, "a.c")).file
        assert file == digest_of(b"int a;")
        assert b"".join([piece async for piece in sight.read(operation.name, file)]) == b"int a;"
        async with trio.open_nursery() as nursery, open_pages(ON_A_PORT) as pages:
            nursery.start_soon(pages.serve, made)
            async with httpx.AsyncClient(
                base_url=f"http://{pages.addresses[0]}", timeout=60.0
            ) as client:
                answer = await client.get(f"/release/next/cas/{named.hash}", timeout=60)
                assert (answer.status_code, answer.content) == (200, parts[-1])
                assert (await client.get(f"/main/cas/{named.hash}", timeout=60)).status_code == 404
            pages.stop()


async def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    """As with a plain store: another service has it."""
    text = "storage: {{blobs: {{disk: {{path: {root}/blobs}}}}}}"
    async with coordinator(tmp_path, text):
        (tmp_path / "other").mkdir()
        other = text.replace("{root}", "{root}/..")
        with pytest.raises(UsageError, match="in use by process"):
            async with coordinator(tmp_path / "other", other):
                pass


ROUTES = """
storage:
  routes:
    - instances: [release, release/next]
      blobs: {{memory: {{}}}}
      results: {{memory: {{}}}}
    - instances: [scratch]
      results: {{memory: {{}}}}
"""


async def test_instances_with_storage_of_their_own(tmp_path: Path) -> None:
    """Blobs and results of a routed instance are nobody else's; one that has only its own results
    shares the blobs of all others. Small and large ones, by every way in."""
    blobs = {**some(3, 11), **some(1, 12, 3_000_000)}
    [action, *_] = blobs
    result = pb.ActionResult(stdout_digest=to_proto(action))
    async with coordinator(tmp_path, ROUTES) as made, Channel(made.reapi) as channel:
        stores = {
            name: RemoteBlobStore(channel, name)
            for name in ("", "main", "release", "release/next", "scratch")
        }
        results = RemoteActionCache(channel)
        for digest, data in blobs.items():
            await stores["release"].put(digest, data)
        await results.store("release", action, result)
        assert await stores["release/next"].find_missing(blobs) == []
        for name in ("", "main", "scratch"):
            assert await stores[name].find_missing(blobs) == list(blobs)
            assert await results.lookup(name, action) is None
            with pytest.raises(NotFoundError):
                await stores[name].get(action)
        for digest, data in blobs.items():
            assert await stores["release/next"].get(digest) == data
            await stores["scratch"].put(digest, data)
        assert await stores["main"].find_missing(blobs) == []
        await results.store("scratch", action, result)
        assert await results.lookup("main", action) is None
        assert await results.lookup("release/next", action) is None  # as ever: by instance
        assert await results.lookup("release", action) == result
        await made.stores.every_cache().store("release/next", action, result)  # as the scheduler
        assert await results.lookup("release/next", action) == result
        tiers = [tier.name for tier in made.stores.tiers]
    names = ["routes.0.blobs", "routes.0.results", "routes.1.results"]
    assert tiers == ["blobs", "results", *names]


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
async def test_each_kind_of_bucket_may_be_on_another_server(scheme: str) -> None:
    """By plain HTTP too; that nobody answers there is UNAVAILABLE, and asks nobody else."""
    key = Secret("eA==")  # base64, as Azure's are
    given = {"gs": {"service_account_key": ACCOUNT}, "az": {"account_name": "a"}}.get(scheme, {})
    with socket.socket() as taken:  # and not listened at
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        tier = ObjectTier(
            f"{scheme}://bucket/cache",
            endpoint,
            None if scheme == "gs" else key,
            key if scheme == "s3" else None,
            given,
        )
        bucket = opened(tier.url, object_options(tier), 5.0, retries=0)
        with pytest.raises(UnavailableError, match=endpoint):
            await ObjectBlobs(bucket, 1000).find_missing([digest_of(b"x")])
