#!/usr/bin/env python3
"""Build `dist/builder.pyz`, the whole program in one file: `python3 build_zipapp.py [--demo]`.

Needs Python 3.11 or newer with venv, and a package registry that pip can reach; everything else
is made under `.build/`. The same sources give the same bytes in any folder: versions come from
`.ci/constraints.txt`, and times, file modes, orders and path names are set to fixed values.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
WORK = ROOT / ".build" / "zipapp-{}.{}.{}".format(*sys.version_info)
TARGET = ROOT / "dist" / "builder.pyz"
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"
MAIN = ROOT / ".ci" / "zipapp_main.py"
TOOLS = ["hatchling", "shiv"]
PYTHON = "{}.{}".format(*sys.version_info[:2])
EPOCH = 315_532_800  # 1980-01-01, the first day that a zip file can name
ZIP_TIME = (1980, 1, 1, 0, 0, 0)

# What the program never reads at run time. Each entry of a zip file costs some microseconds at
# every start, and the metadata of the first row would name this machine's folders.
PRUNED = ["*.dist-info/RECORD", "*.dist-info/INSTALLER", "*.dist-info/REQUESTED", "bin"]
PRUNED += ["*.dist-info/direct_url.json", "*.dist-info/sboms", "**/__pycache__", "**/tests"]
PRUNED += ["**/_tests", "**/*.pyi", "**/py.typed", "**/*.c", "**/*.h", "**/*.pxd"]
PRUNED += ["botocore/data/[a-df-oq-rt-z]*", "botocore/data/e[!cn]*", "botocore/data/ec[!2]*"]
PRUNED += ["botocore/data/ec2?*", "botocore/data/s[!dst]*", "botocore/data/ss[!o]*"]
PRUNED += ["botocore/data/st[!s]*", "botocore/data/p[!a]*", "botocore/data/part[!i]*"]
PRUNED += ["botocore/data/ec2/201[45]*", "botocore/data/ec2/2016-0*"]  # EC2's newest is used
PRUNED += ["zstandard/_cffi*", "zstandard/backend_cffi.py"]  # 12 MB that only PyPy uses

NEWER_SYNTAX = r"/_py_312_[a-z]+\.py$"  # of a dependency, which loads it by Python's version


def say(text: str) -> None:
    print(text, flush=True)


def run(what: str, *command: "str | Path", **variables: str) -> str:
    """The output of a command that must succeed; otherwise its last lines, and the end."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "PYTHONHASHSEED": "0"}
    environment.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_REQUIRE_VIRTUALENV="0", **variables)
    argv = [str(part) for part in command]
    done = subprocess.run(
        argv,
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode == 0:
        return done.stdout
    tail = "\n".join(done.stdout.splitlines()[-12:])
    sys.exit(
        f"{tail}\nerror: {what} failed (exit code {done.returncode}): {' '.join(argv[:6])} ..."
    )


def check_host() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036  this file is what tells them
        sys.exit(f"error: Python 3.11 or newer is needed, this is {PYTHON}: {sys.executable}")
    try:
        import ensurepip
        import venv
    except ImportError:
        sys.exit("error: this Python has no venv: as root, apt-get install python3-venv")
    del ensurepip, venv


def key(*texts: str) -> str:
    """A name for what was made from these texts by this Python."""
    return hashlib.sha256("\0".join([sys.version, *texts]).encode()).hexdigest()[:12]


def kept(folder: Path, name: str) -> bool:
    """Whether an earlier run finished this folder; if not, what is there is removed."""
    stamp = finished(folder)
    if folder.exists() and stamp.exists() and stamp.read_text() == name:
        return True
    stamp.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    return False


def finished(folder: Path) -> Path:
    return folder.with_suffix(".finished")


def build_environment() -> Path:
    """The Python of a virtual environment that holds our tools."""
    folder = WORK / "tools"
    python = folder / "bin" / "python"
    name = key(str(folder), *TOOLS, CONSTRAINTS.read_text())
    if not kept(folder, name):
        say("[1/4] build environment: " + ", ".join(TOOLS))
        run("making a virtual environment", sys.executable, "-m", "venv", folder)
        pip = [python, "-m", "pip", "install", "-q", "-c", CONSTRAINTS]
        run("pip (is a package registry reachable?)", *pip, *TOOLS)
        finished(folder).write_text(name)
    else:
        say("[1/4] build environment: there already")
    return python


def prune(folder: Path) -> None:
    for pattern in PRUNED:
        for path in sorted(folder.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    extra = [str(path) for path in folder.glob("*.pth")]
    if extra:
        sys.exit(f"error: a dependency starts by a .pth file, which the zipapp skips: {extra}")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def precompile(python: Path, folder: Path) -> None:
    """Byte code that names no folder and is never compared with the times of its sources."""
    mode = ["--invalidation-mode", "unchecked-hash", "-x", NEWER_SYNTAX]
    run("compiling", python, "-m", "compileall", "-q", *mode, "-s", folder, folder)


def dependencies(python: Path) -> Path:
    """A folder of everything that the project depends on."""
    import tomllib

    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    folder = WORK / "dependencies"
    name = key(CONSTRAINTS.read_text(), *wanted, *PRUNED)
    if kept(folder, name):
        say(f"[2/4] dependencies: {len(wanted)}, there already")
        return folder
    say(f"[2/4] dependencies: {len(wanted)}, at the versions of .ci/constraints.txt")
    pip = [python, "-m", "pip", "install", "-q", "--no-compile", "--target", folder]
    pip += ["--only-binary", ":all:", "-c", CONSTRAINTS]
    run("pip (is a package registry reachable?)", *pip, *wanted)
    prune(folder)
    precompile(python, folder)
    finished(folder).write_text(name)
    return folder


def program(python: Path) -> Path:
    """A folder of our own wheel's contents."""
    say("[3/4] wheel")
    wheels, folder = WORK / "wheel", WORK / "program"
    for old in (wheels, folder):
        shutil.rmtree(old, ignore_errors=True)
    pip = [python, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    run("building the wheel", *pip, "--wheel-dir", wheels, ROOT)
    (wheel,) = wheels.glob("builder-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    prune(folder)
    precompile(python, folder)
    return folder


def assemble(python: Path, folders: "list[Path]") -> None:
    """Let shiv make the archive, then add the byte code, which it leaves out, and our start."""
    say("[4/4] zipapp")
    draft = WORK / "draft.pyz"
    shiv = [python, "-m", "shiv", "--reproducible", "-p", "/usr/bin/env python3"]
    for folder in folders:
        shiv += ["--site-packages", folder]
    run("shiv", *shiv, "-e", "builder.cli.start:main", "-o", draft)
    unfinished = TARGET.with_suffix(".tmp")
    TARGET.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(draft) as source, unfinished.open("wb") as out:
        out.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for item in source.infolist():
                if item.filename != "__main__.py":
                    add(archive, item.filename, source.read(item))
            for folder in folders:
                for path in sorted(folder.rglob("*.pyc")):
                    add(archive, f"site-packages/{path.relative_to(folder)}", path.read_bytes())
            add(archive, "__main__.py", start_code(source))
    unfinished.chmod(0o755)
    unfinished.replace(TARGET)
    for other in ("builder", "bldr"):
        link = TARGET.parent / other
        link.unlink(missing_ok=True)
        link.symlink_to(TARGET.name)


def add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    item = zipfile.ZipInfo(name, ZIP_TIME)
    item.compress_type = zipfile.ZIP_DEFLATED
    item.external_attr = 0o100644 << 16
    archive.writestr(item, data)


def start_code(draft: zipfile.ZipFile) -> bytes:
    import json

    build_id = json.loads(draft.read("environment.json"))["build_id"]
    code = MAIN.read_text().replace("@BUILD_ID@", build_id).replace("@PYTHON@", PYTHON)
    return code.encode()


def main() -> int:
    parser = argparse.ArgumentParser(description="Build dist/builder.pyz.")
    parser.add_argument("--demo", action="store_true", help="then build the example by it, twice")
    options = parser.parse_args()
    check_host()
    os.umask(0o022)
    began = time.monotonic()
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two at once would tread on each other's folders
        python = build_environment()
        assemble(python, [dependencies(python), program(python)])
    data = TARGET.read_bytes()
    say(f"dist/builder.pyz  {len(data) / 1e6:.1f} MB  sha256 {hashlib.sha256(data).hexdigest()}")
    say(f"built in {time.monotonic() - began:.1f}s; start it with ./dist/builder.pyz --help")
    if options.demo:
        demo = [sys.executable, str(ROOT / ".ci" / "demo.py"), str(TARGET)]
        return subprocess.run(demo, cwd=ROOT).returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
