"""From a file, the environment and the command line to settings."""

from collections.abc import Mapping
from typing import Any

import pytest

from builder.base.document import parse
from builder.base.errors import UsageError
from builder.config.kinds import Address, Secret
from builder.config.loading import Layer, Loaded, Surroundings, load, origin_of
from builder.config.settings import Settings, Token
from builder.host.resources import schema

SCHEMA = schema("config.schema.json")
FILES = {"/etc/t": " hush\n", "/conf/t": "beside\n", "/etc/empty": "\n"}


def read_secret(path: str) -> str:
    if path not in FILES:
        raise UsageError(f"the secret file {path} cannot be read: No such file or directory")
    return FILES[path]


def resolve_path(text: str, in_file: bool) -> str:
    return text if text.startswith("/") else f"{'/conf' if in_file else '/cwd'}/{text}"


def loaded(text: str | None, *layers: Layer, environ: Mapping[str, str] | None = None) -> Loaded:
    document = None if text is None else parse(text, "f.yaml")
    return load(document, layers, SCHEMA, Surroundings(environ or {}, resolve_path, read_secret))


def refused(text: str | None, *layers: Layer, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        loaded(text, *layers, environ=environ)
    return str(caught.value)


def flags(**values: Any) -> Layer:
    return Layer("command line", {key.replace("__", "."): v for key, v in values.items()})


def test_without_anything_everything_has_its_default() -> None:
    """Except that paths are absolute."""
    made = loaded(None)
    assert made.settings.store.path == "/cwd/~/.cache/builder/store"
    assert made.settings.scheduler == Settings().scheduler
    assert made.settings.tls.cert is None
    assert made.origins == {}


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}\n", "worker:\npool: {}\n"])
def test_an_empty_file_is_the_default(text: str) -> None:
    """Also with sections that hold nothing."""
    assert loaded(text).settings.pool == Settings().pool


def test_every_kind_of_value() -> None:
    """Durations become seconds, sizes bytes, addresses addresses, secrets hidden."""
    made = loaded(
        """\
role: all
coordinator: {listen: 9100, drain_grace: 1m30s, join_token: "file:/etc/t"}
reapi: {instances: ["", a/b], digest_functions: [blake3], limits: {max_message_size: 8MiB}}
store: {path: data, max_size: 4G, lease: 90}
worker: {platform: {gpu: "1"}, coordinator: "grpc://h:1", scratch: /s}
pool: {alpha: 1, target: 3}
sandbox: {reuse: trusted, read_only_paths: [opt, /usr/local], limits: {cpu_cores: 2, memory: 512M}}
auth: {mode: token, tokens: [{name: ci, token: "file:t"}]}
providers: {k8s: {image: i, requests: {cpu: "2"}}}
client: {remote: local, targets: [a, b]}
"""
    ).settings
    assert made.role == "all"
    assert made.coordinator.listen == Address("127.0.0.1", 9100)
    assert made.coordinator.drain_grace == 90.0
    assert made.coordinator.join_token == Secret("hush")
    assert made.reapi.instances == ("", "a/b")
    assert made.reapi.digest_functions == ("blake3",)
    assert made.reapi.limits.max_message_size == 8 * 1024**2
    assert made.reapi.limits.max_streams == 1000
    assert made.store.path == "/conf/data"
    assert (made.store.max_size, made.store.lease) == (4 * 1024**3, 90.0)
    assert made.worker.platform == {"gpu": "1"}
    assert made.worker.coordinator == Address("h", 1)
    assert made.worker.scratch == "/s"
    assert (made.pool.alpha, made.pool.target) == (1.0, 3)
    assert isinstance(made.pool.alpha, float)
    assert made.sandbox.read_only_paths == ("/conf/opt", "/usr/local")
    assert made.sandbox.reuse == "trusted"
    assert (made.sandbox.limits.cpu_cores, made.sandbox.limits.memory) == (2.0, 512 * 1024**2)
    assert made.auth.tokens == (Token("ci", Secret("beside"), "reader"),)
    assert made.providers.k8s is not None
    assert made.providers.k8s.requests.cpu == "2"
    assert made.providers.k8s.namespace == "default"
    assert made.providers.aws is None
    assert (made.client.remote, made.client.targets) == ("local", ("a", "b"))


def test_later_layers_win_and_every_value_knows_its_origin() -> None:
    """File, then environment, then command line."""
    made = loaded(
        "pool:\n  min: 1\n  max: 5\nworker:\n  platform: {a: b}\n",
        Layer("environment variable X", {"pool.max": "6", "logging.level": "debug"}),
        flags(pool__max=7, client__remote=True, reapi__listen="9005", store__path="there"),
    )
    assert (made.settings.pool.min, made.settings.pool.max) == (1, 7)
    assert made.settings.logging.level == "debug"
    assert made.settings.client.remote is True
    assert made.settings.reapi.listen == Address("127.0.0.1", 9005)
    assert made.settings.store.path == "/cwd/there"
    assert made.origins == {
        "pool.min": "f.yaml:2",
        "pool.max": "command line",
        "worker.platform": "f.yaml:5",
        "logging.level": "environment variable X",
        "client.remote": "command line",
        "reapi.listen": "command line",
        "store.path": "command line",
    }


