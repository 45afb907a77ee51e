"""A generated tree of packages in real sandboxes; `python -m tests.bench tree` has a large one."""

from pathlib import Path

import pytest

from tests.bench.tree import digest_of, generate
from tests.e2e.service import Service
from tests.e2e.test_walkthrough import bldr

pytestmark = pytest.mark.slow


def test_a_tree(service: Service, tmp_path: Path) -> None:
    """Here and on workers with the same bytes; a changed source builds what depends on it."""
    here, there = tmp_path / "here", tmp_path / "there"
    assert generate(here, 4, 2, 2) == generate(there, 4, 2, 2) == 28
    remote = ("--remote", "--coordinator", service.coordinator)
    assert "20 targets: 0 from the cache, 20 built" in bldr(here, "build", "//...").stdout
    assert "20 targets: 0 from the cache, 20 built" in bldr(there, "build", "//...", *remote).stdout
    assert digest_of(here) == digest_of(there)
    for root, how in ((here, ()), (there, remote)):
        (root / "p0" / "src" / "t1-0").write_text("changed\n")
        changed = bldr(root, "build", "//...", *how).stdout
        assert "20 targets: 17 from the cache, 3 built" in changed, changed
        for name in ("//p0:t1-0", "//p0:bundle", "//p3:bundle"):
            assert f"{name}: Executing on " in changed
    assert digest_of(here) == digest_of(there)
