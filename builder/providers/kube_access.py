"""How to reach a Kubernetes API: as a pod inside the cluster, or by a kubeconfig.

inside the cluster     the service account's mounted token (read anew, it is rotated) and CA
KUBECONFIG or a file   the context's cluster and user: token, token file, client certificate,
                       or a command that gives one of them (`exec`, as EKS and GKE use it)
"""

import base64
import json
import os
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from builder.base.errors import UsageError
from builder.providers.interface import CredentialsError

INSIDE = Path("/var/run/secrets/kubernetes.io/serviceaccount")
EXEC_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Access:
    """`token` gives the bearer token of the moment, or an empty text."""

    server: str
    tls: ssl.SSLContext
    token: Callable[[], str]


async def find_access(
    kubeconfig: str | None, context: str | None, environment: Mapping[str, str] = os.environ
) -> Access:
    """Raises UsageError for what is not there, CredentialsError for a command that fails."""
    if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in environment:
        return inside(environment)
    path = kubeconfig or environment.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    return await from_kubeconfig(Path(path), context)


def inside(environment: Mapping[str, str], folder: Path = INSIDE) -> Access:
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
    name = f"[{host}]" if ":" in host else host
    tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    return Access(f"https://{name}:{port}", tls, lambda: (folder / "token").read_text().strip())


async def from_kubeconfig(path: Path, context: str | None) -> Access:
    document = _document(path)
    try:
        chosen = _named(document, "contexts", context or document["current-context"], "context")
        cluster = _named(document, "clusters", chosen["cluster"], "cluster")
        user = _named(document, "users", chosen["user"], "user")
        server = cluster["server"].rstrip("/")
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"kubeconfig {path} lacks {error}") from error
    if "exec" in user:
        user = {**user, **await _exec(user["exec"])}
    return Access(server, _tls(path, cluster, user), _token(path, user))


def _document(path: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"kubeconfig {path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"kubeconfig {path} is not a mapping")
    return document


def _named(document: dict[str, Any], kind: str, name: str, part: str) -> dict[str, Any]:
    for entry in document[kind]:
        if entry["name"] == name:
            return entry[part] or {}
    raise KeyError(f"{part} {name!r}")


def _token(path: Path, user: dict[str, Any]) -> Callable[[], str]:
    if "tokenFile" in user:
        file = path.parent / user["tokenFile"]
        return lambda: file.read_text().strip()
    token = str(user.get("token") or "")
    return lambda: token


def _tls(path: Path, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    try:
        if cluster.get("insecure-skip-tls-verify"):
            tls = ssl._create_unverified_context()  # noqa: S323, SLF001 - the user's file says so
        else:
            authority = _data(path, cluster, "certificate-authority")
            tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
        certificate = _data(path, user, "client-certificate")
        if certificate:
            with tempfile.NamedTemporaryFile() as file:  # ssl reads certificates from files only
                file.write(certificate + b"\n" + _data(path, user, "client-key"))
                file.flush()
                tls.load_cert_chain(file.name)
    except (OSError, ValueError) as error:
        raise UsageError(f"kubeconfig {path}: its certificates cannot be used: {error}") from error
    return tls


def _data(path: Path, section: dict[str, Any], key: str) -> bytes:
    if f"{key}-data" in section:
        return base64.b64decode(section[f"{key}-data"])
    return (path.parent / section[key]).read_bytes() if key in section else b""


async def _exec(command: dict[str, Any]) -> dict[str, str]:
    """What a credential plug-in says. Source: client.authentication.k8s.io, ExecCredential."""
    argv = [command["command"], *(command.get("args") or [])]
    variables = {one["name"]: one["value"] for one in command.get("env") or []}
    version = command.get("apiVersion", "client.authentication.k8s.io/v1")
    asked = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    environment = {**os.environ, **variables, "KUBERNETES_EXEC_INFO": json.dumps(asked)}
    try:
        with trio.fail_after(EXEC_TIMEOUT_S):
            done = await trio.run_process(argv, capture_stdout=True, env=environment)
        status = json.loads(done.stdout)["status"]
    except Exception as error:
        raise CredentialsError(f"the kubeconfig's command {argv[0]} failed: {error}") from error
    found: dict[str, str] = {}
    if status.get("token"):
        found["token"] = status["token"]
    for ours, theirs in (
        ("client-certificate-data", "clientCertificateData"),
        ("client-key-data", "clientKeyData"),
    ):
        if status.get(theirs):
            found[ours] = base64.b64encode(status[theirs].encode()).decode()
    return found
