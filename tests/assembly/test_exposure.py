"""What is open to others is said at every start."""

from dataclasses import replace

import pytest

from builder.assembly.service import _warn_of_exposure
from builder.assembly.settings import load_settings
from builder.config.settings import Tls
from builder.telemetry.log import configure


def test_unguarded_listeners_are_logged_loudly(capfd: pytest.CaptureFixture[str]) -> None:
    """Each one, with the setting that opened it; loopback is no matter."""
    configure("info", "human")
    settings, _ = load_settings(None, {"insecure": True, "reapi.listen": "0.0.0.0:9001"}, {})
    _warn_of_exposure(settings)
    told = capfd.readouterr().err
    assert told.startswith("[WARNING] INSECURE: reapi.listen 0.0.0.0:9001 is open to other mach")
    assert told.count("\n") == 1
    assert "without TLS and authentication; whoever reaches it can run" in told
    _warn_of_exposure(replace(settings, tls=Tls("cert", "key")))
    assert "machines without authentication; whoever reaches" in capfd.readouterr().err
    _warn_of_exposure(replace(settings, auth=replace(settings.auth, mode="token")))
    assert "machines without TLS; whoever is on the way can read" in capfd.readouterr().err
    _warn_of_exposure(load_settings(None, {}, {})[0])
    assert capfd.readouterr().err == ""
