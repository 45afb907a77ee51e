"""Names of targets across the packages of a workspace.

    //lib/net:core   target `core` of the Builderfile in lib/net, from anywhere
    :core  core      the one of this package
    //:all           of the workspace's own directory, where a name alone is the whole label
    //lib/...        on the command line: all targets of the packages at lib and beneath

A target's name is its label in full, but in the directory of the workspace, or where there is
one package only, the plain name.
"""

from collections.abc import Iterable

from builder.base.nearest import nearest
from builder.project.model import WORKSPACE_NAME

ROOT = "//"
ALL = "..."


def full_name(package: str, name: str) -> str:
    """The label of a package's target."""
    return f"{ROOT}{package}:{name}" if package else name


def resolved(text: str, package: str) -> str:
    """A label as written in this package, in full."""
    if not text.startswith(ROOT):
        return full_name(package, text.removeprefix(":"))
    path, _, name = text.removeprefix(ROOT).partition(":")
    return full_name(path.strip("/"), name)


def package_of(name: str) -> str:
    """Of a full name."""
    return name.removeprefix(ROOT).partition(":")[0] if name.startswith(ROOT) else ""


def beneath(text: str) -> str | None:
    """The package that `//path/...` means with all beneath it; None for another text."""
    if not text.startswith(ROOT) or not (text.endswith("/" + ALL)):
        return None
    return text.removesuffix(ALL).strip("/")


def unknown(name: str, names: Iterable[str], packages: Iterable[str]) -> tuple[str, str]:
    """What to say of a full name that no target has: a message and a hint."""
    known, package = list(packages), package_of(name)
    if package not in known:
        meant = nearest(package, known)
        message = f"there is no package {ROOT}{package}"
        message += f"; did you mean {ROOT}{meant}?" if meant else ""
        if known == [""]:
            return message, f"write a file {WORKSPACE_NAME!r} in the directory above all packages"
        shown = ", ".join(ROOT + one for one in known)
        return message, f"packages are directories with a Builderfile: {shown}"
    here = [one for one in names if package_of(one) == package]
    if name.endswith(":"):
        message = f"{name.removesuffix(':')!r} is a package and no target"
        return message, f"write one of its targets: {', '.join(here)}"
    meant = nearest(name, here)
    message = f"there is no target {name!r}" + (f"; did you mean {meant!r}?" if meant else "")
    where = f"targets of {ROOT}{package}" if package else "targets here"
    return message, f"{where}: {', '.join(here)}"
