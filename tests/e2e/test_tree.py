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
    assert generate(here, 3, 2, 4) == generate(there, 3, 2, 4) == 33
    remote = ("--remote", "--coordinator", service.coordinator)
    assert "27 targets: 0 from the cache, 27 built" in bldr(here, "build", "//...").stdout
    assert "27 targets: 0 from the cache, 27 built" in bldr(there, "build", "//...", *remote).stdout
    assert digest_of(here) == digest_of(there)
    (here / "p1" / "src" / "t1-2").write_text("changed\n")
    changed = bldr(here, "build", "//...").stdout
    assert "27 targets: 25 from the cache, 2 built" in changed, changed
    (there / "p0" / "src" / "t1-0").write_text("changed\n")
    changed = bldr(there, "build", "//...", *remote).stdout
    assert "27 targets: 25 from the cache, 2 built" in changed, changed
    assert "//p0:bundle: Executing on worker-" in changed
