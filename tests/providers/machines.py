"""A cloud of one folder, as a user's command: JSON in, JSON out; each machine is a file.

    python machines.py FOLDER launch|terminate|list [PROGRAM...]

With a PROGRAM, a machine is a process of it: `{id}` in its arguments is the machine's name.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def launch(folder: Path, pool: str, wanted: dict[str, object], program: list[str]) -> object:
    token = str(wanted["token"])
    found = [path for path in sorted(folder.iterdir()) if token in path.read_text().split()]
    if not found:
        for _ in range(int(str(wanted["count"]))):
            name = f"{pool}-{len(list(folder.iterdir())) + 1}"
            pid = 0
            if program:
                argv = [word.replace("{id}", name) for word in program]
                quiet = subprocess.DEVNULL
                process = subprocess.Popen(
                    argv, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
                )
                pid = process.pid
            path = folder / name
            path.write_text(f"{pool} {token} {pid} running")
            found.append(path)
    return {"instances": [{"id": path.name} for path in found]}


def terminate(folder: Path, wanted: dict[str, list[str]]) -> object:
    for name in wanted["ids"]:
        path = folder / name
        if path.is_file():
            pool, token, pid, _ = path.read_text().split()
            if int(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGTERM)
            path.write_text(f"{pool} {token} 0 ended")
    return {}


def listed(folder: Path, pool: str) -> object:
    found = []
    for path in sorted(folder.iterdir()):
        owner, token, _, state = path.read_text().split()
        if owner == pool:
            found.append({"id": path.name, "token": token, "state": state})
    return {"instances": found}


def main() -> None:
    folder, command, *program = Path(sys.argv[1]), *sys.argv[2:]
    wanted = json.load(sys.stdin)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if command == "launch":
            answer = launch(folder, wanted["pool"], wanted, program)
        elif command == "terminate":
            answer = terminate(folder, wanted)
        else:
            answer = listed(folder, wanted["pool"])
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
