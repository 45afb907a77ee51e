"""Which sandbox a system has, and what is said where it has none."""

import pytest

from builder.base.errors import UsageError
from builder.sandbox.interface import SandboxError
from builder.sandbox.opening import open_sandbox


async def test_linux_has_its_own() -> None:
    async with open_sandbox(ready=1) as sandbox:
        assert sandbox.backend.startswith("namespaces")


async def test_a_mac_without_sandbox_exec_has_none() -> None:
    """Nothing else is taken instead, whatever the configuration accepts."""
    with pytest.raises(SandboxError, match="sandbox-exec is not there"):
        async with open_sandbox(system="darwin", best_effort=True):
            pass


async def test_windows_isolates_too_little_unless_that_is_accepted() -> None:
    with pytest.raises(SandboxError, match="best-effort to accept that"):
        async with open_sandbox(system="win32"):
            pass


@pytest.mark.parametrize("system", ["darwin", "win32"])
async def test_another_root_is_for_linux(system: str) -> None:
    with pytest.raises(UsageError, match=r"sandbox\.root is for Linux"):
        async with open_sandbox(system=system, root="/srv/root", best_effort=True):
            pass
