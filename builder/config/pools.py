"""Several pools in one configuration: the settings as each of them sees them.

`pool` is the first and `pools` are more of the same kind. What a pool says of its workers and its
providers stands in the place of what the top says, so that whoever starts a pool, or is a worker of
one, reads settings in which there is that pool alone.
"""

from collections.abc import Iterator
from dataclasses import fields, replace

from builder.base.errors import UsageError
from builder.base.nearest import nearest
from builder.config.settings import Pool, PoolWorkers, Settings, Worker


def every_pool(settings: Settings) -> list[Settings]:
    """One for each pool that this service keeps, in the order of the configuration."""
    alone = [settings_of(settings, pool) for pool in (settings.pool, *settings.pools)]
    return alone if keeps_first(settings) else alone[1:]


def keeps_first(settings: Settings) -> bool:
    """A coordinator alone starts no workers on its host, and has `pool` for its name only."""
    return settings.role == "all" or settings.pool.provider != "local"


def settings_of(settings: Settings, pool: Pool) -> Settings:
    """The settings in which this is the only pool."""
    own = pool.workers or PoolWorkers()
    return replace(
        settings,
        pool=pool,
        pools=(),
        worker=_worker(settings.worker, own),
        sandbox=replace(settings.sandbox, audit=own.audit or settings.sandbox.audit),
        providers=pool.providers or settings.providers,
    )


def member_of(settings: Settings, name: str) -> Settings:
    """The settings of a worker of the pool of this name. Raises UsageError."""
    for pool in (settings.pool, *settings.pools):
        if pool.name == name:
            return settings_of(settings, pool)
    meant = nearest(name, list(pool_names(settings)))
    hint = f"did you mean {meant!r}?" if meant else f"there is {', '.join(pool_names(settings))}"
    raise UsageError(f"the configuration has no pool {name!r}; {hint}")


def pool_names(settings: Settings) -> Iterator[str]:
    """Of all that the configuration has, the first first."""
    yield settings.pool.name
    yield from (pool.name for pool in settings.pools)


def _worker(worker: Worker, own: PoolWorkers) -> Worker:
    said = {one.name: getattr(own, one.name) for one in fields(own) if one.name != "audit"}
    said = {name: value for name, value in said.items() if value not in (None, (), {})}
    return replace(worker, **{**said, "platform": {**worker.platform, **own.platform}})
