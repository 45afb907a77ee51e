"""Bazel from Debian's packages, made to work without downloads.

Debian builds Bazel 4.2.3 and packages the rules that it would fetch from the network; they are
handed to it as local repositories. Two of them need a change to fit each other, see below.
Nothing is installed here: `.ci/test` asks for the PACKAGES, by `python3 tests/bazel/debian.py`.
"""

import shutil
from pathlib import Path

PACKAGES = ["bazel-bootstrap", "bazel-rules-cc", "bazel-rules-java", "bazel-rules-proto"]
PACKAGES += ["bazel-skylib", "bazel-platforms"]
SHARE = Path("/usr/share/bazel")
REPOSITORIES = {
    "rules_cc": "rules/cc",
    "rules_java": "rules/java",
    "rules_proto": "rules/proto",
    "bazel_skylib": "tools/skylib",
    "platforms": "tools/platforms",
}

# Debian's rules_cc 0.0.4 is for Bazel 5: it loads a function that Bazel 4.2 does not have, and
# asks for a toolchain by it. The older spelling means the same.
NEWER = ("compiler_flag", "cc_flags_supplier")
SPELLINGS = {
    '"find_cpp_toolchain", "use_cpp_toolchain")': '"find_cpp_toolchain")',
    "toolchains = use_cpp_toolchain()": 'toolchains = ["@bazel_tools//tools/cpp:toolchain_type"]',
}

# Bazel's test rules name this repository, which Debian has no package of; it is used only by
# `bazel coverage`.
COVERAGE_BUILD = """package(default_visibility = ["//visibility:public"])
filegroup(name = "coverage_report_generator", srcs = ["none.sh"])
sh_binary(name = "Main", srcs = ["none.sh"])
sh_binary(name = "lcov_merger", srcs = ["none.sh"])
"""


def missing() -> str:
    """Why Bazel cannot run here, or nothing."""
    absent = [f"{SHARE}/{path}" for path in REPOSITORIES.values() if not (SHARE / path).is_dir()]
    if shutil.which("bazel") is None:
        absent.insert(0, "bazel")
    if not absent:
        return ""
    return f"not installed: {', '.join(absent)}; as root: apt-get install {' '.join(PACKAGES)}"


def prepare(into: Path) -> Path:
    """Write the repositories and a bazelrc that names them; the bazelrc's path."""
    for name, source in REPOSITORIES.items():
        shutil.copytree(SHARE / source, into / name)
    for module in NEWER:
        path = into / "rules_cc" / "cc" / "private" / "rules_impl" / f"{module}.bzl"
        text = path.read_text()
        for newer, older in SPELLINGS.items():
            text = text.replace(newer, older)
        path.write_text(text)
    coverage = into / "remote_coverage_tools"
    coverage.mkdir()
    (coverage / "WORKSPACE").touch()
    (coverage / "BUILD").write_text(COVERAGE_BUILD)
    script = coverage / "none.sh"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    rc = into / "bazelrc"
    names = [*REPOSITORIES, coverage.name]
    rc.write_text("".join(f"common --override_repository={n}={into / n}\n" for n in names))
    return rc


if __name__ == "__main__":
    print(*PACKAGES)
