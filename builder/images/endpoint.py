"""One registry's server: requests with whatever authorization it asks for.

A 401 says how to authorize: by a token from a realm, or by name and password. What was granted is
kept for the requests that follow, and asked for again when it no longer holds.

Sources: OCI distribution specification; its predecessor's "Token Authentication".
"""

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from builder.base.errors import UnavailableError
from builder.images.challenge import Challenge, challenges
from builder.images.errors import ImageError

if TYPE_CHECKING:
    import httpx

SILENCE_S = 60.0
MOST_REDIRECTS = 5
MOST_TOKEN = 1 << 20


@dataclass(frozen=True, slots=True)
class Registry:
    """What the configuration says of one. `insecure` is plain HTTP; `mirrors` are hosts that are
    asked first, each as its own entry says, if it has one; `ca` is a file of certificates."""

    host: str
    mirrors: tuple[str, ...] = ()
    insecure: bool = False
    username: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""


class Endpoint:
    """To be used as a context, for one image."""

    def __init__(self, registry: Registry, name: str) -> None:
        self.registry = registry
        self._name = name
        scheme = "http" if registry.insecure else "https"
        self._base = f"{scheme}://{registry.host}/v2/{name}/"
        self._authorization: dict[str, str] = {}

    async def __aenter__(self) -> "Endpoint":
        import ssl  # late, as httpx: only who pulls an image pays for them

        import httpx

        registry = self.registry
        self._client = httpx.AsyncClient(
            follow_redirects=True,
            max_redirects=MOST_REDIRECTS,
            timeout=SILENCE_S,
            event_hooks={"request": [self.check]},
            verify=ssl.create_default_context(cafile=registry.ca) if registry.ca else True,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def check(self, request: "httpx.Request") -> None:
        """Redirects, and a realm, are requests too."""
        if request.url.scheme != "https" and not self.registry.insecure:
            raise ImageError(
                f"registry {self.registry.host} leads to {request.url.host} without TLS; where "
                "that is meant, sandbox.images.registries says insecure: true"
            )

    @asynccontextmanager
    async def get(self, path: str, headers: Mapping[str, str]) -> AsyncIterator["httpx.Response"]:
        """A successful answer, its body yet to be read. Raises ImageError, UnavailableError."""
        import httpx

        try:
            for last in (False, True):
                sent = {"accept-encoding": "identity", **headers, **self._authorization}
                async with self._client.stream("GET", self._base + path, headers=sent) as answer:
                    asked = answer.headers.get_list("www-authenticate")
                    if answer.status_code != 401 or last:
                        self._check_status(answer.status_code, path)
                        yield answer
                        return
                await self._authorize(challenges(asked))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            why = str(error) or type(error).__name__
            raise UnavailableError(f"registry {self.registry.host}: {why}") from error

    def _check_status(self, status: int, path: str) -> None:
        what = f"{self.registry.host}/{self._name}, {path}"
        if status in (200, 206):
            return
        if status == 429 or status >= 500:
            raise UnavailableError(f"{what}: the registry answers HTTP {status}")
        if status in (401, 403):
            raise ImageError(
                f"{what}: the registry does not let this worker have it (HTTP {status}); "
                "sandbox.images.registries takes username and password"
            )
        why = "there is none" if status == 404 else f"the registry answers HTTP {status}"
        raise ImageError(f"{what}: {why}")

    async def _authorize(self, asked: list[Challenge]) -> None:
        registry = self.registry
        for challenge in asked:
            if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                token = await self._token(challenge.parameters)
                self._authorization = {"authorization": f"Bearer {token}"}
                return
            if challenge.scheme == "basic" and registry.username:
                self._authorization = self._basic()
                return
        if any(challenge.scheme == "basic" for challenge in asked):
            raise ImageError(
                f"registry {registry.host} asks for a name and a password, which "
                "sandbox.images.registries does not have for it"
            )

    def _basic(self) -> dict[str, str]:
        pair = f"{self.registry.username}:{self.registry.password}".encode()
        return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}

    async def _token(self, parameters: Mapping[str, str]) -> str:
        wanted = {"scope": parameters.get("scope") or f"repository:{self._name}:pull"}
        if "service" in parameters:
            wanted["service"] = parameters["service"]
        headers = self._basic() if self.registry.username else {}
        answer = await self._client.get(parameters["realm"], params=wanted, headers=headers)
        if answer.status_code == 429 or answer.status_code >= 500:
            raise UnavailableError(
                f"registry {self.registry.host}: no token (HTTP {answer.status_code})"
            )
        token = None
        if answer.status_code == 200 and len(answer.content) <= MOST_TOKEN:
            token = _token_in(answer)
        if not token:
            raise ImageError(
                f"registry {self.registry.host} gives no token for {self._name} "
                f"(HTTP {answer.status_code}); is it there, and are username and password right?"
            )
        return token


def _token_in(answer: "httpx.Response") -> str | None:
    try:
        found = answer.json()
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    token = found.get("token") or found.get("access_token")
    return token if isinstance(token, str) and token.isascii() and token.isprintable() else None
