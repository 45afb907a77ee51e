"""`builder doctor` on this very host."""

import json

from click.testing import CliRunner

from builder.cli.doctor import command, sentences


def test_doctor_tells_what_holds() -> None:
    """It starts a sandbox and names what it isolates and limits, for people and for programs."""
    done = CliRunner().invoke(command, ["--json"])
    told = json.loads(done.output)
    assert (done.exit_code, told["sandbox"]["works"]) == (0, True)
    assert "network-namespace" in told["sandbox"]["guarantees"]
    assert f"wasm       wasmtime {told['webassembly']}" in sentences(told)
    assert "isolates   user-namespace" in "\n".join(sentences(told))


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
