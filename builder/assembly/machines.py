"""Where the pool's workers come from: a provider from the settings."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from builder.assembly.local_machines import LocalMachines
from builder.assembly.prices import prices_of
from builder.assembly.remote_machines import RemoteMachines, just
from builder.base.errors import UsageError
from builder.config.providers import K8sResources
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


def machines_of(settings: Settings, config: str | None, *, first: bool = True) -> Machines:
    """Of the only pool in these settings; whether it is the `first` of the service shows in the
    names of local workers. Raises UsageError for a provider's parts that are not there."""
    if settings.pool.provider == "custom":
        return _custom(settings)
    if settings.pool.provider == "aws":
        return _aws(settings)
    if settings.pool.provider == "gcp":
        return _gcp(settings)
    if settings.pool.provider == "k8s":
        return _k8s(settings)
    return LocalMachines(settings, config, first=first)


def _aws(settings: Settings) -> Machines:
    from builder.providers.aws import AwsProvider
    from builder.providers.ec2 import Fleet, Region
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
        others=tuple(
            Region(one.region, one.image, one.subnets, one.security_groups, one.key_name)
            for one in aws.other_regions
        ),
        instance_profile=aws.instance_profile,
        tags=aws.tags,
        disk_bytes=aws.disk_size,
        spot=aws.spot,
        spot_max_price=aws.spot_max_price,
        on_demand_base=aws.on_demand_base,
        prices=prices_of(aws.prices),
        profile=aws.profile,
        endpoint=aws.endpoint,
    )
    pool = settings.pool.name
    return RemoteMachines(settings, aws.start_timeout, just(lambda: AwsProvider(pool, fleet)))


def _gcp(settings: Settings) -> Machines:
    from builder.providers.gcp import Machines as Wanted
    from builder.providers.gcp import open_gcp
    from builder.providers.user_data import start_script

    gcp, pool = settings.providers.gcp, settings.pool.name
    assert gcp is not None  # a check has seen to it
    config = _text(gcp.worker_config, "providers.gcp.worker_config")
    wanted = Wanted(
        project=gcp.project,
        zones=gcp.zones,
        machine_types=gcp.machine_types,
        startup_script=start_script("gcp", config),
        template=gcp.template,
        image=gcp.image,
        network=gcp.network,
        subnetwork=gcp.subnetwork,
        service_account=gcp.service_account,
        labels=gcp.labels,
        disk_bytes=gcp.disk_size,
        spot=gcp.spot,
        on_demand_base=gcp.on_demand_base,
        prices=prices_of(gcp.prices),
        endpoint=gcp.endpoint,
    )
    return RemoteMachines(
        settings, gcp.start_timeout, lambda: open_gcp(pool, wanted, gcp.credentials)
    )


def _k8s(settings: Settings) -> Machines:
    from builder.providers.k8s import PodPlan, open_k8s
    from builder.providers.kube_access import find_access

    k8s, pool = settings.providers.k8s, settings.pool.name
    assert k8s is not None  # a check has seen to it
    plan = PodPlan(
        namespace=k8s.namespace,
        template={} if k8s.template is None else _pod(k8s.template),
        image=k8s.image,
        service_account=k8s.service_account,
        requests=_amounts(k8s.requests),
        limits=_amounts(k8s.limits),
        labels=k8s.labels,
        node_selector=k8s.node_selector,
    )

    @asynccontextmanager
    async def opened() -> AsyncIterator[Provider]:
        access = await find_access(k8s.kubeconfig, k8s.context)
        async with open_k8s(pool, plan, access) as provider:
            yield provider

    return RemoteMachines(settings, k8s.start_timeout, opened)


def _pod(path: str) -> Mapping[str, Any]:
    import yaml

    key = "providers.k8s.template"
    try:
        template = yaml.safe_load(_text(path, key))
    except yaml.YAMLError as error:
        raise UsageError(f"{key}: {path} is no YAML: {error}") from error
    if not isinstance(template, dict) or template.get("kind", "Pod") != "Pod":
        raise UsageError(f"{key}: {path} has to be the manifest of one Pod")
    return template


def _amounts(resources: K8sResources) -> dict[str, str]:
    amounts = {
        "cpu": resources.cpu,
        "memory": resources.memory,
        "ephemeral-storage": resources.ephemeral_storage,
    }
    return {name: amount for name, amount in amounts.items() if amount is not None}


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
