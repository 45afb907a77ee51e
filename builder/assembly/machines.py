"""Where the pool's workers come from: a provider from the settings."""

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from builder.assembly.local_machines import LocalMachines
from builder.assembly.remote_machines import RemoteMachines, just
from builder.base.errors import UsageError
from builder.config.settings import Settings
from builder.providers.interface import Provider

Exited = Callable[[str, str], None]


class Machines(Protocol):
    """What the pool has to know of its provider. Times in seconds.

    `slots` of each worker; `start_up_guess_s` before anything was learned; `wait_s` is how long
    an action may wait beyond the start of a worker for it; `patience_s` is how long an instance
    may be there without its worker.
    """

    @property
    def slots(self) -> int: ...
    @property
    def start_up_guess_s(self) -> float: ...
    @property
    def wait_s(self) -> float: ...
    @property
    def patience_s(self) -> float: ...

    def open(self, address: str, exited: Exited) -> AbstractAsyncContextManager[Provider]: ...

    def is_own(self, worker: str) -> bool:
        """Whether the worker is one of ours, as far as that is known without asking."""
        ...


def machines_of(settings: Settings, config: str | None) -> Machines:
    """Raises UsageError for a provider's parts that are not there."""
    if settings.pool.provider == "custom":
        return _custom(settings)
    if settings.pool.provider == "aws":
        return _aws(settings)
    return LocalMachines(settings, config)


def _aws(settings: Settings) -> Machines:
    from builder.providers.aws import AwsProvider, Fleet
    from builder.providers.user_data import start_script

    aws = settings.providers.aws
    assert aws is not None  # a check has seen to it
    before = None if aws.user_data is None else _text(aws.user_data, "providers.aws.user_data")
    config = _text(aws.worker_config, "providers.aws.worker_config")
    fleet = Fleet(
        region=aws.region,
        image=aws.image,
        instance_types=aws.instance_types,
        user_data=start_script("aws", config, before),
        subnets=aws.subnets,
        security_groups=aws.security_groups,
        key_name=aws.key_name,
        instance_profile=aws.instance_profile,
        tags=aws.tags,
        disk_bytes=aws.disk_size,
        spot=aws.spot,
        spot_max_price=aws.spot_max_price,
        on_demand_base=aws.on_demand_base,
        profile=aws.profile,
        endpoint=aws.endpoint,
    )
    pool = settings.pool.name
    return RemoteMachines(settings, aws.start_timeout, just(lambda: AwsProvider(pool, fleet)))


def _text(path: str, key: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{key}: {path} cannot be read: {error}") from error


def _custom(settings: Settings) -> Machines:
    custom, pool = settings.providers.custom, settings.pool.name
    assert custom is not None  # a check has seen to it

    def make() -> Provider:
        if custom.entry_point is not None:
            from builder.providers.entry_point import EntryPointProvider

            return EntryPointProvider(custom.entry_point, pool, custom.environment)
        from builder.providers.custom import Commands, CustomProvider

        assert custom.launch
        assert custom.terminate
        assert custom.list
        environment = {**os.environ, **custom.environment}
        commands = Commands(
            custom.launch, custom.terminate, custom.list, environment, custom.timeout
        )
        return CustomProvider(pool, commands)

    return RemoteMachines(settings, custom.start_timeout, just(make))
