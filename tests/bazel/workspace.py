"""A C++ workspace for Bazel with every kind of thing that an action may read or write.

`write(folder)` makes it: a chain of libraries with a program and a test each, generated sources,
a tree artifact with directories, symlinks and executable files that later actions read, data of
tests, and, kept out of `//...` by the tag `manual`, what must fail and what takes its time.
"""

from pathlib import Path

LIBRARIES = 16
SLOW = 6

LIBRARY_H = "#pragma once\n\nlong value_{n}(long x);\n"
LIBRARY_CC = """#include "lib/value_{n}.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>
{include}
long value_{n}(long x) {{
  std::vector<long> v(10 + {n});
  std::iota(v.begin(), v.end(), x);
  return std::accumulate(v.begin(), v.end(), 0L){more};
}}
"""
TEST_CC = """#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>

#include "lib/value_{n}.h"

int main() {{
  const long got = value_{n}(1);
  std::cout << "value_{n}(1) = " << got << std::endl;
  std::ifstream data("data/numbers.txt");
  std::string first;
  return got == {want}L && std::getline(data, first) && first == "1" ? 0 : 1;
}}
"""
MAIN_CC = """#include <iostream>

#include "gen/table.h"
#include "lib/value_{n}.h"

int main() {{ std::cout << value_{n}(TABLE[{n}]) << std::endl; }}
"""
GENERATOR_CC = """#include <fstream>

int main(int, char** argv) {
  std::ofstream out(argv[1]);
  out << "#pragma once\\nconst long TABLE[] = {";
  for (int i = 0; i < 64; ++i) out << (i ? ", " : "") << i * i;
  out << "};\\n";
}
"""

GEN_BUILD = """package(default_visibility = ["//visibility:public"])

cc_binary(name = "generator", srcs = ["generator.cc"])

genrule(name = "table", outs = ["table.h"], tools = [":generator"],
        cmd = "$(execpath :generator) $@")

cc_library(name = "table_lib", hdrs = [":table"])

genrule(name = "script", outs = ["hello.sh"], executable = True,
        cmd = "printf '#!/bin/sh\\necho hello from a generated script\\n' > $@")

genrule(name = "uses_script", srcs = [], outs = ["hello.txt"], tools = [":script"],
        cmd = "$(execpath :script) > $@")

genrule(name = "two", outs = ["deep/er/a.txt", "deep/b.txt"],
        cmd = "echo a > $(execpath deep/er/a.txt); ln -s er/a.txt $(execpath deep/b.txt)")

genrule(name = "reads_link", srcs = ["deep/b.txt"], outs = ["c.txt"], cmd = "cat $< > $@")
"""

TREE_BZL = '''"""A rule that writes a folder, and one that reads it."""

def _tree(ctx):
    folder = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run_shell(
        outputs = [folder],
        arguments = [folder.path],
        command = """set -e
mkdir -p "$1"  # REAPI: the worker makes the folders that lead to it
cd "$1"
mkdir -p deep/er
for i in 1 2 3 4 5; do echo "$i" > "deep/$i.txt"; done
printf '#!/bin/sh\\necho tool $(cat "$(dirname "$0")/deep/3.txt")\\n' > tool.sh
chmod +x tool.sh
echo plain > deep/er/plain.txt
ln -s deep/er/plain.txt link.txt
""",
    )
    return [DefaultInfo(files = depset([folder]))]

tree = rule(implementation = _tree)

def _listing(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".txt")
    folder = ctx.files.tree[0]
    ctx.actions.run_shell(
        inputs = [folder],
        outputs = [out],
        arguments = [folder.path, out.path],
        command = """set -e
"$1/tool.sh" > "$2"
cat "$1/link.txt" >> "$2"
cd "$1"
find . -name "*.txt" | LC_ALL=C sort >> "$OLDPWD/$2"
""",
    )
    return [DefaultInfo(files = depset([out]))]

listing = rule(implementation = _listing, attrs = {"tree": attr.label()})
'''
LISTING = "tool 3\nplain\n./deep/1.txt\n./deep/2.txt\n./deep/3.txt\n./deep/4.txt\n./deep/5.txt\n"
LISTING += "./deep/er/plain.txt\n./link.txt\n"
TREE_BUILD = """load(":tree.bzl", "listing", "tree")

tree(name = "folder")

listing(name = "folder_listing", tree = ":folder")
"""

