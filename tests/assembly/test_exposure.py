"""What is open to others is said at every start."""

import pytest

from builder.assembly.service import _warn_of_exposure
from builder.assembly.settings import load_settings
from builder.telemetry.log import configure


def test_unguarded_listeners_are_logged_loudly(capfd: pytest.CaptureFixture[str]) -> None:
    """Each one, with the setting that opened it; loopback is no matter."""
    configure("info", "human")
    settings, _ = load_settings(None, {"insecure": True, "reapi.listen": "0.0.0.0:9001"}, {})
    _warn_of_exposure(settings)
    told = capfd.readouterr().err
    assert told.startswith("[WARNING] INSECURE: reapi.listen 0.0.0.0:9001 is open to other mach")
    assert told.count("\n") == 1
    _warn_of_exposure(load_settings(None, {}, {})[0])
    assert capfd.readouterr().err == ""
