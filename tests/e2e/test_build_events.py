"""A real Bazel that tells how its builds go."""

import contextlib
import re
import urllib.error
import urllib.request

import pytest

from tests.e2e.bazel import Bazel, remote
from tests.e2e.service import Service

pytestmark = pytest.mark.slow


def builds(service: Service) -> dict[str, str]:
    """What the pages tell: for each build what was asked for, and what came of it."""
    found: dict[str, str] = {}
    for path in ("", "invocations"):
        url = f"http://{service.address('Metrics')}/{path}"
        with contextlib.suppress(urllib.error.HTTPError):
            with urllib.request.urlopen(url, timeout=60) as answer:
                page = answer.read().decode()
            rows = re.findall(r"<(?:td|dt)>(.*?)</(?:td|dt)>\s*<(?:td|dd)>(.*?)</(?:td|dd)>", page)
            found.update(reversed(rows))
    return found


def test_bazel_publishes_its_builds(bazel: Bazel, service: Service) -> None:
    """A build that works, tests, and a build that fails: each is told as it was."""
    options = remote(service.reapi, "events", f"--bes_backend=grpc://{service.reapi}")
    first = bazel.run("build", "//lib:main_0", "//gen/...", *options)
    assert first.code == 0, first.text
    tested = bazel.run("test", "//data:data_test", *options)
    assert tested.code == 0, tested.text
    failed = bazel.run("build", "//broken:broken", *options)
    assert failed.code == 1, failed.text
    told = builds(service)
    assert re.match(r"succeeded in .*: \d+ targets$", told["build //lib:main_0 //gen/..."]), told
    row = told["test //data:data_test"]
    assert re.match(r"succeeded in .*: 1 targets; 1 of 1 tests passed", row), told
    assert re.match(r"failed in .*: 1 targets, 1 failed", told["build //broken:broken"]), told
