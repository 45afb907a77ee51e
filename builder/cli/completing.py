"""What a shell offers behind a command that takes targets.

bash: eval "$(_BLDR_COMPLETE=bash_source bldr)"; zsh and fish with their names.
"""

from pathlib import Path

import click


def target_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names as they can be typed here; nothing where no project can be read."""
    from builder.assembly.project import open_project
    from builder.base.errors import BuilderError
    from builder.project.labels import ROOT, full_name, package_of

    directory = ctx.params.get("directory") or Path.cwd()
    try:
        project = open_project(Path(directory)).graph.project
    except (BuilderError, OSError):
        return []
    own = full_name(project.here, "")
    names = [
        f"{ROOT}:{name}" if project.here and not package_of(name) else name.removeprefix(own)
        for name in project.targets
    ]
    return [name for name in names if name.startswith(incomplete)]