def test_the_origin_of_a_section_and_of_what_is_inside_a_list() -> None:
    """A path that is no leaf has the origin of what is nearest."""
    origins = {"tls.cert": "f.yaml:3", "auth.tokens": "f.yaml:7"}
    assert origin_of(origins, ("tls",)) == "f.yaml:3"
    assert origin_of(origins, ("auth", "tokens", 1, "name")) == "f.yaml:7"
    assert origin_of(origins, ("pool", "min")) == "default"


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("wroker: {}\n", "1:1", "unknown key 'wroker'; did you mean 'worker'?"),
        ("pool:\n  mni: 2\n", "2:3", "unknown key 'mni' in 'pool'; did you mean 'min'?"),
        ("role: boss\n", "1:7", "'role' must be all, coordinator, worker or client, not 'boss'"),
        ("pool: {min: two}\n", "1:13", "'pool.min' must be a whole number, not 'two'"),
        ("pool: {min: -1}\n", "1:13", "'pool.min' must be at least 0, not -1"),
        ("store: {max_size: lots}\n", "1:19", "'store.max_size' must be a size, not 'lots'"),
        (
            "scheduler:\n  retry_delay: 5 minutes\n",
            "2:16",
            "'scheduler.retry_delay' must be a duration, not '5 minutes'",
        ),
        (
            "reapi: {listen: nowhere}\n",
            "1:17",
            "'reapi.listen' must be an address, not 'nowhere'",
        ),
        ("reapi: {listen: 'h:99999'}\n", "1:17", "'h:99999' is not an address: ports end at 65535"),
        ("- a\n", "1:1", "the document must be a block of keys, not a list"),
        (
            "providers: {aws: {region: r}}\n",
            "1:13",
            "the key 'image' is missing in 'providers.aws'",
        ),
        ("worker: {name: '${NOPE}'}\n", "1:16", "the environment variable NOPE is not set"),
        ("worker: {slots: '${SLOTS}'}\n", "1:17", "'worker.slots' must be a whole number, not 'x'"),
        (
            "coordinator: {join_token: 'file:/nope'}\n",
            "1:27",
            "the secret file /nope cannot be read: No such file or directory",
        ),
        (
            "coordinator: {join_token: 'file:/etc/empty'}\n",
            "1:27",
            "the secret file /etc/empty is empty",
        ),
        ("pool: {min: 3, max: 2}\n", "1:13", "'pool.min' is 3, above 'pool.max' 2"),
        ("pool:\n  max: 1\n", "2:8", "'pool.min' is 2, above 'pool.max' 1"),
        ("metrics: {listen: ':9000'}\n", "1:19", "127.0.0.1:9000 is taken by 'coordinator.listen'"),
        ("reapi: {listen: ':9090'}\n", "1:17", "127.0.0.1:9090 is taken by 'reapi.listen'"),
    ],
)
def test_mistakes_in_the_file(text: str, where: str, message: str) -> None:
    """They are told with line and column, also where a default is the other half of it."""
    assert refused(text, environ={"SLOTS": "x"}).startswith(f"f.yaml:{where}: {message}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pool.min": -1}, "'pool.min' must be at least 0, not -1"),
        ({"pool.min": "x"}, "'pool.min' must be a whole number, not 'x'"),
        (
            {"logging.level": "debgu"},
            (
                "'logging.level' must be debug, info, warning or error, not 'debgu'; did you mean "
                "debug?"
            ),
        ),
        (
            {"reapi.listen": "x"},
            (
                "'reapi.listen' must be an address, not 'x'; write for example "
                "127.0.0.1:9000, :9000 or unix:/run/builder/coordinator.sock"
            ),
        ),
        ({"pool.mni": 4}, "unknown key 'pool.mni'; did you mean 'pool.min'?"),
        ({"zebra": 4}, "unknown key 'zebra'"),
        ({"reapi.listen": "h:99999"}, "'h:99999' is not an address: ports end at 65535"),
        ({"pool.min": 21}, "'pool.min' is 21, above 'pool.max' 20"),
        (
            {"worker.join_token": "file:/nope"},
            "the secret file /nope cannot be read: No such file or directory",
        ),
    ],
)
def test_mistakes_on_the_command_line(values: dict[str, Any], message: str) -> None:
    """They are told with the name of their origin."""
    assert refused(None, Layer("command line", values)) == f"command line: {message}"


def test_mistakes_in_both_are_told_together() -> None:
    """Those of the file first."""
    told = refused("pool: {scale_down_threshold: 0.8}\n", flags(pool__min=30))
    assert told.startswith("f.yaml:1:30: 'pool.scale_down_threshold' 0.8 is not below")
    assert told.endswith("\ncommand line: 'pool.min' is 30, above 'pool.max' 20")


def test_a_secret_in_the_command_line_is_not_told() -> None:
    """Even when it is wrong."""
    told = refused(None, Layer("command line", {"worker.join_token": ["hush"]}))
    assert told == (
        "command line: 'worker.join_token' must be a secret text, not this; write for example "
        "file:/run/secrets/token or ${BUILDER_JOIN_TOKEN}"
    )


def test_secrets_do_not_show_in_the_settings() -> None:
    """Nor in anything that prints them."""
    made = loaded("coordinator: {join_token: hush}\nclient: {token: hush}\n")
    assert made.settings.coordinator.join_token == Secret("hush")
    assert "hush" not in repr(made.settings)
