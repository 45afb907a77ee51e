"""`builder doctor` on this very host."""

import json
from pathlib import Path

from click.testing import CliRunner

from builder.cli.doctor import command, image_sentences, sentences


def test_doctor_tells_what_holds() -> None:
    """It starts a sandbox and names what it isolates and limits, for people and for programs."""
    done = CliRunner().invoke(command, ["--json"])
    told = json.loads(done.output)
    assert (done.exit_code, told["sandbox"]["works"]) == (0, True)
    assert "network-namespace" in told["sandbox"]["guarantees"]
    assert f"wasm       wasmtime {told['webassembly']}" in sentences(told)
    assert "user-namespace, mount-namespace" in "\n".join(sentences(told))
    assert "images     would work; sandbox.images lets none in" in sentences(told)
    assert (
        "clock      can stand still (hermetic: {clock: fixed}), by a preloaded library"
        in sentences(told)
    )


def test_doctor_tries_an_image(tmp_path: Path) -> None:
    """On the disk where they would be kept; and says whom the configuration lets in."""
    config = tmp_path / "worker.yaml"
    images = f"{{registries: [{{host: r.example}}], layouts: [/srv/a], path: {tmp_path}/images}}"
    config.write_text(f"sandbox: {{images: {images}}}")
    done = CliRunner().invoke(command, ["--config", str(config)])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert "images     work, of r.example, /srv/a" in lines
    assert f"images     kept in {tmp_path}/images up to 20.0 GB" in lines
    assert list((tmp_path / "images").iterdir()) == []


def test_doctor_tells_why_images_do_not_work() -> None:
    """Such as a disk that carries no overlay."""
    told = {"problem": "overlay: Invalid argument", "registries": ["r.example"], "layouts": []}
    assert image_sentences(told) == ["DO NOT WORK: overlay: Invalid argument"]


def test_doctor_tells_what_does_not() -> None:
    """A host without a sandbox is told with the reason and the command that helps."""
    told = {
        "host": {
            "host": "h", "os_family": "linux", "isa": "x86-64", "kernel": "6.1", "python": "3.11",
            "cores": 1, "memory_bytes": 1 << 30,
        },
        "user": 1000,
        "sandbox": {"works": False, "problem": "no way", "guarantees": [], "limits": []},
        "webassembly": "",
        "missing": [{"what": "user namespaces are switched off", "command": "sysctl -w x=1"}],
    }  # fmt: skip
    lines = sentences(told)
    assert "wasm       no engine, which only .wasm actions need: pip install wasmtime" in lines
    assert "sandbox    DOES NOT WORK: no way" in lines
    assert lines[-1] == "  enable:  sysctl -w x=1"


def test_doctor_tells_what_a_mac_has() -> None:
    """Its own backend, with the limits that held, and no word of control groups."""
    told = {
        "host": {
            "host": "m", "os_family": "macos", "isa": "arm-a64", "kernel": "24.1", "python": "3.12",
            "cores": 8, "memory_bytes": 1 << 34,
        },
        "user": 501,
        "sandbox": {
            "works": True, "backend": "sandbox-exec", "guarantees": ["seatbelt", "no-network"],
            "limits": ["wall=10s (timer)", "open-files=100 (rlimit)"],
        },
        "webassembly": "",
        "images": {"problem": "on macOS an action cannot see an image"},
        "clock": {"problem": "on macOS an action cannot have a fixed wall clock"},
        "missing": [],
    }  # fmt: skip
    lines = sentences(told)
    assert lines[0] == "host       m: macos, arm-a64, Darwin 24.1, 8 cores, 16.0 GB"
    assert "sandbox    works: sandbox-exec" in lines
    assert "images     DO NOT WORK: on macOS an action cannot see an image" in lines
    refused = "clock      CANNOT STAND STILL: on macOS an action cannot have a fixed wall clock"
    assert refused in lines
    assert "isolates   seatbelt, no-network" in lines
    assert "limits     wall=10s (timer), open-files=100 (rlimit)" in lines
