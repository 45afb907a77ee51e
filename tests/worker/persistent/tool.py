"""A tool that can stay: says in its output what it was asked, and by which of its lives.

Not imported by tests: it is given to the sandbox as an input, and needs nothing but Python.
"""

import base64
import json
import os
import sys
import threading
import time

SEEN = []
LOCK = threading.Lock()
CANCELLED = {}


def fields(data):
    """(number, value) of a protobuf message."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        value, at = varint(data, at)
        if tag & 7 == 2:
            value, at = data[at : at + value], at + value
        yield tag >> 3, value


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def packed(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def read_proto():
    head = b""
    while not head or head[-1] > 127:
        byte = sys.stdin.buffer.read(1)
        if not byte:
            return None
        head += byte
    size, _ = varint(head, 0)
    asked = {"arguments": [], "inputs": {}, "requestId": 0, "cancel": 0, "sandboxDir": ""}
    for number, value in fields(sys.stdin.buffer.read(size)):
        if number == 1:
            asked["arguments"].append(value.decode())
        elif number == 2:
            found = dict(fields(value))
            asked["inputs"][found[1].decode()] = found[2].decode()
        elif number == 6:
            asked["sandboxDir"] = value.decode()
        else:
            asked[{3: "requestId", 4: "cancel", 5: "verbosity"}[number]] = value
    return asked


def read_json():
    line = sys.stdin.readline()
    if not line:
        return None
    asked = json.loads(line)
    asked["inputs"] = {
        one["path"]: base64.b64decode(one["digest"]).decode() for one in asked["inputs"]
    }
    return asked


def answer_proto(code, output, number, cancelled):
    body = packed(1 << 3) + packed(code & (1 << 64) - 1) if code else b""
    text = output.encode()
    body += packed(2 << 3 | 2) + packed(len(text)) + text if text else b""
    body += packed(3 << 3) + packed(number) if number else b""
    body += packed(4 << 3) + packed(1) if cancelled else b""
    sys.stdout.buffer.write(packed(len(body)) + body)
    sys.stdout.buffer.flush()


def answer_json(code, output, number, cancelled):
    told = {"exitCode": code, "output": output, "requestId": number, "wasCancelled": cancelled}
    print(json.dumps(told), flush=True)


def work(asked):
    """(exit code, output) of one request."""
    where = asked["sandboxDir"] or "."
    SEEN.append(asked["requestId"])
    for argument in asked["arguments"]:
        word, _, rest = argument.partition("=")
        if word == "out":
            told = {
                "pid": os.getpid(),
                "served": len(SEEN),
                "inputs": asked["inputs"],
                "arguments": asked["arguments"],
                "there": sorted(
                    os.path.relpath(os.path.join(base, name), where)
                    for base, _, names in os.walk(where)
                    for name in names
                ),
                "environment": os.environ.get("COLOUR", ""),
                "argv": sys.argv[1:],
            }
            with open(os.path.join(where, rest), "w") as file:
                json.dump(told, file)
        elif word == "copy":
            source, target = rest.split(",")
            with open(os.path.join(where, source), "rb") as file:
                data = file.read()
            with open(os.path.join(where, target), "wb") as file:
                file.write(data)
        elif word == "wait":  # until it is told to stop
            while not CANCELLED.get(asked["requestId"]):
                time.sleep(0.01)
        elif word == "meet":  # until so many are here at once
            with LOCK:
                CANCELLED["met"] = CANCELLED.get("met", 0) + 1
            while CANCELLED["met"] < int(rest):
                time.sleep(0.01)
        elif word == "say":
            print(rest, file=sys.stderr, flush=True)
        elif word == "print":
            print(rest, flush=True)
        elif word == "hold":
            SEEN.append(bytearray(int(rest)))
            SEEN[-1][::4096] = b"x" * len(SEEN[-1][::4096])
            SEEN.pop()
            CANCELLED["held"] = bytearray(b"x" * int(rest))
        elif word == "die":
            os.kill(os.getpid(), int(rest))
        elif word == "fail":
            return int(rest), "it failed\n"
        elif word == "try":
            return 0, attempt(rest)
    return 0, ""


def attempt(what):
    """What a hostile tool may try; the error that it meets."""
    try:
        exec(what)
    except Exception as error:
        return f"{type(error).__name__}\n"
    return "done\n"


def serve(read, answer, together):
    def one(asked):
        code, output = work(asked)
        with LOCK:
            stopped = CANCELLED.get(asked["requestId"]) is True
            answer(0 if stopped else code, output, asked["requestId"], stopped)

    while (asked := read()) is not None:
        if asked.get("cancel"):
            CANCELLED[asked["requestId"]] = True
        elif together or "cancellable" in sys.argv:
            threading.Thread(target=one, args=(asked,), daemon=True).start()
        else:
            one(asked)


def by_itself():
    lines = []
    for argument in sys.argv[1:]:
        if argument.startswith("@"):
            with open(argument[1:]) as file:
                lines += file.read().split()
    asked = {"arguments": lines, "inputs": {}, "sandboxDir": "", "requestId": 0}
    code, output = work(asked)
    sys.stderr.write(output)
    sys.exit(code)


if "--persistent_worker" not in sys.argv:
    by_itself()
elif "json" in sys.argv:
    serve(read_json, answer_json, "together" in sys.argv)
else:
    serve(read_proto, answer_proto, "together" in sys.argv)
