"""Storage that is put together: what is refused, where, and with which words."""

from pathlib import Path
from typing import Any

import pytest

from builder.assembly.settings import load_settings
from builder.base.errors import UsageError
from builder.config.filling import Finding
from builder.config.settings import Settings
from builder.config.storage import DiskTier, Storage, StoreTree
from builder.config.storage_checks import keeps_leases, of_storage, shortest_lease
from tests.config.test_checks import settings

DISK = {"disk": {"path": "/d", "lease": "1h"}}
REDIS = {"redis": {"url": "redis://h"}}
OBJECT = {"object": {"url": "s3://b"}}
MEMORY: dict[str, Any] = {"memory": {"lease": "10m"}}


def tiered(near: Any, far: Any, **more: Any) -> dict[str, Any]:
    return {"tiered": {"near": near, "far": far, **more}}


def shards(*names: str) -> dict[str, Any]:
    return {"sharded": {"shards": [{"name": name, "store": OBJECT} for name in names]}}


def storage_of(values: dict[str, Any]) -> Storage:
    found = settings({"storage": values}).storage
    assert found is not None
    return found


def tree(values: dict[str, Any]) -> StoreTree:
    found = storage_of({"blobs": values}).blobs
    assert found is not None
    return found


def findings(values: dict[str, Any], served: tuple[str, ...] = ()) -> list[Finding]:
    return list(of_storage(storage_of(values), served))


@pytest.mark.parametrize(
    "blobs",
    [
        DISK,
        OBJECT,
        tiered(DISK, REDIS),
        tiered(REDIS, OBJECT),
        tiered(DISK, OBJECT, write="back", queue={"path": "/q"}),
        shards("a", "b"),
        {"mirrored": {"a": MEMORY, "b": OBJECT}},
        {"existence_cache": {"store": OBJECT}},
        {"existence_cache": {"store": DISK, "keep": "30m"}},
        {"by_size": {"small": MEMORY, "large": {"verifying": {"store": DISK}}}},
        {"read_only": {"store": {"metered": {"name": "n", "store": DISK}}}},
    ],
)
def test_what_fits(blobs: dict[str, Any]) -> None:
    """Every kind has its use."""
    assert findings({"blobs": blobs}) == []


@pytest.mark.parametrize(
    ("storage", "key", "message"),
    [
        ({"blobs": REDIS}, "blobs", "has no store that keeps what clients were promised"),
        (
            {"blobs": {"by_size": {"small": REDIS, "large": DISK}}},
            "blobs",
            "has no store that keeps what clients were promised",
        ),
        (
            {"blobs": {"existence_cache": {"store": tiered(MEMORY, OBJECT), "keep": "6m"}}},
            "blobs.existence_cache.keep",
            "more than half the lease of the store below",
        ),
        (
            {"blobs": tiered(REDIS, DISK, write="back")},
            "blobs.tiered.write",
            "writing back needs a near store that keeps what waits",
        ),
        (
            {"results": tiered(DISK, OBJECT, queue={"path": "/q"})},
            "results.tiered.queue.path",
            "there is a queue, but 'write' is through",
        ),
        (
            {"results": {"mirrored": {"a": DISK, "b": {"verifying": {"store": OBJECT}}}}},
            "results.mirrored.b.verifying",
            "'storage.results.mirrored.b' is verifying, which is for blobs",
        ),
        (
            {"blobs": shards("a", "b", "a")},
            "blobs.sharded.shards.2.name",
            "there are two shards of the name 'a'",
        ),
        (
            {"blobs": DISK, "results": tiered(DISK, OBJECT)},
            "results.tiered.near.disk.path",
            "/d is taken by 'storage.blobs.disk.path' already",
        ),
        (
            {
                "blobs": {"metered": {"name": "n", "store": OBJECT}},
                "results": {"metered": {"name": "n", "store": OBJECT}},
            },
            "results.metered.name",
            "the name 'n' is taken by 'storage.blobs.metered.name' already",
        ),
        (
            {"routes": [{"instances": ["a"]}, {"instances": ["b", "a"]}]},
            "routes.1.instances.1",
            "instance 'a' has two routes",
        ),
    ],
)
def test_what_does_not_fit(storage: dict[str, Any], key: str, message: str) -> None:
    """One finding each, at the setting itself."""
    [finding] = findings(storage)
    assert ".".join(map(str, finding.path)) == f"storage.{key}"
    assert message in finding.message


def test_routes_are_among_the_instances() -> None:
    """An instance that is not served needs no route."""
    [finding] = findings({"routes": [{"instances": ["a", "b"]}]}, served=("a",))
    assert finding.message == "instance 'b' is not among 'reapi.instances'"


def test_leases_of_a_tree() -> None:
    """One tier that keeps them is enough, all shards have to; the shortest one counts."""
    assert keeps_leases(tree(tiered(REDIS, DISK)))
    assert not keeps_leases(tree({"mirrored": {"a": DISK, "b": REDIS}}))
    assert shortest_lease(tree(tiered(MEMORY, DISK))) == 600.0
    assert shortest_lease(tree(OBJECT)) == float("inf")


TEXT = """\
storage:
  blobs:
    tiered:
      near:
        disk: {pth: /d}
      far:
        sharded:
          shards:
            - {name: a, store: {object: {url: "ftp://x"}}}
            - {name: b, store: {disk: {path: /a}, memory: {}}}
  results: {tierd: {}}
"""


def test_mistakes_are_told_where_they_are(tmp_path: Path) -> None:
    """However deep: file, line, column, what was meant."""
    path = tmp_path / "builder.yaml"
    path.write_text(TEXT)
    with pytest.raises(UsageError) as caught:
        load_settings(str(path), {}, {})
    told = str(caught.value)
    for where, what in (
        ("5:9", "the key 'path' is missing in 'storage.blobs.tiered.near.disk'"),
        ("5:16", "unknown key 'pth' in 'storage.blobs.tiered.near.disk'; did you mean 'path'?"),
        ("9:47", "must be the URL of a bucket, not 'ftp://x'"),
        ("10:32", "must have at most 1 keys"),
        ("11:13", "unknown key 'tierd' in 'storage.results'; did you mean 'tiered'?"),
    ):
        [line] = [line for line in told.splitlines() if what in line]
        assert f"{path}:{where}" in line, (line, where)


def test_a_node_on_the_command_line(tmp_path: Path) -> None:
    """A dotted key reaches into the tree."""
    values = {"storage.blobs.disk.path": str(tmp_path), "storage.blobs.disk.max_size": "1GiB"}
    found, _ = load_settings(None, values, {})
    assert found.storage is not None
    assert found.storage.blobs == StoreTree(disk=DiskTier(str(tmp_path), 1024**3))
    assert Settings().storage is None