DATA_TEST = """#!/bin/sh
set -eu
test "$(wc -l < data/numbers.txt)" = 100
test "$(cat data/alias.txt)" = "$(cat data/numbers.txt)"
test -x data/run.sh
./data/run.sh
test "$TEST_TMPDIR"
echo kept > "$TEST_UNDECLARED_OUTPUTS_DIR/kept.txt"
"""
DATA_BUILD = """package(default_visibility = ["//visibility:public"])

exports_files(["numbers.txt"])

filegroup(name = "all", srcs = ["numbers.txt", "alias.txt", "run.sh"])

sh_test(name = "data_test", srcs = ["data_test.sh"], data = [":all"])
"""

BROKEN_BUILD = """cc_library(name = "broken", srcs = ["broken.cc"], tags = ["manual"])

sh_test(name = "failing_test", srcs = ["failing_test.sh"], tags = ["manual"])
"""
BROKEN_CC = "int broken() { return undeclared_name; }\n"
FAILING_TEST = "#!/bin/sh\necho the log of the failing test\nexit 3\n"


def want(n: int) -> int:
    """What `value_n(1)` is: the sum of 1..10+n, and the same of the library below."""
    return sum(range(1, 11 + n)) + (want(n - 1) if n else 0)


def lib_build() -> str:
    rules = ['package(default_visibility = ["//visibility:public"])']
    for n in range(LIBRARIES):
        below = f'deps = [":value_{n - 1}"]' if n else ""
        rules.append(
            f'cc_library(name = "value_{n}", srcs = ["value_{n}.cc"], '
            f'hdrs = ["value_{n}.h"], {below})'
        )
        if n % 2:
            rules.append(
                f'cc_test(name = "value_{n}_test", srcs = ["value_{n}_test.cc"], '
                f'deps = [":value_{n}"], data = ["//data:numbers.txt"])'
            )
        else:
            rules.append(
                f'cc_binary(name = "main_{n}", srcs = ["main_{n}.cc"], '
                f'deps = [":value_{n}", "//gen:table_lib"])'
            )
    return "\n\n".join(rules) + "\n"


def slow_build() -> str:
    """Actions that take a while, so that a worker can be lost in the middle of one."""
    rules = [
        f'genrule(name = "slow_{n}", outs = ["slow_{n}.txt"], tags = ["manual"], '
        f'cmd = "sleep 2; echo {n} > $@")'
        for n in range(SLOW)
    ]
    names = ", ".join(f'":slow_{n}"' for n in range(SLOW))
    rules.append(f'filegroup(name = "slow", srcs = [{names}], tags = ["manual"])')
    return "\n\n".join(rules) + "\n"


def library_sources() -> dict[str, str]:
    files = {}
    for n in range(LIBRARIES):
        include = f'\n#include "lib/value_{n - 1}.h"\n' if n else ""
        more = f" + value_{n - 1}(x)" if n else ""
        files[f"lib/value_{n}.h"] = LIBRARY_H.format(n=n)
        files[f"lib/value_{n}.cc"] = LIBRARY_CC.format(n=n, include=include, more=more)
        if n % 2:
            files[f"lib/value_{n}_test.cc"] = TEST_CC.format(n=n, want=want(n))
        else:
            files[f"lib/main_{n}.cc"] = MAIN_CC.format(n=n)
    return files


def write(folder: Path) -> None:
    """Write the workspace into `folder`, which is made."""
    files = {
        "WORKSPACE": 'workspace(name = "example")\n',
        "lib/BUILD": lib_build(),
        "gen/BUILD": GEN_BUILD,
        "gen/generator.cc": GENERATOR_CC,
        "tree/BUILD": TREE_BUILD,
        "tree/tree.bzl": TREE_BZL,
        "data/BUILD": DATA_BUILD,
        "data/data_test.sh": DATA_TEST,
        "data/numbers.txt": "".join(f"{n}\n" for n in range(1, 101)),
        "data/run.sh": "#!/bin/sh\necho ran\n",
        "broken/BUILD": BROKEN_BUILD,
        "broken/broken.cc": BROKEN_CC,
        "broken/failing_test.sh": FAILING_TEST,
        "slow/BUILD": slow_build(),
        **library_sources(),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name.endswith(".sh") else 0o644)
    (folder / "data" / "alias.txt").symlink_to("numbers.txt")
