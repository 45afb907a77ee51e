"""Bytes from elsewhere: files by HTTP(S), and trees of git repositories by commit.

Nothing of a client's request reaches a shell, and git is let near no protocol but HTTP(S), no
configuration and no hooks of this machine. What comes is in a temporary place until it is whole.
"""

import ipaddress
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from builder.base.digest import Digest, hasher
from builder.base.errors import (
    AbortedError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    StatusError,
    UnavailableError,
)
from builder.base.units import format_size
from builder.reapi.qualifiers import Integrity, Wanted

if TYPE_CHECKING:
    import httpx

SCHEMES = ("http", "https")
PIECE = 256 * 1024
MOST_REDIRECTS = 10
SILENCE_S = 30.0  # of a server, after which it is given up
# where clouds tell a machine about itself (RFC 3927, RFC 4291, and EC2's by IPv6)
CONFIDING = [ipaddress.ip_network(n) for n in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32")]
REFUSALS: dict[int, type[StatusError]] = {
    401: PermissionDeniedError,
    403: PermissionDeniedError,
    404: NotFoundError,
    410: NotFoundError,
}
CLONE = ("-c", "core.hooksPath=/dev/null", "-c", "core.symlinks=true", "-c", "gc.auto=0")


@dataclass(frozen=True, slots=True)
class Bounds:
    """`hosts` that may be asked, none means all; the most bytes of one asset."""

    hosts: tuple[str, ...] = ()
    most_bytes: int = 2 * 1024**3


def is_fetchable(uri: str) -> bool:
    return urlsplit(uri).scheme in SCHEMES


def check_host(uri: str, bounds: Bounds) -> None:
    """Raises PermissionDeniedError, InvalidArgumentError."""
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise InvalidArgumentError(f"{uri[:200]!r} is no HTTP(S) address")
    if bounds.hosts and parts.hostname not in bounds.hosts:
        raise PermissionDeniedError(
            f"host {parts.hostname} may not be asked: it is not in assets.hosts"
        )


@asynccontextmanager
async def fetched_file(
    uri: str, wanted: Wanted, function: str, bounds: Bounds
) -> AsyncIterator[tuple[Digest, AsyncGenerator[bytes, None]]]:
    """A file's digest, checked against what is wanted of it, and its bytes.

    Raises NotFoundError, PermissionDeniedError, UnavailableError, ResourceExhaustedError for one
    that is too large, AbortedError for one that is not what the checksum says.
    """
    check_host(uri, bounds)
    with tempfile.TemporaryFile(prefix="builder-asset-") as file:
        size = await _download(uri, wanted, bounds, file)
        digest = await trio.to_thread.run_sync(_digest, file, size, function)
        pieces = _pieces(file)
        try:
            yield digest, pieces
        finally:
            await pieces.aclose()


async def _download(uri: str, wanted: Wanted, bounds: Bounds, file: IO[bytes]) -> int:
    import httpx  # late: the start of a service does without

    async def check(request: httpx.Request) -> None:
        check_host(str(request.url), bounds)  # redirects are requests too

    seen = wanted.integrity.hasher() if wanted.integrity is not None else None
    size = 0
    try:
        async with (
            httpx.AsyncClient(
                follow_redirects=True,
                max_redirects=MOST_REDIRECTS,
                timeout=SILENCE_S,
                event_hooks={"request": [check]},
            ) as client,
            client.stream("GET", uri, headers=wanted.headers_for(uri)) as answer,
        ):
            _check_origin(answer, bounds)
            _check_answer(answer, uri)
            with trio.CancelScope() as enough:
                async for piece in answer.aiter_bytes(PIECE):
                    size += len(piece)
                    if size > bounds.most_bytes:
                        enough.cancel()  # not by an exception here: httpx's generators would stay
                        continue
                    if seen is not None:
                        seen.update(piece)
                    file.write(piece)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(f"fetching {uri[:200]} failed: {_reason(error)}") from error
    if size > bounds.most_bytes:
        most = format_size(bounds.most_bytes)
        raise ResourceExhaustedError(f"{uri[:200]} is over {most} (assets.max_size)")
    if wanted.integrity is not None and seen is not None:
        _check_integrity(wanted.integrity, seen.hexdigest(), uri)
    return size


def _reason(error: BaseException) -> str:
    """What an error says, or what is behind one that says nothing."""
    behind = error.__cause__ or error.__context__
    if str(error) or behind is None:
        return str(error) or type(error).__name__
    return _reason(behind)


def _check_integrity(integrity: Integrity, found: str, uri: str) -> None:
    if found != integrity.digest.hex():
        raise AbortedError(
            f"{uri[:200]} is not what checksum.sri says: its {integrity.algorithm} is {found}"
        )


def is_confiding(text: str) -> bool:
    """Whether it is an address at which a machine is told about itself."""
    address = ipaddress.ip_address(text)
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in CONFIDING)


def _check_origin(answer: "httpx.Response", bounds: Bounds) -> None:
    """An answer from this link's own addresses is not given on, unless its host is allowed by name:
    there clouds tell a machine its secrets. Raises PermissionDeniedError."""
    host = answer.url.host
    stream = answer.extensions["network_stream"]
    address = stream.get_extra_info("server_addr")[0]
    if host not in bounds.hosts and is_confiding(address):
        raise PermissionDeniedError(
            f"host {host} is at {address}, where a machine is told its own secrets: what it says "
            "is not given on unless assets.hosts names it"
        )


def _check_answer(answer: "httpx.Response", uri: str) -> None:
    status = answer.status_code
    if status != 200:
        error = REFUSALS.get(status, UnavailableError)
        raise error(f"fetching {uri[:200]} failed: HTTP {status} {answer.reason_phrase}")


def _digest(file: IO[bytes], size: int, function: str) -> Digest:
    file.seek(0)
    state = hasher(function, size)
    while piece := file.read(PIECE):
        state.update(piece)
    file.seek(0)
    return Digest(state.hexdigest(), size, function)


async def _pieces(file: IO[bytes]) -> AsyncGenerator[bytes, None]:
    while piece := await trio.to_thread.run_sync(file.read, PIECE):
        yield piece


def has_git() -> bool:
    return shutil.which("git") is not None


@asynccontextmanager
async def checked_out(uri: str, commit: str, bounds: Bounds) -> AsyncIterator[Path]:
    """A directory with the tree of a commit, without submodules.

    Raises NotFoundError for a repository or commit that is not there, UnavailableError.
    """
    check_host(uri, bounds)
    folder = await trio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="builder-asset-"))
    try:
        git = _git(Path(folder))
        await git("init", "--quiet", ".")
        try:
            await git("fetch", "--quiet", "--no-tags", "--depth=1", uri, commit)
        except UnavailableError:  # some servers give neither single commits nor a part of history
            await git("fetch", "--quiet", uri, "+refs/*:refs/fetched/*")
        try:
            await git("checkout", "--quiet", "--detach", commit)
        except UnavailableError:
            raise NotFoundError(f"{uri[:200]} has no commit {commit}") from None
        await trio.to_thread.run_sync(shutil.rmtree, Path(folder, ".git"))
        yield Path(folder)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))


def _git(folder: Path) -> Callable[..., Awaitable[None]]:
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "http:https",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "LC_ALL": "C",
    }

    async def git(*arguments: str) -> None:
        try:
            await trio.run_process(
                ["git", *CLONE, *arguments],
                cwd=folder,
                env=environment,
                capture_stdout=True,
                capture_stderr=True,
            )
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
            raise UnavailableError(f"git {arguments[0]} failed: {said[-1][:300]}") from None

    return git
