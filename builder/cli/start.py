"""Where the program starts: the quickest answer first, everything else when that is none."""

import sys
import time


def main() -> None:
    """The console script. Ends the process."""
    started = time.monotonic()
    arguments = sys.argv[1:]
    if arguments[:1] == ["build"]:
        from builder.client.noop import answer

        if answer(arguments, started):
            return
    from builder.cli.main import main as run  # imports click, and what the command needs

    run()
