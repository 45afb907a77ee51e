"""Pods over TLS against a small API server, found by kubeconfigs as people have them."""

import base64
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import yaml

from builder.base.errors import UsageError
from builder.providers.interface import (
    CredentialsError,
    Provider,
    ProviderError,
    QuotaError,
    RefusedError,
    TransientError,
)
from builder.providers.k8s import K8sProvider, PodPlan, label, manifest, open_k8s, pod_name
from builder.providers.kube_access import Access, find_access, inside
from tests.net.certificates import Certificates, make
from tests.providers.contract import CONTRACT, SURVIVING, Make
from tests.providers.kube_api import Cluster, serving

PLAN = PodPlan(namespace="build", image="builder-worker:1")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def cluster(certificates: Certificates) -> Iterator[Cluster]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates.folder / "server.pem", certificates.folder / "server.key")
    tls.load_verify_locations(certificates.folder / "ca.pem")
    tls.verify_mode = ssl.CERT_OPTIONAL
    with serving(tls) as made:
        yield made


def kubeconfig(folder: Path, cluster: Cluster, authority: bytes, user: dict[str, Any]) -> Path:
    data = base64.b64encode(authority).decode()
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": cluster.server, "certificate-authority-data": data},
            }
        ],
        "users": [{"name": "u", "user": user}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
async def access(cluster: Cluster, certificates: Certificates, tmp_path: Path) -> Access:
    user = {"token": cluster.token}
    path = kubeconfig(tmp_path, cluster, certificates.authority(), user)
    return await find_access(str(path), None)


@asynccontextmanager
async def pods(access: Access, plan: PodPlan = PLAN) -> AsyncIterator[K8sProvider]:
    with trio.fail_after(60):
        async with open_k8s("pool", plan, access) as provider:
            yield provider


@pytest.mark.parametrize("promise", CONTRACT)
async def test_keeps_the_contract(
    promise: Callable[[Provider], Awaitable[None]], access: Access
) -> None:
    async with pods(access) as provider:
        await promise(provider)


@pytest.mark.parametrize("promise", SURVIVING)
async def test_survives(promise: Callable[[Make], Awaitable[None]], access: Access) -> None:
    async with AsyncExitStack() as stack:
        made: list[K8sProvider] = [
            await stack.enter_async_context(open_k8s(pool, PLAN, access))
            for pool in ("pool", "pool", "pool", "other")
        ]
        with trio.fail_after(60):
            await promise(lambda pool: made.pop() if pool == "other" else made.pop(0))


async def test_a_pod_is_as_it_was_wanted(access: Access, cluster: Cluster) -> None:
    """The sample's template, overridden by what the settings say, under its own name."""
    template = yaml.safe_load((ROOT / "configs" / "worker-pod.yaml").read_text())
    plan = PodPlan(
        namespace="build",
        template=template,
        image="mine:2",
        service_account="runner",
        requests={"cpu": "4"},
        limits={"cpu": "8", "memory": "16Gi"},
        labels={"team": "build"},
        node_selector={"pool": "build"},
    )
    async with pods(access, plan) as provider:
        (started,) = await provider.launch(1, "one")
    pod = cluster.pods["build", started.id]
    assert pod["metadata"]["labels"] == {
        "app.kubernetes.io/name": "builder-worker",
        "team": "build",
        "builder/pool": "pool",
        "builder/launch": "one",
    }
    spec, worker = pod["spec"], pod["spec"]["containers"][0]
    assert (spec["restartPolicy"], spec["serviceAccountName"]) == ("Never", "runner")
    assert spec["nodeSelector"] == {"pool": "build"}
    assert worker["image"] == "mine:2"
    assert worker["resources"] == {
        "requests": {"cpu": "4", "memory": "4Gi"},
        "limits": {"cpu": "8", "memory": "16Gi"},
    }
    names = [one["name"] for one in worker["env"]]
    assert names == ["BUILDER_COORDINATOR", "BUILDER_JOIN_TOKEN", "BUILDER_WORKER_NAME"]
    assert worker["env"][2]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert template["spec"]["containers"][0]["image"] == "builder-worker:0.1.0"  # not changed


def test_without_a_template_there_is_one() -> None:
    pod = manifest(PLAN, "pool", "n", "t")
    (worker,) = pod["spec"]["containers"]
    assert (worker["command"], worker["image"]) == (["builder", "worker"], "builder-worker:1")


async def test_pods_that_end_and_pods_that_are_ending(access: Access, cluster: Cluster) -> None:
    """What ended is cleared away, what is being deleted does not count any more."""
    async with pods(access) as provider:
        first, second, third = await provider.launch(3, "one")
        cluster.pods["build", first.id]["status"]["phase"] = "Failed"
        cluster.graceful = True
        await provider.terminate([second.id])
        cluster.graceful = False
        assert await provider.list() == [third]
        assert ("build", first.id) not in cluster.pods


async def test_what_fits_the_quota_is_given(access: Access, cluster: Cluster) -> None:
    cluster.quota = 2
    async with pods(access) as provider:
        assert len(await provider.launch(3, "one")) == 2
        with pytest.raises(QuotaError, match="exceeded quota"):
            await provider.launch(1, "two")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((401, "Unauthorized"), CredentialsError),
        ((403, "cannot create resource pods"), CredentialsError),
        ((429, "slow down"), TransientError),
        ((500, "etcd"), TransientError),
        ((404, "namespace"), RefusedError),
    ],
)
async def test_refusals(
    answer: tuple[int, str], kind: type[ProviderError], access: Access, cluster: Cluster
) -> None:
    """Each with its code and words; a pod without an image is refused by the server itself."""
    async with pods(access, replace(PLAN, image=None)) as provider:
        with pytest.raises(RefusedError, match="image: Required value"):
            await provider.launch(1, "one")
        cluster.refuse = answer
        with pytest.raises(kind, match=f"{answer[0]}: {answer[1]}"):
            await provider.list()


