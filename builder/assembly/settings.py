"""The settings of this process: config file, environment and command line, in that order.

key                   set by
client.coordinator,   BUILDER_COORDINATOR
  worker.coordinator
...                   see ENVIRONMENT below; `builder config show` tells what holds and why
"""

import os
from collections.abc import Mapping
from pathlib import Path

from builder.base.document import Document, Plain, parse
from builder.base.errors import UsageError
from builder.config.loading import (
    Layer,
    Loaded,
    Origins,
    Surroundings,
    load,
)
from builder.config.settings import Settings
from builder.host.resources import schema

SCHEMA = "config.schema.json"
COMMAND_LINE = "command line"
MAX_FILE = 1024 * 1024  # bytes of a config or secret file

ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "BUILDER_COORDINATOR": ("client.coordinator", "worker.coordinator"),
    "BUILDER_REMOTE": ("client.remote",),
    "BUILDER_INSTANCE": ("client.instance",),
    "BUILDER_TOKEN": ("client.token",),
    "BUILDER_WORKER_NAME": ("worker.name",),
    "BUILDER_JOIN_TOKEN": ("worker.join_token",),
    "BUILDER_STORE": ("store.path",),
    "BUILDER_SCRATCH": ("worker.scratch",),
    "BUILDER_LOG_LEVEL": ("logging.level",),
    "BUILDER_LOG_FORMAT": ("logging.format",),
    "BUILDER_TRACING": ("tracing.endpoint",),
    "BUILDER_WORK_STEALING": ("scheduler.work_stealing",),
}


def load_settings(
    config_path: str | None, overrides: Mapping[str, Plain], environ: Mapping[str, str]
) -> tuple[Settings, Origins]:
    """The settings to work with, and where each of them came from.

    `overrides` are the command line's, by dotted key: `{"pool.min": 4}`; a value of None is one
    that the command line does not set. Raises UsageError.
    """
    loaded = read_settings(config_path, overrides, environ)
    return loaded.settings, loaded.origins


def read_settings(
    config_path: str | None, overrides: Mapping[str, Plain], environ: Mapping[str, str]
) -> Loaded:
    """As `load_settings`, with the document that they come from."""
    return _load(
        config_path, overrides, Surroundings(environ, path_resolver(config_path), read_secret)
    )


def read_shape(
    config_path: str | None, overrides: Mapping[str, Plain], environ: Mapping[str, str]
) -> Loaded:
    """As `read_settings` for a file of another machine: secrets' files are not read."""
    return _load(config_path, overrides, Surroundings(environ, path_resolver(config_path), str))


def _load(
    config_path: str | None, overrides: Mapping[str, Plain], surroundings: Surroundings
) -> Loaded:
    document = None if config_path is None else read_document(config_path)
    given = {key: value for key, value in overrides.items() if value is not None}
    layers = [*environment_layers(surroundings.environ), Layer(COMMAND_LINE, given)]
    return load(document, layers, schema(SCHEMA), surroundings)


def environment_layers(environ: Mapping[str, str]) -> list[Layer]:
    """One layer for each of our variables that is set; an empty one counts as not set."""
    return [
        Layer(f"environment variable {name}", dict.fromkeys(keys, environ[name]))
        for name, keys in ENVIRONMENT.items()
        if environ.get(name)
    ]


def read_document(path: str) -> Document:
    """The config file, parsed. Raises UsageError."""
    return parse(_read(path, "the config file"), path)


def read_secret(path: str) -> str:
    """The text of a secret's file. Raises UsageError."""
    try:
        return _read(path, "the secret file").decode()
    except UnicodeDecodeError:
        raise UsageError(f"the secret file {path} is not UTF-8 text") from None


def _read(path: str, what: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{what} {path} cannot be read: {reason}") from None
    if len(data) > MAX_FILE:
        raise UsageError(f"{what} {path} is larger than {MAX_FILE // 1024} KiB")
    return data


class _PathResolver:
    def __init__(self, config_path: str | None) -> None:
        self._beside = Path(config_path or ".").absolute().parent

    def __call__(self, text: str, in_file: bool) -> str:
        base = self._beside if in_file else Path.cwd()
        return os.path.normpath(base / Path(text).expanduser())


def path_resolver(config_path: str | None) -> _PathResolver:
    """Makes paths absolute: `~` is the home directory, and what stands in the config file is
    relative to the file's directory."""
    return _PathResolver(config_path)
