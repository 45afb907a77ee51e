"""Several pools in one configuration."""

from typing import Any

import pytest

from builder.base.errors import UsageError
from builder.config.filling import Filler
from builder.config.pools import every_pool, member_of
from builder.config.settings import Audit, Resource, Settings

AWS = {"region": "r", "image": "ami-1", "worker_config": "w"}


def settings(**values: Any) -> Settings:
    return Filler(lambda text, path: text, lambda path: "").fill(Settings, values)


def test_one_pool_is_as_it_was() -> None:
    """Without `pools` the settings of the only pool are the settings."""
    assert every_pool(settings()) == [settings()]


def test_each_pool_sees_itself_alone() -> None:
    """What it says of workers and providers wins; what it does not say holds for it too."""
    gpu = {
        "name": "gpu",
        "provider": "aws",
        "min": 0,
        "workers": {"resources": [{"name": "gpu", "count": 1}], "platform": {"GPU": "t4"}},
        "providers": {"aws": AWS},
    }
    top = {"slots": 2, "platform": {"zone": "a"}}
    first, second = every_pool(settings(worker=top, pools=[gpu]))
    assert (first.pool.name, first.worker.slots, first.providers.aws) == ("default", 2, None)
    assert (second.pool.name, second.pool.min, second.pools) == ("gpu", 0, ())
    assert (second.worker.slots, second.worker.platform) == (2, {"zone": "a", "GPU": "t4"})
    assert second.worker.resources == (Resource("gpu", 1),)
    assert second.providers.aws is not None


def test_no_slots_of_a_pool_s_own_is_all_cores() -> None:
    """0 is said, and is not nothing."""
    (_, second) = every_pool(settings(worker={"slots": 2}, pools=[{"workers": {"slots": 0}}]))
    assert second.worker.slots == 0


def test_a_pool_has_its_own_audit() -> None:
    """Whole: of what it does not say, nothing is taken from the top."""
    audited = {"name": "b", "workers": {"audit": {"mode": "full"}}}
    top = {"audit": {"mode": "cheap", "sample": 0.5}}
    first, second = every_pool(settings(sandbox=top, pools=[audited]))
    assert first.sandbox.audit == Audit("cheap", 0.5)
    assert second.sandbox.audit == Audit("full", 1.0)


def test_a_coordinator_keeps_the_pools_of_machines() -> None:
    """Its local one is a name only."""
    machines = {"name": "far", "provider": "aws"}
    found = every_pool(settings(role="coordinator", providers={"aws": AWS}, pools=[machines]))
    assert [one.pool.name for one in found] == ["far"]


def test_a_worker_finds_its_pool() -> None:
    """By its name; a slip is met with what was meant."""
    both = settings(pools=[{"name": "gpu"}])
    assert member_of(both, "gpu").pool.name == "gpu"
    assert member_of(both, "default").pool.name == "default"
    with pytest.raises(UsageError, match="no pool 'gpuu'; did you mean 'gpu'"):
        member_of(both, "gpuu")
