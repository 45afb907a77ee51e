"""Variables in documents."""

import pytest

from builder.base.document import Plain, parse
from builder.config.expansion import expand
from builder.host.resources import schema

SCHEMA = schema("config.schema.json")
ENVIRON = {"HOST": "h", "SLOTS": "4", "EMPTY": "", "YES": "true", "TOKEN": "1234", "N2": "${HOST}"}


def expanded(text: str) -> Plain:
    value, problems = expand(parse(text, "f.yaml"), SCHEMA, ENVIRON)
    assert problems == []
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("worker: {name: '${HOST}'}", {"worker": {"name": "h"}}),
        ("worker: {name: 'a-${HOST}-${SLOTS}'}", {"worker": {"name": "a-h-4"}}),
        ("worker: {name: '${NOPE:-x}'}", {"worker": {"name": "x"}}),
        ("worker: {name: '${EMPTY:-x}'}", {"worker": {"name": "x"}}),
        ("worker: {name: '${HOST:-x}'}", {"worker": {"name": "h"}}),
        ("worker: {name: 'a${NOPE:-}b'}", {"worker": {"name": "ab"}}),
        ("worker: {name: '${N2}'}", {"worker": {"name": "${HOST}"}}),
        ("worker: {name: '$${HOST}'}", {"worker": {"name": "${HOST}"}}),
        ("worker: {name: '$HOST $ {HOST}'}", {"worker": {"name": "$HOST $ {HOST}"}}),
        ("worker: {slots: '${SLOTS}'}", {"worker": {"slots": 4}}),
        ("pool: {alpha: '0.${SLOTS}'}", {"pool": {"alpha": 0.4}}),
        ("insecure: ${YES}", {"insecure": True}),
        ("worker: {join_token: '${TOKEN}'}", {"worker": {"join_token": "1234"}}),
        ("client: {targets: ['${HOST}', b]}", {"client": {"targets": ["h", "b"]}}),
        ("${HOST}: 1", {"${HOST}": 1}),
        ("worker:\n  # slots: 3\n", {"worker": {}}),
    ],
)
def test_expansion(text: str, value: Plain) -> None:
    """Text values only, once, and typed as the schema wants them."""
    assert expanded(text) == value


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("a: ${NOPE}", "1:4", "the environment variable NOPE is not set"),
        ("a: ${EMPTY}", "1:4", "the environment variable EMPTY is empty"),
        ("a:\n  - x ${HOST} ${NOPE}", "2:5", "the environment variable NOPE is not set"),
        ("a: ${", "1:4", "'${' begins no variable: write ${NAME} or ${NAME:-default}"),
        ("a: ${1X}", "1:4", "'${' begins no variable: write ${NAME} or ${NAME:-default}"),
        ("a: ${HOST-x}", "1:4", "'${' begins no variable: write ${NAME} or ${NAME:-default}"),
    ],
)
def test_what_cannot_be_expanded(text: str, where: str, message: str) -> None:
    """It is told with its place and the right form."""
    _, (problem,) = expand(parse(text, "f.yaml"), SCHEMA, ENVIRON)
    assert (str(problem.position), problem.message) == (where, message)
    assert "${NAME:-default}" in problem.hint
