"""The sample configurations are right, and each is of use for its role."""

from pathlib import Path

import pytest

from builder.assembly.settings import load_settings, read_settings, read_shape
from builder.base.errors import UsageError
from builder.config.pools import every_pool
from builder.config.settings import Role

CONFIGS = Path(__file__).parents[2] / "configs"
ROLES: dict[str, Role] = {
    "single-host.yaml": "all",
    "coordinator.yaml": "coordinator",
    "worker.yaml": "worker",
    "client.yaml": "client",
    "production.yaml": "coordinator",
    "shared-storage.yaml": "coordinator",
}


def test_every_sample_is_tested() -> None:
    """A new sample needs a line above."""
    found = {path.name for path in CONFIGS.glob("*.yaml")}
    assert found == ROLES.keys() | {"worker-pod.yaml"}  # which is tested with its provider


@pytest.mark.parametrize(("name", "role"), ROLES.items())
def test_samples_are_valid(name: str, role: Role) -> None:
    """Each declares its role, without any variable being set."""
    loaded = read_shape(str(CONFIGS / name), {}, {})
    assert loaded.settings.role == role
    assert (CONFIGS / name).read_text().startswith("# yaml-language-server: $schema=../schema/")


@pytest.mark.parametrize("name", [name for name in ROLES if name != "production.yaml"])
def test_samples_work_now(name: str) -> None:
    """All but the one for production, whose secrets are not here."""
    settings, origins = load_settings(str(CONFIGS / name), {}, {})
    assert settings.role == ROLES[name]
    assert origins["role"].startswith(f"{CONFIGS / name}:")


def test_the_sample_for_production_shows_every_provider() -> None:
    """It is valid, and everything in it is served; only its secrets are not here."""
    path = str(CONFIGS / "production.yaml")
    settings = read_shape(path, {}, {}).settings
    providers = settings.providers
    assert None not in (providers.aws, providers.gcp, providers.k8s, providers.custom)
    assert (settings.pool.min, settings.pool.max, settings.pool.autoscale) == (2, 200, True)
    with pytest.raises(UsageError, match="join-token cannot be read"):
        read_settings(path, {}, {})
    assert [one.pool.name for one in every_pool(settings)] == ["default", "gpu"]


def test_variables_of_the_samples(tmp_path: Path) -> None:
    """A variable moves the data of the single host's sample."""
    path = str(CONFIGS / "single-host.yaml")
    settings, _ = load_settings(path, {}, {"BUILDER_DATA": str(tmp_path)})
    assert settings.store.path == str(tmp_path / "store")
    assert settings.worker.scratch == str(tmp_path / "worker")


def test_the_readme_of_each_sample_is_its_head() -> None:
    """Each begins with what it is and the command that runs it."""
    for name in ROLES:
        head = (CONFIGS / name).read_text().split("\nrole:")[0]
        assert f"{name}" in head
        assert "builder " in head
