"""Sets resource limits on itself and becomes another program: `start.py limited JSON PROGRAM...`.

For systems where nothing better bears them. A limit never goes above what the host allows.
"""

import json
import os
import resource
import sys

NAMES = {
    "core": resource.RLIMIT_CORE,
    "open_files": resource.RLIMIT_NOFILE,
    "file_bytes": resource.RLIMIT_FSIZE,
}
NOT_FOUND = 127


def main() -> int:
    """Only returns when the program cannot be executed."""
    for name, value in json.loads(sys.argv[2]).items():
        _, hard = resource.getrlimit(NAMES[name])
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(NAMES[name], (value, value))
    program = sys.argv[3:]
    try:
        os.execv(program[0], program)  # noqa: S606 - it is why we are here
    except OSError as error:
        print(f"{program[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 - to the action
    return NOT_FOUND
