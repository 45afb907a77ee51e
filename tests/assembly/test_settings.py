"""The settings of a process: file, environment, command line."""

from pathlib import Path

import pytest

from builder.assembly.settings import ENVIRONMENT, load_settings, read_document, read_settings
from builder.base.errors import UsageError
from builder.config.kinds import Address, Secret
from builder.config.loading import DEFAULT, origin_of


def test_the_environment_sets_what_it_names(tmp_path: Path) -> None:
    """Each variable of the table has its effect, and is the origin of it."""
    environ = {
        "BUILDER_COORDINATOR": "h:1",
        "BUILDER_REMOTE": "true",
        "BUILDER_INSTANCE": "main",
        "BUILDER_TOKEN": "hush",
        "BUILDER_WORKER_NAME": "w",
        "BUILDER_JOIN_TOKEN": "hush",
        "BUILDER_STORE": str(tmp_path),
        "BUILDER_SCRATCH": "scratch",
        "BUILDER_LOG_LEVEL": "debug",
        "BUILDER_LOG_FORMAT": "json",
        "BUILDER_TRACING": "http://127.0.0.1:4318",
        "BUILDER_WORK_STEALING": "true",
    }
    assert environ.keys() == ENVIRONMENT.keys()
    loaded = read_settings(None, {}, environ)
    settings = loaded.settings
    assert settings.client.coordinator == settings.worker.coordinator == Address("h", 1)
    assert (settings.client.remote, settings.client.instance) == (True, "main")
    assert settings.client.token == settings.worker.join_token == Secret("hush")
    assert settings.worker.name == "w"
    assert settings.store.path == str(tmp_path)
    assert settings.worker.scratch == str(Path.cwd() / "scratch")
    assert (settings.logging.level, settings.logging.format) == ("debug", "json")
    assert settings.tracing.endpoint == "http://127.0.0.1:4318"
    for name, keys in ENVIRONMENT.items():
        for key in keys:
            assert loaded.origins[key] == f"environment variable {name}"


def test_an_empty_variable_is_not_set() -> None:
    """As everywhere in shells."""
    settings, origins = load_settings(None, {}, {"BUILDER_COORDINATOR": ""})
    assert settings.client.coordinator == Address("127.0.0.1", 9000)
    assert origins == {}


def test_a_wrong_variable_is_named() -> None:
    """The error says which one."""
    with pytest.raises(UsageError) as caught:
        load_settings(None, {}, {"BUILDER_COORDINATOR": "nowhere"})
    assert str(caught.value) == (
        "environment variable BUILDER_COORDINATOR: 'client.coordinator' must be the address of a "
        "service, not 'nowhere'; write for example 127.0.0.1:9000 or grpcs://build.example:9000"
    )


def test_the_command_line_wins_and_none_is_nothing(tmp_path: Path) -> None:
    """Flags that were not given leave the file's value alone."""
    file = tmp_path / "c.yaml"
    file.write_text("pool: {min: 3}\nreapi: {listen: ':9100'}\n")
    settings, origins = load_settings(
        str(file), {"pool.min": None, "reapi.listen": "9200"}, {"BUILDER_LOG_LEVEL": "error"}
    )
    assert settings.pool.min == 3
    assert settings.reapi.listen == Address("127.0.0.1", 9200)
    assert origin_of(origins, ("pool", "min")) == f"{file}:1"
    assert origin_of(origins, ("reapi", "listen")) == "command line"
    assert origin_of(origins, ("pool", "max")) == DEFAULT


def test_paths_start_at_the_file_and_home_is_known(tmp_path: Path) -> None:
    """Wherever the program was started."""
    (tmp_path / "token").write_text("hush\n")
    file = tmp_path / "c.yaml"
    file.write_text(
        "store: {path: data/../store}\ncoordinator: {join_token: file:token}\n"
        "worker: {scratch: ~/w}\n"
    )
    settings, _ = load_settings(str(file), {}, {})
    assert settings.store.path == str(tmp_path / "store")
    assert settings.coordinator.join_token == Secret("hush")
    assert settings.worker.scratch == str(Path.home() / "w")


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/nonexistent/c.yaml", "No such file or directory"), ("/", "Is a directory"), ("a\0b", "")],
)
def test_files_that_cannot_be_read(path: str, reason: str) -> None:
    """The error names the file and the reason."""
    with pytest.raises(UsageError) as caught:
        read_document(path)
    assert str(caught.value).startswith(f"the config file {path} cannot be read: {reason}")


def test_a_file_without_end_is_refused() -> None:
    """A device or a blob given by mistake does not fill the memory."""
    with pytest.raises(UsageError, match="is larger than 1024 KiB"):
        read_document("/dev/zero")


def test_a_secret_file_that_is_no_text(tmp_path: Path) -> None:
    """It is told where the file is named."""
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    file = tmp_path / "c.yaml"
    file.write_text("worker: {join_token: file:token}\n")
    with pytest.raises(UsageError) as caught:
        load_settings(str(file), {}, {})
    assert str(caught.value).startswith(
        f"{file}:1:22: the secret file {tmp_path}/token is not UTF-8 text\n"
    )
