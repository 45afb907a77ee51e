"""The worker protocol's two forms, whole, in pieces, and with what does not belong there."""

import json

import pytest

from builder.reapi.pb.worker_protocol_pb2 import Input, WorkRequest, WorkResponse
from builder.reapi.persistent import JSON, PROTO
from builder.reapi.varints import varint
from builder.worker.persistent.protocol import Decoder, ProtocolError, encode

ANSWERS = [
    WorkResponse(exit_code=3, output="broken\n" * 100, request_id=7),
    WorkResponse(),
    WorkResponse(request_id=2**31 - 1, was_cancelled=True),
    WorkResponse(exit_code=-1, output="é\0"),
]
LINES = "".join(
    json.dumps(
        {
            "exitCode": one.exit_code,
            "output": one.output,
            "requestId": one.request_id,
            "wasCancelled": one.was_cancelled,
            "newer": [1],
        }
    )
    + "\n"
    for one in ANSWERS
).encode()
DELIMITED = b"".join(varint(one.ByteSize()) + one.SerializeToString() for one in ANSWERS)
FORMS = pytest.mark.parametrize(("protocol", "data"), [(PROTO, DELIMITED), (JSON, LINES)])


@FORMS
def test_responses_come_whole(protocol: str, data: bytes) -> None:
    assert Decoder(protocol).feed(data) == ANSWERS


@FORMS
def test_responses_come_byte_by_byte(protocol: str, data: bytes) -> None:
    decoder = Decoder(protocol)
    found = [one for at in range(len(data)) for one in decoder.feed(data[at : at + 1])]
    assert found == ANSWERS


@FORMS
def test_a_tail_waits_for_the_rest(protocol: str, data: bytes) -> None:
    """Half a response is none yet."""
    decoder = Decoder(protocol)
    assert decoder.feed(data + data[:5]) == ANSWERS
    assert decoder.feed(data[5:]) == ANSWERS


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 2**21, 2**32 - 1])
def test_a_varint_has_seven_bits_a_byte(size: int) -> None:
    data = varint(size)
    assert sum((byte & 127) << 7 * at for at, byte in enumerate(data)) == size
    assert [byte > 127 for byte in data] == [True] * (len(data) - 1) + [False]


@pytest.mark.parametrize(
    ("protocol", "data"),
    [
        (PROTO, b"warning: deprecated\n"),
        (PROTO, b"\xff\xff\xff\xff\xff\xff"),
        (PROTO, b"\xff\xff\xff\x7f"),
        (PROTO, b"\x02\x08"),
        (PROTO, b"\x02\x12\x7f"),
        (JSON, b"warning: deprecated\n"),
        (JSON, b"[]\n"),
        (JSON, b'{"exitCode": "many"}\n'),
        (JSON, b"\xff\n"),
    ],
)
def test_what_is_no_response_is_refused(protocol: str, data: bytes) -> None:
    """With what it was, because most often it is a stray print. `\\x02\\x08` waits for its end."""
    decoder = Decoder(protocol)
    with pytest.raises(ProtocolError, match=r"it wrote b['\"]"):
        decoder.feed(data)
        decoder.feed(b"\x80" * 10 if protocol == PROTO else b"\n")


@pytest.mark.parametrize("protocol", [PROTO, JSON])
def test_a_response_without_end_is_refused(protocol: str) -> None:
    decoder = Decoder(protocol)
    with pytest.raises(ProtocolError):
        decoder.feed(b"\xff\xff\xff\x3f\x08" if protocol == PROTO else b"{" * ((64 << 20) + 9))


def test_a_request_in_json_is_one_line() -> None:
    """Bytes in base64, names in lowerCamelCase, nothing left out."""
    request = WorkRequest(
        arguments=["a\nb"], inputs=[Input(path="p", digest=b"ab")], request_id=5, sandbox_dir="s"
    )
    data = encode(request, JSON)
    assert data.count(b"\n") == 1
    assert json.loads(data) == {
        "arguments": ["a\nb"],
        "inputs": [{"path": "p", "digest": "YWI="}],
        "requestId": 5,
        "cancel": False,
        "verbosity": 0,
        "sandboxDir": "s",
    }


def test_a_request_in_proto_has_its_length_before_it() -> None:
    request = WorkRequest(arguments=["x" * 200])
    data = encode(request, PROTO)
    assert data[:2] == varint(request.ByteSize())
    assert WorkRequest.FromString(data[2:]) == request
