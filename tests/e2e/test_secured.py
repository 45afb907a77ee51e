"""A service with TLS and tokens on every port, used by bldr, operators, workers and Bazel."""

import json
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.bazel import Bazel, remote
from tests.e2e.service import FROM_SOURCE, ROOT, Service, environment, running
from tests.net.certificates import Certificates, make

pytestmark = pytest.mark.slow
EXAMPLE = ROOT / "examples" / "remote-execution"
PORTS = ("--coordinator", "127.0.0.1:0", "--reapi", "0", "--metrics", ":0", "--workers-min", "1")
SERVICE = """role: all
store: {{path: {folder}/store}}
worker: {{scratch: {folder}/worker}}
artifacts: {{listen: ":0"}}
logging: {{level: debug}}
tls: {{cert: KEYS/server.pem, key: KEYS/server.key, min_version: "1.3"}}
auth:
  mode: token
  tokens:
    - {{name: ci, token: ci-token, role: writer}}
    - {{name: people, token: people-token, role: reader}}
    - {{name: operators, token: operators-token, role: operator}}
    - {{name: machines, token: machines-token, role: worker}}
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, keys: Certificates) -> Iterator[Service]:
    config = SERVICE.replace("KEYS", str(keys.folder))
    folder = tmp_path_factory.mktemp("secured")
    variables = {"BUILDER_LOG_FORMAT": "json"}
    with running(folder, flags=PORTS, config=config, variables=variables) as service:
        yield service


def client_config(folder: Path, service: Service, keys: Certificates, **more: str) -> Path:
    client = {
        "coordinator": f"grpcs://{service.coordinator}",
        "ca": str(keys.folder / "ca.pem"),
        **more,
    }
    path = folder / "client.yaml"
    path.write_text(json.dumps({"role": "client", "client": client}))
    return path


def run(where: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    home = where / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [*FROM_SOURCE, *arguments],
        cwd=where,
        env=environment(home, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_bldr_builds_with_a_writers_token(
    tmp_path: Path, service: Service, keys: Certificates
) -> None:
    """On a worker that came by the private socket; a reader may not, and is told who may."""
    project = Path(shutil.copytree(EXAMPLE, tmp_path / "example", symlinks=True))
    config = str(client_config(tmp_path, service, keys))
    build = ("--config", config, "build", "cpp_project", "--remote")
    refused = run(project, *build, BUILDER_TOKEN="people-token")
    assert refused.returncode == 1
    assert "people is a reader here and may not" in refused.stdout + refused.stderr
    stranger = run(project, *build)
    assert stranger.returncode == 1
    assert "BUILDER_TOKEN" in stranger.stdout + stranger.stderr
    built = run(project, *build, BUILDER_TOKEN="ci-token")
    assert built.returncode == 0, built.stdout + built.stderr
    assert "[INFO] Executing on worker-1 (hermetic: " in built.stdout
    for said in (refused, stranger, built):
        assert "-token" not in said.stdout + said.stderr


def test_operators_steer_and_others_do_not(
    tmp_path: Path, service: Service, keys: Certificates
) -> None:
    """`builder remote scale` takes the operator's role, `status` any."""
    config = str(client_config(tmp_path, service, keys))
    status = run(tmp_path, "--config", config, "remote", "status", BUILDER_TOKEN="people-token")
    assert status.returncode == 0, status.stderr
    scale = ("--config", config, "remote", "scale", "--workers", "1")
    refused = run(tmp_path, *scale, BUILDER_TOKEN="ci-token")
    assert refused.returncode == 1
    assert refused.stderr == (
        "error: ci is a writer here and may not operate the service: that takes the role operator\n"
    )
    assert run(tmp_path, *scale, BUILDER_TOKEN="operators-token").returncode == 0


