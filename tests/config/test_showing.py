"""Settings as text, and back."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder.base.document import parse
from builder.base.units import parse_duration, parse_size
from builder.config.loading import Loaded, Surroundings, load
from builder.config.settings import Settings, Worker
from builder.config.showing import as_json, as_yaml, duration_text, shown, size_text
from builder.host.resources import schema

SCHEMA = schema("config.schema.json")
FULL = """\
role: coordinator
coordinator: {join_token: hush, drain_grace: 1m30s}
worker: {platform: {gpu: "1", "a b": "x: y", api_token: hush}, name: "true"}
auth: {mode: token, tokens: [{name: ci, token: hush, role: writer}]}
providers:
  k8s: {image: "a,b", limits: {cpu: "2"}}
  custom: {entry_point: "a:B", environment: {CLOUD_PASSWORD: hush, REGION: eu}}
client: {remote: true, targets: ["#a", "b c", "[x]"]}
"""


def loaded(text: str) -> Loaded:
    there = Surroundings({}, lambda path, _: path, lambda _: "")
    return load(parse(text, "f.yaml"), (), SCHEMA, there)


def test_the_shown_file_says_the_same() -> None:
    """What `as_yaml` writes loads to equal settings, secrets apart."""
    text = FULL.replace("hush", "(hidden)")
    first = loaded(text)
    again = loaded(as_yaml(first.settings, first.origins))
    assert again.settings == first.settings


def test_defaults_shown_are_defaults() -> None:
    """Without a file too."""
    text = as_yaml(Settings(), {})
    assert loaded(text).settings == Settings()
    assert "\n  listen: 127.0.0.1:9001                      # default\n" in text
    assert "\n  # join_token:                               # not set\n" in text


def test_secrets_are_hidden() -> None:
    """In YAML, in JSON, in lists and in free blocks with names that sound like secrets."""
    made = loaded(FULL)
    for text in (as_yaml(made.settings, made.origins), as_json(made.settings, made.origins)):
        assert "hush" not in text
        assert text.count("(hidden)") == 4
        assert "REGION" in text


def test_json_has_value_and_origin_of_every_key() -> None:
    """By dotted key; what is not set is null."""
    made = loaded(FULL)
    entries: dict[str, Any] = json.loads(as_json(made.settings, made.origins))
    assert entries["coordinator.drain_grace"] == {"value": "1m30s", "origin": "f.yaml:2"}
    assert entries["pool.min"] == {"value": 2, "origin": "default"}
    assert entries["providers.aws"] == {"value": None, "origin": "default"}
    assert entries["auth.tokens"]["value"] == [
        {"name": "ci", "token": "(hidden)", "role": "writer"}
    ]
    assert len(entries) == len(shown(made.settings, made.origins))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "500ms"), (90, "1m30s"), (86400, "1d"), (3601.25, "1h1s250ms"), (30, "30s")],
)
def test_durations(seconds: float, text: str) -> None:
    """As short as it goes."""
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1000, "1000"), (1024, "1KiB"), (20 * 1024**3, "20GiB"), (4160 * 1024, "4160KiB")],
)
def test_sizes(size: int, text: str) -> None:
    """In the largest unit that divides it."""
    assert size_text(size) == text


@settings(deadline=None)
@given(st.floats(0, 10**7, allow_nan=False))
def test_every_duration_is_read_back(seconds: float) -> None:
    """To the microsecond."""
    assert parse_duration(duration_text(seconds)) == pytest.approx(seconds, abs=1e-6)


@settings(deadline=None)
@given(st.integers(0, 2**53))
def test_every_size_is_read_back(size: int) -> None:
    """To the byte."""
    assert parse_size(size_text(size)) == size


@settings(deadline=None)
@example({"<<": ""})
@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4))
def test_every_text_is_read_back(platform: dict[str, str]) -> None:
    """Quoted where YAML would read something else."""
    given_ = replace(Settings(), worker=replace(Worker(), platform=platform))
    again = loaded(as_yaml(given_, {}))
    hidden = {k: v for k, v in platform.items() if again.settings.worker.platform[k] != v}
    assert all(again.settings.worker.platform[name] == "(hidden)" for name in hidden)
