"""A package whose targets are made by a tool that stays (a persistent worker, JSON).

Bazel from Debian cannot mark a tool's files yet, so a property names them. The targets are manual:
nobody builds them who does not ask for them.
"""

from pathlib import Path

TARGETS = 4
RULE = '''"""A rule whose tool may stay."""

def _loud(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".out")
    arguments = ctx.actions.args()
    arguments.use_param_file("@%s", use_always = True)
    arguments.set_param_file_format("multiline")
    arguments.add_all([ctx.file.src, out])
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [arguments],
        inputs = [ctx.file.src],
        outputs = [out],
        mnemonic = "Loud",
    )
    return [DefaultInfo(files = depset([out]))]

loud = rule(_loud, attrs = {
    "src": attr.label(allow_single_file = True),
    "_tool": attr.label(
        default = "tool.py",
        allow_single_file = True,
        executable = True,
        cfg = "host",
    ),
})
'''
BUILD = f"""load(":loud.bzl", "loud")
STAYS = {{
    "supports-workers": "1",
    "requires-worker-protocol": "json",
    "persistent-worker-tools": "staying/tool.py",
}}
[loud(name = "t%d" % n, src = "in.txt", exec_properties = STAYS, tags = ["manual"])
 for n in range({TARGETS})]
"""
TOOL = """#!/usr/bin/python3
import json
import sys

def work(request, number):
    source, target = request[0], request[1]
    with open(source) as text, open(target, "w") as out:
        out.write(f"{text.read().strip().upper()}, request {number}\\n")

if sys.argv[-1] == "--persistent_worker":
    for number, line in enumerate(sys.stdin, 1):
        work(json.loads(line)["arguments"], number)
        print(json.dumps({"exitCode": 0}), flush=True)
else:
    with open(sys.argv[-1][1:]) as request:
        work(request.read().split("\\n"), 0)
"""


def write(package: Path) -> None:
    package.mkdir()
    (package / "loud.bzl").write_text(RULE)
    (package / "BUILD").write_text(BUILD)
    (package / "in.txt").write_text("source\n")
    (package / "tool.py").write_text(TOOL)
    (package / "tool.py").chmod(0o755)