@contextmanager
def worker(folder: Path, service: Service, keys: Certificates, token: str) -> Iterator[list[str]]:
    config = folder / "worker.yaml"
    told = {
        "coordinator": f"grpcs://{service.coordinator}",
        "ca": str(keys.folder / "ca.pem"),
        "scratch": str(folder / "scratch"),
        "name": "from-elsewhere",
        "slots": 1,
    }
    config.write_text(json.dumps({"role": "worker", "worker": told}))
    process = subprocess.Popen(
        [*FROM_SOURCE, "--config", str(config)],
        env=environment(folder, BUILDER_JOIN_TOKEN=token),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    try:
        yield [process.stderr.readline() for _ in range(1)]
    finally:
        process.terminate()
        assert process.wait(60) is not None
        process.stderr.close()


def test_a_worker_joins_over_tls_with_a_workers_token(
    tmp_path: Path, service: Service, keys: Certificates
) -> None:
    """It is among the workers then."""
    config = str(client_config(tmp_path, service, keys, token="people-token"))
    with worker(tmp_path, service, keys, "machines-token"):
        for _ in range(100):
            answer = run(tmp_path, "--config", config, "remote", "status", "--json")
            names = {one["name"] for one in json.loads(answer.stdout)["worker"]}
            if "from-elsewhere" in names:
                return
            threading.Event().wait(0.1)  # another process's progress: nothing to wait on
    raise AssertionError(f"it never joined: {names}")


def page(service: Service, keys: Certificates, path: str, token: str) -> str:
    url = f"https://{service.address('Metrics')}{path}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60, context=keys.client()) as answer:
        found: bytes = answer.read()
    return found.decode()


def test_secrets_are_told_nowhere(tmp_path: Path, service: Service, keys: Certificates) -> None:
    """Not in the most talkative log, by known and unknown tokens; not in status, pages, metrics."""
    config = str(client_config(tmp_path, service, keys))
    told = []
    for token in ("people-token", "ci-token", "guessed-token"):
        for command in (("status", "--json"), ("actions",), ("scale", "--workers", "1")):
            said = run(tmp_path, "--config", config, "remote", *command, BUILDER_TOKEN=token)
            told += [said.stdout, said.stderr]
    told += [page(service, keys, path, "people-token") for path in ("/", "/workers", "/metrics")]
    shown = run(tmp_path, "--config", str(service.folder / "builder.yaml"), "config", "show")
    assert shown.returncode == 0, shown.stderr
    told += [shown.stdout, *service.lines]
    assert not [text for text in told if "-token" in text]


def test_lines_about_an_action_say_which(
    tmp_path: Path, service: Service, keys: Certificates
) -> None:
    """Of the coordinator and of the worker alike: for programs that follow one build."""
    project = Path(shutil.copytree(EXAMPLE, tmp_path / "example", symlinks=True))
    config = str(client_config(tmp_path, service, keys))
    build = ("--config", config, "build", "cpp_project", "--remote", "--no-cache")
    built = run(project, *build, BUILDER_TOKEN="ci-token")
    assert built.returncode == 0, built.stdout + built.stderr
    executing, started = map(service.said, ("Operation executing", "Action started"))
    wanted = {"action", "operation", "invocation", "target", "worker", "why", "level"}
    assert wanted <= json.loads(executing).keys(), executing
    wanted = {"action", "lease", "invocation", "target", "worker", "attempt", "level"}
    assert wanted <= json.loads(started).keys(), started


def served(address: str, keys: Certificates) -> bytes:
    """The certificate that a new connection gets, and the version of TLS."""
    host, _, port = address.rpartition(":")
    plain = socket.create_connection((host, int(port)), 60)
    with keys.client().wrap_socket(plain, server_hostname=host) as sock:
        assert sock.version() == "TLSv1.3"
        found = sock.getpeercert(binary_form=True)
        assert found is not None
        return found


def test_certificates_are_replaced_without_a_restart(
    tmp_path: Path, service: Service, keys: Certificates
) -> None:
    """New connections get the new one, within the time between two looks at the files."""
    before = served(service.reapi, keys)
    (tmp_path / "new").mkdir()
    new = make(tmp_path / "new")
    for name in ("server.key", "server.pem", "ca.pem"):
        shutil.move(new.folder / name, keys.folder / name)
    for _ in range(200):
        try:
            after = served(service.reapi, keys)
        except ssl.SSLCertVerificationError:  # the old one, which the new authority has not signed
            threading.Event().wait(0.1)
            continue
        assert after != before
        return
    raise AssertionError("the old certificate is still served after 20 s")


def test_bazel_builds_with_a_header(bazel: Bazel, tmp_path: Path) -> None:
    """--remote_header; a reader's build fails and says why.

    Without TLS: Debian's Bazel has a netty that cannot negotiate h2, so grpcs:// ends it with an
    exception of its own. What Bazel speaks over TLS elsewhere is what grpcio speaks in
    tests/assembly/test_guard.py.
    """
    config = "\n".join(line for line in SERVICE.splitlines() if not line.startswith("tls:"))
    with running(tmp_path / "tokens", flags=PORTS, config=config) as service:

        def shown(token: str) -> list[str]:
            header = f"--remote_header=authorization=Bearer {token}"
            return remote(service.reapi, token, header, "--verbose_failures")

        built = bazel.run("build", "//lib:main_0", *shown("ci-token"))
        assert built.code == 0, built.text
        assert built.ways["remote"] > 0
        refused = bazel.run("build", "//lib:main_0", *shown("people-token"))
        assert refused.code != 0
        assert "people is a reader here and may not" in refused.text
        unknown = bazel.run("build", "//lib:main_0", *shown("unknown"))
        assert unknown.code != 0
        assert "this token is not known here" in unknown.text
