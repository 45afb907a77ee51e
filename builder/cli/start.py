"""Where the program starts: the quickest answer first, everything else when that is none."""

# The core of signal, which would be an import of enum.
import _signal  # type: ignore[import-not-found]  # typeshed does not know it
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.client.noop import Receipt


def main() -> None:
    """The console script. Ends the process."""
    started = time.monotonic()
    # Ctrl-C while modules are imported just ends us; `cli.main` has its own way with it.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    arguments = sys.argv[1:]
    if arguments[:1] == ["build"]:
        from builder.client.noop import answer

        if answer(arguments, started, _fetch):
            return
    from builder.cli.main import main as run  # imports click, and what the command needs

    run()


def _fetch(root: str, path: str, receipt: "Receipt") -> bool:
    from builder.client.warm import fetch  # late: mostly everything is in place

    return fetch(root, path, receipt)
