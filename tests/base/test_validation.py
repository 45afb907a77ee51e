"""Documents against schemas: the sentences, and where they point."""

from typing import Any

import pytest

from builder.base.document import parse
from builder.base.problems import DocumentError
from builder.base.validation import require, validate

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["role"],
    "properties": {
        "role": {"enum": ["coordinator", "worker"], "description": "What to do. And more."},
        "flag": {"type": "boolean"},
        "workers": {"type": "integer", "minimum": 1, "maximum": 9},
        "share": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "names": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "maxItems": 3,
            "uniqueItems": True,
        },
        "wait": {"$ref": "#/$defs/duration", "description": "A wait."},
        "password": {"type": "string", "writeOnly": True, "pattern": "^x"},
        "where": {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"a": {"type": "integer"}}},
            ]
        },
        "limits": {
            "type": "object",
            "additionalProperties": False,
            "required": ["memory", "cpu"],
            "properties": {
                "memory": {"type": "string", "minLength": 2, "description": "How much."},
                "cpu": {"const": 1},
            },
        },
        "free": {
            "type": "object",
            "propertyNames": {"pattern": "^[a-z]+$", "title": "small letters"},
            "additionalProperties": {"type": "integer"},
        },
        "mode": {"enum": [True, False, "local"]},
        "empty": {"type": "object", "additionalProperties": False},
    },
    "patternProperties": {"^x-": {}},
    "$defs": {
        "duration": {
            "title": "a duration",
            "type": ["string", "number"],
            "pattern": r"^\d+[smh]$",
            "examples": ["30s", "5m"],
        }
    },
}


def told(text: str) -> list[tuple[str, str, str]]:
    """Position, message and hint of every problem."""
    found = validate(parse(f"role: worker\n{text}", "f.yaml"), SCHEMA)
    return [(str(one.position), one.message, one.hint) for one in found]


@pytest.mark.parametrize(
    ("text", "where", "message", "hint"),
    [
        (
            "wrokers: 2",
            "2:1",
            "unknown key 'wrokers'; did you mean 'workers'?",
            f"known here: {', '.join(SCHEMA['properties'])}",
        ),
        ("empty: {a: 1}", "2:9", "unknown key 'a' in 'empty'", "no keys are known here"),
        (
            "limits: {memory: 2G, cpu: 1, cpus: 2}",
            "2:30",
            "unknown key 'cpus' in 'limits'; did you mean 'cpu'?",
            "known here: memory, cpu",
        ),
        ("flag: yes", "2:7", "'flag' must be true or false, not 'yes'", "write true"),
        ("flag: off", "2:7", "'flag' must be true or false, not 'off'", "write false"),
        ("workers: two", "2:10", "'workers' must be a whole number, not 'two'", ""),
        ("workers: 1.5", "2:10", "'workers' must be a whole number, not 1.5", ""),
        ("workers: true", "2:10", "'workers' must be a whole number, not true", ""),
        ("workers:", "2:9", "'workers' must be a whole number, not empty", ""),
        ("workers: 0", "2:10", "'workers' must be at least 1, not 0", ""),
        ("workers: 10", "2:10", "'workers' must be at most 9, not 10", ""),
        ("share: 0", "2:8", "'share' must be more than 0, not 0", ""),
        ("share: 1", "2:8", "'share' must be less than 1, not 1", ""),
        ("names: a", "2:8", "'names' must be a list, not 'a'", "write [a]"),
        ("names: {a: 1}", "2:8", "'names' must be a list, not a block of keys", ""),
        ("names: []", "2:8", "'names' must not be empty", ""),
        ("names: [a, b, c, d]", "2:8", "'names' must have at most 3 items", ""),
        ("names: [a, a]", "2:8", "'names' must not hold the same value twice", ""),
        ("names: [a, 5]", "2:12", "'names[1]' must be text, not 5", "quote it to make it text"),
        (
            "wait: 5 min",
            "2:7",
            "'wait' must be a duration, not '5 min'",
            "write for example 30s or 5m",
        ),
        (
            "wait: [1]",
            "2:7",
            "'wait' must be a duration, not a list",
            "write for example 30s or 5m",
        ),
        ("where: 4", "2:8", "'where' must be text or a block of keys, not 4", ""),
        ("where: {a: b}", "2:12", "'where.a' must be a whole number, not 'b'", ""),
        (
            "limits:\n  cpu: 1",
            "2:1",
            "the key 'memory' is missing in 'limits'",
            "How much",
        ),
        (
            "limits: {memory: a, cpu: 1}",
            "2:18",
            "'limits.memory' must have at least 2 characters",
            "",
        ),
        ("limits: {memory: ab, cpu: 2}", "2:27", "'limits.cpu' must be 1, not 2", ""),
        ("free: {A: 1}", "2:8", "the name 'A' must be small letters, not 'A'", ""),
        ("free: {a: x}", "2:11", "'free.a' must be a whole number, not 'x'", ""),
        (
            "mode: locla",
            "2:7",
            "'mode' must be true, false or local, not 'locla'",
            "did you mean local?",
        ),
    ],
)
def test_sentences(text: str, where: str, message: str, hint: str) -> None:
    """One mistake, one sentence at its place."""
    assert told(text) == [(where, message, hint)]


