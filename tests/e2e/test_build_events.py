"""A real Bazel that tells how its builds go."""

import re
import urllib.request

import pytest

from tests.e2e.bazel import Bazel, remote
from tests.e2e.service import Service

pytestmark = pytest.mark.slow


def page(service: Service, path: str) -> str:
    with urllib.request.urlopen(f"http://{service.address('Metrics')}{path}", timeout=60) as answer:
        text: bytes = answer.read()
    return text.decode()


def builds(service: Service) -> dict[str, tuple[str, str]]:
    """What the pages tell: for each build where it is shown, and what came of it."""
    row = r'<a href="([^"]+)">([^<]*)</a> <span[^>]*>[^<]*</span><div class="quiet">(.*?)</div>'
    found = re.findall(row, page(service, "/invocations"))
    return {title: (link, sentence) for link, title, sentence in reversed(found)}


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
    link, sentence = told["build //lib:main_0 //gen/..."]
    assert re.match(r"succeeded in .*: \d+ targets$", sentence), told
    shown = page(service, link)
    assert "What the build says" in shown
    assert "Timeline by worker" in shown
    assert "Critical path" in shown
    link, sentence = told["test //data:data_test"]
    assert re.match(r"succeeded in .*: 1 targets; 1 of 1 tests passed", sentence), told
    assert re.search(r"<code>//data:data_test</code></td><td>.*passed", page(service, link))
    link, sentence = told["build //broken:broken"]
    assert re.match(r"failed in .*: 1 targets, 1 failed", sentence), told
    shown = page(service, link)
    assert "error:" in shown  # the compiler's, as the action wrote it
    assert "<code>//broken:broken</code>" in shown
