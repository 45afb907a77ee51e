"""A step and its inputs as REAPI's Command, Directory tree and Action.

Everything that could change the result is in the action's digest, and nothing else is: not where
the checkout lies, not the time, not the client's own environment. Source: REAPI v2 `Action`,
`Command` and `Platform`, with their canonical forms.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from builder.action.tree import Entry, checked_path, file_digests, merkle
from builder.base.digest import Digest, digest_of
from builder.base.errors import InvalidArgumentError
from builder.base.moments import parse_moment
from builder.reapi.digests import to_proto
from builder.reapi.limits import WALL_CLOCK
from builder.reapi.pb import remote_execution_pb2 as pb

# What each command finds in its environment, on every worker; `env` in a Builderfile adds to it.
# SOURCE_DATE_EPOCH stops compilers and archivers from writing the time of day into their output;
# it is 1980-01-01, the first day that a zip file can hold.
BASE_ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108 - the sandbox's own, private /tmp
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SOURCE_DATE_EPOCH": "315532800",
    "TZ": "UTC",
}


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be run, in `directory` of the work tree. Output paths are relative to that;
    `platform` is (name, value) pairs, `tools` by name what tells one such program from another."""

    arguments: tuple[str, ...]
    output_paths: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    platform: tuple[tuple[str, str], ...] = ()
    timeout_s: float | None = None
    cacheable: bool = True
    tools: Mapping[str, str] = field(default_factory=dict)
    directory: str = ""

    @property
    def salt(self) -> bytes:
        """Of the tools, that REAPI has no other field for."""
        if not self.tools:
            return b""
        state = sha256()
        for name, identity in self.tools.items():
            what = identity.encode(errors="surrogateescape")
            state.update(f"{name}\0{len(what)}\0".encode() + what)
        return state.digest()


@dataclass(frozen=True, slots=True)
class Prepared:
    """An action ready to be looked up, and what has to be stored before it can be run.

    `blobs` are the messages (action, command, directories); `files` the input files' digests,
    whose bytes the caller holds.
    """

    action: Digest
    command: Digest
    root: Digest
    blobs: Mapping[Digest, bytes]
    files: tuple[Digest, ...]

    @property
    def digests(self) -> list[Digest]:
        """Everything that must be in the storage, each once."""
        return list(dict.fromkeys([*self.blobs, *self.files]))


def prepare(step: Step, inputs: Mapping[str, Entry], function: str = "sha256") -> Prepared:
    """Raises InvalidArgumentError for what no worker could run."""
    tree = merkle(inputs, function)
    command = _message(command_of(step))
    command_digest = digest_of(command, function)
    action = pb.Action(
        command_digest=to_proto(command_digest),
        input_root_digest=to_proto(tree.root),
        do_not_cache=not step.cacheable,
        salt=step.salt,
    )
    if step.platform:
        action.platform.CopyFrom(platform_of(step.platform))
    if step.timeout_s is not None:
        nanoseconds = round(step.timeout_s * 1_000_000_000)
        action.timeout.seconds, action.timeout.nanos = divmod(nanoseconds, 1_000_000_000)
    data = _message(action)
    digest = digest_of(data, function)
    blobs = {digest: data, command_digest: command, **tree.directories}
    return Prepared(digest, command_digest, tree.root, blobs, tuple(file_digests(inputs.values())))


def command_of(step: Step) -> pb.Command:
    """The canonical Command: variables sorted by name, outputs sorted and each once."""
    if not step.arguments or not step.arguments[0]:
        raise InvalidArgumentError("a command needs at least the program's name")
    for path in step.output_paths:
        checked_path(path)
    environment = {**BASE_ENVIRONMENT, **own_environment(step)}
    return pb.Command(
        arguments=step.arguments,
        environment_variables=[
            pb.Command.EnvironmentVariable(name=name, value=value)
            for name, value in sorted(environment.items())
        ],
        output_paths=sorted(set(step.output_paths)),
        working_directory=step.directory,
        # Also in the deprecated field, where workers that speak versions before 2.2 look for it.
        platform=platform_of(step.platform) if step.platform else None,
    )


def own_environment(step: Step) -> dict[str, str]:
    """Beside what every command has. What programs take for the time is where the wall clock
    stands, if it does, unless the step says otherwise."""
    stands = dict(step.platform).get(WALL_CLOCK)
    moment = {} if stands is None else {"SOURCE_DATE_EPOCH": str(parse_moment(stands))}
    return {**moment, **step.environment}


def platform_of(properties: Iterable[tuple[str, str]]) -> pb.Platform:
    """Sorted by name, then by value."""
    return pb.Platform(
        properties=[
            pb.Platform.Property(name=name, value=value) for name, value in sorted(set(properties))
        ]
    )


def _message(message: pb.Action | pb.Command) -> bytes:
    return message.SerializeToString(deterministic=True)
