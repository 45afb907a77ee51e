"""A real Bazel that tells how its builds go."""

import re
import urllib.request

import pytest

from tests.e2e.bazel import Bazel, remote
from tests.e2e.service import Service

pytestmark = pytest.mark.slow


def builds(service: Service) -> dict[str, str]:
    """The rows of the page's section, latest last: what was asked for, and what came of it."""
    with urllib.request.urlopen(f"http://{service.address('Metrics')}/", timeout=20) as answer:
        page = answer.read().decode()
    section = page.partition("<h2>Builds</h2>")[2].partition("</table>")[0]
    return dict(reversed(re.findall(r"<td>(.*?)</td><td>(.*?)</td>", section)))


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