async def test_a_server_that_is_not_there(access: Access) -> None:
    async with pods(replace(access, server="https://127.0.0.1:1")) as provider:
        with pytest.raises(TransientError, match="https://127"):
            await provider.list()


async def test_users_of_a_kubeconfig(
    cluster: Cluster, certificates: Certificates, tmp_path: Path
) -> None:
    """A token in a file, a client certificate, a command; each is let in as what it is."""
    (tmp_path / "token").write_text(f"{cluster.token}\n")
    script = """import json, os; json.loads(os.environ["KUBERNETES_EXEC_INFO"])
print(json.dumps({"status": {"token": os.environ["SAY"]}}))"""
    command = {
        "command": sys.executable,
        "args": ["-c", script],
        "env": [{"name": "SAY", "value": cluster.token}],
    }
    folder = certificates.folder
    client = {
        "token": cluster.token,
        "client-certificate": str(folder / "client.pem"),
        "client-key-data": base64.b64encode((folder / "client.key").read_bytes()).decode(),
    }
    for user in ({"tokenFile": "token"}, {"exec": command}, client):
        path = kubeconfig(tmp_path, cluster, certificates.authority(), user)
        found = await find_access(None, None, {"KUBECONFIG": str(path)})
        async with pods(found) as provider:
            assert await provider.list() == []
    assert cluster.peers == {"('URI', 'spiffe://test/worker')"}


async def test_inside_a_cluster(
    cluster: Cluster, certificates: Certificates, tmp_path: Path
) -> None:
    """The service account's token is read anew each time, for it is rotated."""
    (tmp_path / "ca.crt").write_bytes(certificates.authority())
    (tmp_path / "token").write_text("old")
    host, port = cluster.server.removeprefix("https://").split(":")
    variables = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    async with pods(inside(variables, tmp_path)) as provider:
        with pytest.raises(CredentialsError, match="401"):
            await provider.list()
        (tmp_path / "token").write_text(f"{cluster.token}\n")
        assert await provider.list() == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ("[1]", "not a mapping"),
        ("{}", "lacks 'current-context'"),
        ("{current-context: x, contexts: []}", "lacks \"context 'x'\""),
    ],
)
async def test_wrong_kubeconfigs(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        await find_access(str(path), None)


async def test_a_command_of_a_kubeconfig_that_fails(
    cluster: Cluster, certificates: Certificates, tmp_path: Path
) -> None:
    user = {"exec": {"command": "/no/such/plugin"}}
    path = kubeconfig(tmp_path, cluster, certificates.authority(), user)
    with pytest.raises(CredentialsError, match="/no/such/plugin failed"):
        await find_access(str(path), None)


def test_names_and_labels_are_valid_whatever_the_pool_is_called() -> None:
    """DNS labels and label values; different pools and tokens never share one."""
    assert label("run-launch-1") == "run-launch-1"
    odd = [label("Größe 1/2"), label("Größe 1 2"), label("x" * 80), label("!")]
    assert len(set(odd)) == 4
    assert all(len(one) <= 63 for one in odd)
    names = {pod_name(pool, token, 1) for pool in ("A b", "a-b") for token in ("1", "2")}
    assert len(names) == 4
    assert all(len(name) <= 63 and name == name.lower() for name in names)
