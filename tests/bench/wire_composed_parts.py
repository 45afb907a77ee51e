"""The product's coordinator on composed storage, as `bench wire` reads compressed blobs from it.

`python -m tests.bench.wire_composed_parts KIND FOLDER CORE` prints the port of one whose storage
is of that kind, on disks below FOLDER, and serves until stdin ends.
"""

import os
import sys
from pathlib import Path

import trio

from builder.assembly.coordinator import open_coordinator
from builder.assembly.settings import load_settings
from tests.bench.wire_servers_parts import stdin_ends

KINDS = {
    "tiered": "tiered: {{near: {{disk: {{path: {root}/a}}}}, far: {{disk: {{path: {root}/b}}}}}}",
    "mirrored": "mirrored: {{a: {{disk: {{path: {root}/a}}}}, b: {{disk: {{path: {root}/b}}}}}}",
}
CONFIG = """
role: coordinator
coordinator: {{listen: 127.0.0.1:0}}
reapi: {{listen: 127.0.0.1:0}}
artifacts: {{enabled: false}}
metrics: {{enabled: false}}
logging: {{level: warning}}
store: {{path: {root}/store}}
storage: {{blobs: {{KIND}}}}
"""


async def serve(kind: str, root: Path) -> None:
    path = root / "config.yaml"
    path.write_text(CONFIG.replace("KIND", KINDS[kind]).format(root=root))
    settings, _ = load_settings(str(path), {}, {})
    async with open_coordinator(settings) as made:
        made.ready()
        print(made.reapi.rpartition(":")[2], flush=True)
        await stdin_ends()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[3])})
    trio.run(serve, sys.argv[1], Path(sys.argv[2]))
