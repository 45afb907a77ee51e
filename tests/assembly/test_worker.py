"""What a worker checks before it joins."""

import os

import pytest

from builder.assembly.worker import auditing_of, check_audit
from builder.base.errors import UsageError
from builder.config.settings import Audit, Sandbox, Settings
from builder.sandbox.interface import AuditLevel
from builder.worker.auditing import Auditing
from tests.worker.plain_sandbox import PlainSandbox

CHEAP, FULL = AuditLevel.CHEAP, AuditLevel.FULL


def test_audits_are_off_or_of_a_share() -> None:
    assert auditing_of(Settings()) == Auditing()
    settings = Settings(sandbox=Sandbox(audit=Audit("cheap", 0.1)))
    assert auditing_of(settings) == Auditing(CHEAP, 0.1)


class Isolated(PlainSandbox):
    guarantees = ("mount-namespace",)


def test_a_worker_that_could_audit_nothing_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so before the first action is refused."""
    with pytest.raises(UsageError, match="no sandbox to audit in"):
        check_audit(FULL, PlainSandbox())
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    with pytest.raises(UsageError, match="needs root"):
        check_audit(CHEAP, Isolated())
    check_audit(FULL, Isolated())
    check_audit(None, PlainSandbox())
