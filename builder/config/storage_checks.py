"""What has to fit in a storage that is put together: kinds, promises, names, directories."""

from collections.abc import Callable, Iterator, Sequence

from builder.base.document import Path
from builder.config import storage
from builder.config.filling import Finding
from builder.config.storage import Storage, StoreTree

BLOBS_ONLY = {"by_size", "verifying", "existence_cache"}
NEVER = float("inf")  # it evicts nothing


def of_storage(whole: Storage, served: Sequence[str]) -> Iterator[Finding]:
    """Everything that does not fit; `served` are the instances, none meaning any."""
    blobs = list(_trees(whole, "blobs"))
    results = list(_trees(whole, "results"))
    for path, tree in blobs:
        if not keeps_leases(tree):
            message = f"'{_dotted(path)}' has no store that keeps what clients were promised"
            hint = "Redis evicts as it likes: put a disk near it, as tiered: {near: {disk: ...}"
            yield Finding(path, message, hint + ", far: {redis: ...}}")
        yield from _each(path, tree, _existence_cache)
    for path, tree in results:
        yield from _each(path, tree, _for_results)
    for path, tree in [*blobs, *results]:
        yield from _each(path, tree, _write_back)
        yield from _each(path, tree, _shards)
    yield from _one_owner([*blobs, *results])
    yield from _routes(whole, served)


def keeps_leases(tree: StoreTree) -> bool:
    """Whether what it says is present stays for the lease."""
    kind, one = tree.chosen()
    below = [keeps_leases(child) for _, child in tree.children()]
    if isinstance(one, storage.Tiered):
        return any(below)
    return kind != "redis" and all(below)


def shortest_lease(tree: StoreTree) -> float:
    """In seconds, of those that the configuration knows."""
    _, one = tree.chosen()
    below = [shortest_lease(child) for _, child in tree.children()]
    return min([getattr(one, "lease", NEVER), *below])


def _trees(whole: Storage, name: str) -> Iterator[tuple[Path, StoreTree]]:
    tree = getattr(whole, name)
    if tree is not None:
        yield ("storage", name), tree
    for number, route in enumerate(whole.routes):
        tree = getattr(route, name)
        if tree is not None:
            yield ("storage", "routes", number, name), tree


Rule = Callable[[Path, StoreTree], Iterator[Finding]]


def _each(path: Path, tree: StoreTree, rule: Rule) -> Iterator[Finding]:
    for below, node in tree.walk(path):
        yield from rule(below, node)


def _for_results(path: Path, node: StoreTree) -> Iterator[Finding]:
    kind, _ = node.chosen()
    if kind in BLOBS_ONLY:
        message = f"'{_dotted(path)}' is {kind}, which is for blobs"
        yield Finding((*path, kind), message, "results are small, and checked anyway")


def _existence_cache(path: Path, node: StoreTree) -> Iterator[Finding]:
    one = node.existence_cache
    if one is not None and one.keep * 2 > shortest_lease(one.store):
        here = (*path, "existence_cache", "keep")
        message = f"'{_dotted(here)}' is more than half the lease of the store below"
        yield Finding(here, message, "what is believed longer than it stays breaks builds")


def _write_back(path: Path, node: StoreTree) -> Iterator[Finding]:
    one = node.tiered
    if one is None:
        return
    if one.write == "back" and not keeps_leases(one.near):
        message = "writing back needs a near store that keeps what waits"
        yield Finding((*path, "tiered", "write"), message, "use a disk, or write: through")
    if one.queue.path is not None and one.write != "back":
        message = f"there is a queue, but 'write' is {one.write}"
        yield Finding((*path, "tiered", "queue", "path"), message, "set write: back")


def _shards(path: Path, node: StoreTree) -> Iterator[Finding]:
    seen: set[str] = set()
    for number, shard in enumerate(node.sharded.shards if node.sharded is not None else ()):
        if shard.name in seen:
            here = (*path, "sharded", "shards", number, "name")
            yield Finding(here, f"there are two shards of the name {shard.name!r}")
        seen.add(shard.name)


def _one_owner(trees: list[tuple[Path, StoreTree]]) -> Iterator[Finding]:
    """A directory and a queue belong to one store; a name to one tier."""
    owners: dict[str, Path] = {}
    for path, tree in trees:
        for below, node in tree.walk(path):
            for what, where in _owned(node):
                if what in owners:
                    name = _dotted(owners[what])
                    yield Finding((*below, *where), f"{what} is taken by '{name}' already")
                owners.setdefault(what, (*below, *where))


def _owned(node: StoreTree) -> Iterator[tuple[str, Path]]:
    if node.disk is not None:
        yield node.disk.path, ("disk", "path")
    if node.tiered is not None and node.tiered.queue.path is not None:
        yield node.tiered.queue.path, ("tiered", "queue", "path")
    if node.metered is not None:
        yield f"the name {node.metered.name!r}", ("metered", "name")


def _routes(whole: Storage, served: Sequence[str]) -> Iterator[Finding]:
    seen: set[str] = set()
    for number, route in enumerate(whole.routes):
        for index, name in enumerate(route.instances):
            path: Path = ("storage", "routes", number, "instances", index)
            if name in seen:
                yield Finding(path, f"instance {name!r} has two routes")
            if served and name not in served:
                message = f"instance {name!r} is not among 'reapi.instances'"
                yield Finding(path, message, "add it there, or take the route out")
            seen.add(name)


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))
