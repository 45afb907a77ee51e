"""The samples for machines: units, cloud-init, Kubernetes. What they name is there, and right."""

import configparser
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.assembly.settings import read_shape
from builder.config.settings import Settings

CONFIGS = Path(__file__).parents[2] / "configs"
MACHINES = CONFIGS / "machines"
UNITS = ("coordinator", "worker")
PROGRAM = "/usr/local/bin/builder"


def settings_of(text: str, folder: Path) -> Settings:
    path = folder / "builder.yaml"
    path.write_text(text)
    return read_shape(str(path), {}, {}).settings


def unit(role: str) -> dict[str, str]:
    """The [Service] section, with the case of its keys."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(MACHINES / f"builder-{role}.service")
    return dict(parser["Service"])


@pytest.mark.parametrize("role", UNITS)
def test_units_start_the_role_of_a_file(role: str) -> None:
    assert unit(role)["ExecStart"] == f"{PROGRAM} --config /etc/builder/{role}.yaml"


def test_the_workers_unit_gives_its_control_groups_away() -> None:
    """Without it no action has limits; and no sandbox of systemd's stands in our way."""
    worker = unit("worker")
    assert worker["Delegate"] == "yes"
    assert not {"PrivateTmp", "ProtectSystem", "NoNewPrivileges", "DynamicUser"} & worker.keys()


@pytest.mark.parametrize("role", UNITS)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_understands_the_units(role: str, tmp_path: Path) -> None:
    """Its own verdict, with a program that is there in place of ours."""
    copy = tmp_path / f"builder-{role}.service"
    copy.write_text((MACHINES / copy.name).read_text().replace(PROGRAM, "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60
    )
    about_us = [line for line in done.stderr.splitlines() if copy.name in line]
    assert about_us == [], done.stderr


def test_cloud_init_makes_a_worker(tmp_path: Path) -> None:
    """Its worker's file is valid, and its unit reads the files that it writes."""
    text = (MACHINES / "cloud-init.yaml").read_text()
    assert text.startswith("#cloud-config\n")
    files = {one["path"]: one for one in yaml.safe_load(text)["write_files"]}
    assert settings_of(files["/etc/builder/worker.yaml"]["content"], tmp_path).role == "worker"
    variables = files["/etc/builder/worker.env"]
    assert variables["permissions"] == "0600"  # a token is in it
    assert "BUILDER_JOIN_TOKEN=" in variables["content"]
    assert unit("worker")["EnvironmentFile"] == "-/etc/builder/worker.env"


def manifests() -> dict[str, Any]:
    text = (CONFIGS / "kubernetes" / "coordinator.yaml").read_text()
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


def mounted(spec: dict[str, Any]) -> Iterator[str]:
    for container in spec["containers"]:
        yield from (one["mountPath"] for one in container["volumeMounts"])


def test_the_coordinators_config_is_valid_and_where_it_is_read(tmp_path: Path) -> None:
    """Ports, files and grace of the config are those of the manifests."""
    found = manifests()
    text = found["ConfigMap"]["data"]["builder.yaml"]
    settings = settings_of(text, tmp_path)
    assert (settings.role, settings.pool.provider) == ("coordinator", "k8s")
    ports = {one["port"] for one in found["Service"]["spec"]["ports"]}
    listens = (settings.coordinator.listen, settings.reapi.listen, settings.metrics.listen)
    assert ports == {address.port for address in listens}
    spec = found["StatefulSet"]["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > settings.coordinator.drain_grace
    places = tuple(mounted(spec))
    k8s = settings.providers.k8s
    assert k8s is not None
    for path in (settings.store.path, k8s.template, spec["containers"][0]["command"][2]):
        assert str(path).startswith(places), path
    assert {one["name"] for one in spec["volumes"]} == {"config", "token", "pod"}


def test_the_coordinator_may_do_what_its_pool_does() -> None:
    """POST, GET and DELETE of pods, and nothing else."""
    found = manifests()
    (rule,) = found["Role"]["rules"]
    assert (rule["resources"], sorted(rule["verbs"])) == (["pods"], ["create", "delete", "list"])
    names = {found[kind]["metadata"]["name"] for kind in ("Role", "RoleBinding", "ServiceAccount")}
    assert names == {"builder-coordinator"}
    spec = found["StatefulSet"]["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "builder-coordinator"
