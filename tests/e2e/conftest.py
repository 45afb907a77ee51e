"""What the end-to-end tests share: one service and one Bazel for a file of tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bazel import debian
from tests.e2e.bazel import Bazel, installed
from tests.e2e.service import Service, running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module")
def bazel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bazel]:
    reason = debian.missing()
    if reason:
        pytest.skip(f"Bazel: {reason}")
    with installed(tmp_path_factory.mktemp("bazel") / "here") as bazel:
        yield bazel


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder
