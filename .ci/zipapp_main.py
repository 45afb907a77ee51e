"""The first code that `builder.pyz` runs: go straight to the unpacked program when it is there.

shiv's own start reads the archive's directory a second time and imports zipfile, runpy and
others: some 50 ms, at each start. It is needed only to unpack, which happens once per build and
user; so it is called for that, and when one of shiv's own variables (SHIV_...) asks for it.
`build_zipapp.py` fills in the names in capitals between @ signs.
"""

import os
import sys

BUILD_ID = "@BUILD_ID@"
PYTHON = "@PYTHON@"
SHIV_OWN = ("SHIV_INTERPRETER", "SHIV_ENTRY_POINT", "SHIV_MODULE", "SHIV_CONSOLE_SCRIPT")
SHIV_OWN += ("SHIV_FORCE_EXTRACT", "SHIV_EXTEND_PYTHONPATH", "SHIV_PREPEND_PYTHONPATH")


def unpacked(root):
    """Where shiv unpacks this file: a folder named after the file and its contents."""
    name = os.path.basename(os.path.realpath(sys.argv[0]))
    return os.path.join(root, name + "_" + BUILD_ID, "site-packages")


def check_python():
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if here != PYTHON:
        sys.exit(
            f"error: this file was built for Python {PYTHON} and runs on {here}: run it with "
            f"python{PYTHON}, or build one here with python3 build_zipapp.py"
        )


def check_root(root):
    try:
        os.makedirs(root, exist_ok=True)
    except OSError as error:
        sys.exit(f"error: cannot unpack to {root}: {error.strerror}; set SHIV_ROOT")
    if not os.access(root, os.W_OK):
        sys.exit(f"error: cannot unpack to {root}: not writable; set SHIV_ROOT")


def start():
    check_python()
    root = os.environ.get("SHIV_ROOT") or os.path.expanduser("~/.shiv")
    packages = unpacked(root)
    if not os.path.isdir(packages) or not os.environ.keys().isdisjoint(SHIV_OWN):
        check_root(root)
        import _bootstrap

        _bootstrap.bootstrap()
        return
    sys.path[0] = packages
    from builder.cli.start import main

    main()


start()
