"""An unmodified Bazel has an action done in a container image, as a property of its target."""

from pathlib import Path

import pytest

from tests.e2e.bazel import Bazel, remote
from tests.e2e.service import CONFIG, running
from tests.images.pictures import directory, entry, layout, picture, system, tar

pytestmark = pytest.mark.slow
RULE = '''"""A rule that tells what its action sees."""

def _look(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".txt")
    ctx.actions.run(
        outputs = [out],
        inputs = ctx.files.srcs,
        executable = "/bin/sh",
        arguments = ["-c", "cat /opt/version $1 > $0", out.path, ctx.files.srcs[0].path],
    )
    return [DefaultInfo(files = depset([out]))]

look = rule(_look, attrs = {"srcs": attr.label_list(allow_files = True)})
'''
BUILD = """load(":look.bzl", "look")
look(name = "inside", srcs = ["in.txt"], exec_properties = {"container-image": "%s"})
look(name = "absent", srcs = ["in.txt"], exec_properties = {"container-image": "%s"})
"""


def test_a_target_runs_in_its_image(bazel: Bazel, tmp_path: Path) -> None:
    """What only the image has is in the output; an image that is not there is told as such."""
    upper = tar(directory("opt"), entry("opt/version", b"pictured\n"))
    layout(tmp_path / "images" / "one", {"v1": picture(system(), upper)})
    name = f"oci:{tmp_path}/images/one"
    package = bazel.workspace / "pictured"
    package.mkdir()
    (package / "look.bzl").write_text(RULE)
    (package / "in.txt").write_text("an input\n")
    (package / "BUILD").write_text(BUILD % (f"{name}:v1", f"{name}:v2"))
    images = f"layouts: [{tmp_path}/images], path: {tmp_path}/unpacked"
    with running(
        tmp_path / "service", config=f"{CONFIG}sandbox: {{{{images: {{{{{images}}}}}}}}}\n"
    ) as service:
        answer = bazel.run("build", "//pictured:inside", *remote(service.reapi))
        assert answer.code == 0, answer.text
        assert answer.ways["remote"] == 1
        assert bazel.output("pictured/inside.txt").read_text() == "pictured\nan input\n"
        answer = bazel.run("build", "//pictured:absent", *remote(service.reapi))
        assert answer.code != 0
        assert f"{tmp_path}/images/one has no tag 'v2'; it has v1" in answer.text, answer.text
