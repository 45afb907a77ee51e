"""Sources of Debian packages, by apt, without changing what apt knows on this machine."""

import re
import shutil
import subprocess
from pathlib import Path

APT = Path("/etc/apt")


class NoSourceError(Exception):
    """apt is not here, or it reaches no registry; the message says which."""


def fetched(package: str, folder: Path) -> Path:
    """The unpacked upstream source of a package. Raises NoSourceError."""
    if shutil.which("apt-get") is None:
        raise NoSourceError("there is no apt-get here")
    state = folder / "apt"
    (state / "lists" / "partial").mkdir(parents=True)
    (state / "parts").mkdir()
    (state / "parts" / "source.sources").write_text(_deb822())
    (state / "parts" / "source.list").write_text(_one_line())
    options = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": state / "parts",
        "Dir::State::Lists": state / "lists",
        "Dir::Cache": state / "cache",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-q", *(f"-o{key}={value}" for key, value in options.items())]
    for arguments in (["update"], ["source", "--download-only", package]):
        done = subprocess.run([*apt, *arguments], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise NoSourceError(f"apt-get {arguments[0]}: {done.stderr.strip()[-300:]}")
    found = sorted(folder.glob("*.orig.tar.*"))
    if not found:
        raise NoSourceError(f"the source of {package} has no upstream archive")
    (folder / "source").mkdir()
    subprocess.run(["tar", "-xf", found[0], "-C", folder / "source"], check=True)
    (root,) = (folder / "source").iterdir()
    return root


def _deb822() -> str:
    """The registries that this machine has binary packages from, for source packages."""
    texts = [path.read_text() for path in sorted((APT / "sources.list.d").glob("*.sources"))]
    return "\n".join(re.sub(r"(?m)^Types:.*$", "Types: deb-src", text) for text in texts)


def _one_line() -> str:
    paths = [APT / "sources.list", *sorted((APT / "sources.list.d").glob("*.list"))]
    lines = [line for path in paths if path.exists() for line in path.read_text().splitlines()]
    return "".join(f"deb-src {line[4:]}\n" for line in lines if line.startswith("deb "))
