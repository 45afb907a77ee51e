"""Starts a helper by path: `python -I -S -B start.py broker`, or another's name.

Nothing is installed for such an interpreter. The package is found beside this file, and without
running any `__init__`, so that a helper never loads more than it names. This file is small
because the interpreter compiles it at each start; what it imports may be compiled already.
"""

import sys

PACKAGES = ("builder", "builder.sandbox", "builder.sandbox.kernel", "builder.host")


def find_packages() -> None:
    """Register the packages as mere places."""
    root = __file__.rpartition("/builder/sandbox/")[0]
    for name in PACKAGES:
        package = type(sys)(name)
        package.__path__ = [root + "/" + name.replace(".", "/")]
        sys.modules[name] = package


if __name__ == "__main__":
    find_packages()
    if sys.argv[1] == "broker":
        from builder.sandbox.broker import main
    elif sys.argv[1] == "wasm":
        from builder.sandbox.wasm_run import main
    elif sys.argv[1] == "limited":
        from builder.sandbox.limited import main
    else:
        from builder.sandbox.bare import main
    sys.exit(main())
