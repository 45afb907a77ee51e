"""The least that a verified write can cost: a bare loop of recv, hash and write.

No frames, no messages, no windows, no other connection: bytes are received into one buffer, hashed
there and written from there to a file in the store's file system, which then gets its name. What a
server needs above that is its protocol's. `python -m tests.bench.wire_floor_parts FOLDER CORE`
prints its port, and serves until stdin ends.
"""

import hashlib
import os
import socket
import sys
import threading
from pathlib import Path

from blake3 import blake3

from tests.bench.wire_product_parts import LARGE

PIECE = 256 * 1024  # stays in a core's cache; larger and smaller ones are slower
HASHES = {"sha256": hashlib.sha256, "blake3": blake3}


def store(sock: socket.socket, path: Path, function: str) -> None:
    """One blob of LARGE bytes into the file."""
    view = memoryview(bytearray(PIECE))
    found = HASHES[function]()
    unfinished = f"{path}.new"
    left = LARGE
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    while left:
        count = sock.recv_into(view)
        assert count, "the client closed the connection"
        found.update(view[:count])
        os.write(descriptor, view[:count])
        left -= count
    os.close(descriptor)
    os.rename(unfinished, path)
    sock.sendall(found.digest())


def serve(listener: socket.socket, folder: Path) -> None:
    number = 0
    while True:
        sock, _ = listener.accept()
        with sock:
            function = sock.recv(6).decode()
            number += 1
            store(sock, folder / str(number), function)


class PlainUpload:
    """Bytes and what their hash is."""

    def __init__(self, data: bytes, function: str) -> None:
        self._data = memoryview(data)
        self._function = function
        self._digest = HASHES[function](data).digest()

    def run(self, port: int) -> None:
        """Send them; returns when the other side has said that they are stored."""
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(self._function.encode())
            for at in range(0, len(self._data), PIECE):
                sock.sendall(self._data[at : at + PIECE])
            assert sock.recv(64) == self._digest


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[2])})
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    threading.Thread(target=serve, args=(listening, Path(sys.argv[1])), daemon=True).start()
    sys.stdin.read()
