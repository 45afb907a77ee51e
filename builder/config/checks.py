"""What a schema cannot say: settings that must fit each other."""

from collections import Counter
from collections.abc import Iterator

from builder.base.document import Path
from builder.base.errors import InvalidArgumentError
from builder.config.filling import Finding
from builder.config.kinds import Address
from builder.config.pool_checks import of_pools
from builder.config.settings import Settings, WireLimits

EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - to ask what is meant, not to bind
BATCH_OVERHEAD = 64 * 1024  # of a batch call's message around its blobs


def check(settings: Settings) -> list[Finding]:
    """Everything that does not fit, in no particular order."""
    rules = (of_pools, _scheduler, _reapi, _listeners, _exposure, _tls, _auth, _storage)
    return [finding for rule in rules for finding in rule(settings)]


def listeners(settings: Settings) -> dict[Path, Address]:
    """What this role listens on, by the setting that says so."""
    if settings.role not in ("all", "coordinator"):
        return {}
    found: dict[Path, Address] = {
        ("coordinator", "listen"): settings.coordinator.listen,
        ("reapi", "listen"): settings.reapi.listen,
    }
    if settings.artifacts.enabled:
        found["artifacts", "listen"] = settings.artifacts.listen
    if settings.metrics.enabled:
        found["metrics", "listen"] = settings.metrics.listen
    return found


def exposed(settings: Settings) -> dict[Path, Address]:
    """The listeners that other machines reach and that no TLS or no authentication guards."""
    if settings.tls.cert is not None and settings.auth.mode != "none":
        return {}
    return {path: a for path, a in listeners(settings).items() if not a.is_loopback}


def _scheduler(settings: Settings) -> Iterator[Finding]:
    scheduler = settings.scheduler
    if scheduler.heartbeat_timeout < 2 * scheduler.heartbeat_interval:
        yield Finding(
            ("scheduler", "heartbeat_timeout"),
            "'scheduler.heartbeat_timeout' is less than two heartbeat intervals",
            "one late heartbeat must not lose a worker",
            ("scheduler", "heartbeat_interval"),
        )
    if scheduler.default_timeout > scheduler.max_timeout:
        message = "'scheduler.default_timeout' is above 'scheduler.max_timeout'"
        other = ("scheduler", "max_timeout")
        yield Finding(("scheduler", "default_timeout"), message, other=other)
    if scheduler.work_stealing and settings.role == "worker":
        yield from _peers(settings)


def _peers(settings: Settings) -> Iterator[Finding]:
    """Workers show each other a token of the coordinator's, so only TLS may be lacking."""
    path, peers = ("worker", "peers", "listen"), settings.worker.peers
    if peers.listen.is_loopback:
        return
    if settings.tls.cert is None and not settings.insecure:
        message = f"'worker.peers.listen' {peers.listen} is open to other machines, without TLS"
        hint = "listen on 127.0.0.1, set up 'tls', or accept it with insecure: true"
        yield Finding(path, message, hint)
    if peers.host is None and peers.listen.host in EVERYWHERE:
        message = f"'worker.peers.listen' {peers.listen} does not say how others reach it"
        yield Finding(path, message, "set 'worker.peers.host'")


def _reapi(settings: Settings) -> Iterator[Finding]:
    reapi = settings.reapi
    if reapi.instances:
        yield from _instances(reapi.instances)
    if reapi.max_batch_size + BATCH_OVERHEAD > reapi.limits.max_message_size:
        message = "a batch of 'reapi.max_batch_size' does not fit a message of at most 'reapi."
        hint = f"leave {BATCH_OVERHEAD // 1024}KiB for what stands around the blobs"
        message += "limits.max_message_size'"
        other = ("reapi", "limits", "max_message_size")
        yield Finding(("reapi", "max_batch_size"), message, hint, other)
    yield from _wire(reapi.limits)
    if reapi.limits.stream_window > reapi.limits.connection_window:
        message = "'reapi.limits.stream_window' is above 'reapi.limits.connection_window'"
        other = ("reapi", "limits", "connection_window")
        yield Finding(("reapi", "limits", "stream_window"), message, other=other)