def test_a_good_document_has_no_problems() -> None:
    """Also with keys that a pattern allows."""
    text = "workers: 3\nx-note: {anything: [1]}\nmode: local\nwait: 30\nfree: {a: 1}\n"
    assert told(text) == []


def test_everything_is_told_at_once_in_the_order_of_the_text() -> None:
    """A person corrects a file in one go."""
    text = "flag: 1\nrole: boss\nworkers: 0\nlimits: {}\n"
    with pytest.raises(DocumentError) as caught:
        require(parse(text, "f.yaml"), SCHEMA)
    assert [(str(one.position), one.message) for one in caught.value.problems] == [
        ("1:7", "'flag' must be true or false, not 1"),
        ("2:7", "'role' must be coordinator or worker, not 'boss'"),
        ("3:10", "'workers' must be at least 1, not 0"),
        ("4:1", "the key 'memory' is missing in 'limits'"),
        ("4:1", "the key 'cpu' is missing in 'limits'"),
    ]


def test_a_missing_key_of_the_whole_document() -> None:
    """It is told at the top, with the first sentence of its description."""
    with pytest.raises(DocumentError) as caught:
        require(parse("flag: true\n", "f.yaml"), SCHEMA)
    assert str(caught.value) == (
        "f.yaml:1:1: the key 'role' is missing\n    1 | flag: true\n      | ^\n        What to do"
    )


def test_a_document_of_another_shape() -> None:
    """Lists and empty files are no blocks of keys."""
    for text, shape in (("", "empty"), ("- a\n", "a list"), ("word\n", "'word'")):
        (found,) = validate(parse(text, "f.yaml"), SCHEMA)
        assert found.message == f"the document must be a block of keys, not {shape}"


def test_secrets_are_not_told() -> None:
    """Neither the message nor the shown line has the value of a secret."""
    for text in ("password: hush\n", "password: 1234567\n", "passwrod: hush\n", "my_token: hush\n"):
        with pytest.raises(DocumentError) as caught:
            require(parse(f"role: worker\n{text}", "f.yaml"), SCHEMA)
        assert "hush" not in str(caught.value)
        assert "1234567" not in str(caught.value)
        assert str(caught.value).startswith("f.yaml:2:1")


def test_long_values_are_cut() -> None:
    """A sentence stays a sentence."""
    ((_, message, _),) = told(f"workers: {'x' * 500}")
    assert len(message) < 130


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ({"anyOf": [{"const": 1}, {"enum": ["a", True]}]}, "b", "must be 1 or a or true, not 'b'"),
        ({"anyOf": [{"type": "null"}, {"title": "a word", "type": "string"}]}, "3", "empty or a w"),
        ({"anyOf": [{"type": ["string", "null"]}, {"type": "array"}]}, "3", "text or empty or a"),
        ({"anyOf": [{"minimum": 4}, {"maximum": 1}]}, "3", "must be something else, not 3"),
        ({"anyOf": [False, {"type": "string"}]}, "3", "'it' must be text, not 3"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "3", "fits several alternatives"),
        ({"not": {"type": "integer"}}, "3", "'it' is not allowed: 3 should not be valid under"),
        ({"not": {}, "writeOnly": True}, "hush", "'it' is not allowed: a secret"),
    ],
)
def test_alternatives_and_rarer_rules(part: Any, value: str, message: str) -> None:
    """Whatever a schema says, there is a sentence for it."""
    (found, *_) = validate(parse(f"it: {value}\n", "f.yaml"), {"properties": {"it": part}})
    assert message in found.message
    assert str(found.position) == "1:5"
