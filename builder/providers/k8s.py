"""Workers as Kubernetes pods, over the API of the core group.

A pod's name is made from the launch's token, so asking twice meets what was made before (409).
Pods carry the pool as a label, by which they are found again. A pod is a worker under its own
name, which it reads from BUILDER_WORKER_NAME. An evicted or deleted pod gets SIGTERM, and its
worker drains. One that has ended stays as an object that costs nothing; the list clears it away.
"""

import copy
import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from builder.providers.interface import (
    CredentialsError,
    Instance,
    ProviderError,
    QuotaError,
    RefusedError,
    TransientError,
)
from builder.providers.kube_access import Access

POOL_LABEL, TOKEN_LABEL = "builder/pool", "builder/launch"
TIMEOUT_S = 30.0
ENDED = ("Succeeded", "Failed")
WORKER = "worker"
NAME_VARIABLE = "BUILDER_WORKER_NAME"
PAGE = 500


@dataclass(frozen=True, slots=True)
class PodPlan:
    """`template` is a pod manifest; the other fields override it where they are set."""

    namespace: str = "default"
    template: Mapping[str, Any] = field(default_factory=dict)
    image: str | None = None
    service_account: str | None = None
    requests: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)


def manifest(plan: PodPlan, pool: str, name: str, token: str) -> dict[str, Any]:
    """The pod to create; its first container is the worker."""
    pod: dict[str, Any] = copy.deepcopy(dict(plan.template))
    pod |= {"apiVersion": "v1", "kind": "Pod"}
    metadata = pod.setdefault("metadata", {})
    metadata |= {"name": name, "namespace": plan.namespace}
    metadata.pop("generateName", None)
    labels = metadata.setdefault("labels", {})
    labels |= {**plan.labels, POOL_LABEL: label(pool), TOKEN_LABEL: label(token)}
    spec = pod.setdefault("spec", {})
    spec.setdefault("restartPolicy", "Never")
    if plan.service_account is not None:
        spec["serviceAccountName"] = plan.service_account
    if plan.node_selector:
        spec["nodeSelector"] = {**spec.get("nodeSelector", {}), **plan.node_selector}
    containers = spec.setdefault("containers", [])
    if not containers:
        containers.append({"name": WORKER, "command": ["builder", "worker"]})
    _worker(containers[0], plan)
    return pod


def _worker(container: dict[str, Any], plan: PodPlan) -> None:
    if plan.image is not None:
        container["image"] = plan.image
    resources = container.setdefault("resources", {})
    for kind, amounts in (("requests", plan.requests), ("limits", plan.limits)):
        if amounts:
            resources[kind] = {**resources.get(kind, {}), **amounts}
    own_name = {"name": NAME_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    others = [one for one in container.get("env", []) if one.get("name") != NAME_VARIABLE]
    container["env"] = [*others, own_name]


def label(text: str) -> str:
    """A valid label value: itself, or, if it is not one, what is left of it with a hash."""
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", text):
        return text
    kept = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:40].strip("-")
    return f"{kept}-{_hash(text)}".strip("-")


def pod_name(pool: str, token: str, number: int) -> str:
    """A DNS label that the token and the number decide."""
    slug = re.sub(r"[^a-z0-9]+", "-", pool.lower()).strip("-")[:30].strip("-") or "pool"
    return f"builder-{slug}-{_hash(f'{pool} {token}')}-{number}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@asynccontextmanager
async def open_k8s(pool: str, plan: PodPlan, access: Access) -> AsyncIterator["K8sProvider"]:
    import httpx  # late: only who uses this provider pays for it

    async with httpx.AsyncClient(
        base_url=access.server, verify=access.tls, timeout=TIMEOUT_S, trust_env=False
    ) as client:
        yield K8sProvider(pool, plan, access, client)


class K8sProvider:
    def __init__(self, pool: str, plan: PodPlan, access: Access, client: Any) -> None:
        self._pool = pool
        self._plan = plan
        self._access = access
        self._client = client
        self._pods = f"/api/v1/namespaces/{plan.namespace}/pods"
        self._launched: dict[str, list[Instance]] = {}
        self._lock = trio.Lock()

    async def launch(self, count: int, token: str, *, urgent: bool = False) -> list[Instance]:
        del urgent  # all of them start alike
        async with self._lock:
            if token not in self._launched:
                self._launched[token] = await self._create(count, token)
            return self._launched[token]

    async def _create(self, count: int, token: str) -> list[Instance]:
        made: list[Instance] = []
        for number in range(1, count + 1):
            name = pod_name(self._pool, token, number)
            pod = manifest(self._plan, self._pool, name, token)
            try:
                await self._call("POST", self._pods, json=pod, fine=(409,))
            except ProviderError:
                if not made:
                    raise
                break
            made.append(Instance(name, label(token)))
        return made

    async def terminate(self, ids: Iterable[str]) -> None:
        for name in ids:
            await self._call("DELETE", f"{self._pods}/{name}", fine=(404,))

    async def list(self) -> list[Instance]:
        found: list[Instance] = []
        ended: list[str] = []
        params = {"labelSelector": f"{POOL_LABEL}={label(self._pool)}", "limit": str(PAGE)}
        while True:
            answer = await self._call("GET", self._pods, params=params)
            for pod in answer["items"]:
                metadata = pod["metadata"]
                if metadata.get("deletionTimestamp"):
                    continue
                if pod.get("status", {}).get("phase") in ENDED:
                    ended.append(metadata["name"])
                    continue
                found.append(Instance(metadata["name"], metadata["labels"].get(TOKEN_LABEL, "")))
            following = answer.get("metadata", {}).get("continue")
            if not following:
                await self.terminate(ended)
                return found
            params = {**params, "continue": following}

    async def _call(
        self, method: str, path: str, fine: tuple[int, ...] = (), **request: Any
    ) -> Any:
        import httpx

        token = self._access.token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            answer = await self._client.request(method, path, headers=headers, **request)
        except httpx.HTTPError as error:
            raise TransientError(f"Kubernetes: {self._access.server}: {error!r}") from error
        if answer.status_code in fine:
            return {}
        if answer.status_code >= 300:
            raise fault(answer.status_code, _message(answer))
        return answer.json()


def _message(answer: Any) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return str(answer.text[:200]) or "no reason given"


def fault(status: int, message: str) -> ProviderError:
    """Our fault for an answer of the API server."""
    text = f"Kubernetes: {status}: {message}"
    if status == 403 and "exceeded quota" in message:
        return QuotaError(text)
    if status in (401, 403):
        return CredentialsError(text)
    if status == 429 or status >= 500:
        return TransientError(text)
    return RefusedError(text)