def _wire(limits: WireLimits) -> Iterator[Finding]:
    """What HTTP/2 lets a server say (RFC 9113, 6.5.2), and what a client assumes before that."""
    bounds = {
        "initial_window": (65_535, 2**31 - 1),
        "stream_window": (65_535, 2**31 - 1),
        "connection_window": (65_535, 2**31 - 1),
        "max_frame_size": (16_384, 2**24 - 1),
        "max_header_size": (4_096, 2**24),
    }
    for name, (least, most) in bounds.items():
        value: int = getattr(limits, name)
        if not least <= value <= most:
            path = ("reapi", "limits", name)
            yield Finding(path, f"'{'.'.join(path)}' is {value}: from {least} to {most} bytes")


def _instances(names: tuple[str, ...]) -> Iterator[Finding]:
    from builder.reapi.names import check_instance  # late: it brings protobuf, 30 ms for nobody

    for index, name in enumerate(names):
        try:
            check_instance(name)
        except InvalidArgumentError as error:
            yield Finding(("reapi", "instances", index), str(error))


def _listeners(settings: Settings) -> Iterator[Finding]:
    found = {path: a for path, a in listeners(settings).items() if a.port or a.path}
    taken = Counter(found.values())
    first: dict[Address, Path] = {}
    for path, address in found.items():
        if taken[address] > 1 and address in first:
            name = ".".join(map(str, first[address]))
            message = f"{address} is taken by '{name}' already"
            yield Finding(path, message, "choose another port", first[address])
        first.setdefault(address, path)


def _exposure(settings: Settings) -> Iterator[Finding]:
    if settings.insecure:
        return
    lacking = "TLS" if settings.tls.cert is None else "authentication"
    for path, address in exposed(settings).items():
        name = ".".join(map(str, path))
        message = f"'{name}' {address} can be reached by other machines, without {lacking}"
        hint = "listen on 127.0.0.1, set up 'tls' and 'auth', or accept it with insecure: true"
        yield Finding(path, message, hint)


def _tls(settings: Settings) -> Iterator[Finding]:
    tls = settings.tls
    for section, one in (("tls", tls), ("client", settings.client), ("worker", settings.worker)):
        if (one.cert is None) != (one.key is None):
            there, missing = ("key", "cert") if one.cert is None else ("cert", "key")
            message = f"'{section}.{there}' is set, but '{section}.{missing}' is not"
            yield Finding((section, there), message)
    if tls.client_ca is not None and tls.cert is None:
        yield Finding(("tls", "client_ca"), "'tls.client_ca' is set, but 'tls.cert' is not")


def _storage(settings: Settings) -> Iterator[Finding]:
    if settings.storage is not None:
        from builder.config.storage_checks import of_storage  # late: see `Settings.storage`

        yield from of_storage(settings.storage, settings.reapi.instances)


def _auth(settings: Settings) -> Iterator[Finding]:
    auth = settings.auth
    if auth.mode == "token" and not auth.tokens:
        yield Finding(("auth", "mode"), "'auth.mode' is token, but 'auth.tokens' has none")
    if auth.mode == "none" and auth.tokens:
        message = f"'auth.tokens' are set, but 'auth.mode' is {auth.mode}"
        yield Finding(("auth", "tokens"), message, "set mode: token")
    if auth.mode == "none" and auth.results != "writers":
        message = f"'auth.results' is {auth.results}, but 'auth.mode' is none: everybody may write"
        yield Finding(("auth", "results"), message, "set mode: token, or mtls")
    if auth.mode != "mtls" and auth.identities:
        message = f"'auth.identities' are set, but 'auth.mode' is {auth.mode}"
        yield Finding(("auth", "identities"), message, "set mode: mtls")
    if auth.mode == "mtls" and settings.tls.client_ca is None:
        yield Finding(("auth", "mode"), "'auth.mode' is mtls, but 'tls.client_ca' is not set")
    seen: set[str] = set()
    for index, token in enumerate(auth.tokens):
        if token.name in seen:
            message = f"there are two tokens of the name {token.name!r}"
            yield Finding(("auth", "tokens", index, "name"), message)
        seen.add(token.name)
