"""Documents where PyYAML has no libyaml: the same language."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, json
if sys.argv[1] == "pure":
    sys.modules["yaml.cyaml"] = None  # as where libyaml is missing: the import fails
    sys.modules["yaml._yaml"] = None
from builder.base.document import parse
from builder.base.problems import DocumentError

def tell(text):
    try:
        document = parse(text, "f.yaml")
    except DocumentError as error:
        return ["error", [one.position.line for one in error.problems]]
    return ["value", document.value, document.position(("a", "b"), key=True)]

import builder.base.document
pure = builder.base.document.Parser.__module__ == "builder.base.document"
print(json.dumps([pure, [tell(text) for text in json.load(sys.stdin)]]))
"""
TEXTS = [
    "a:\n  b: [1, yes, 010, {c: ~}]\n",
    "a: &x {b: 1}\nd: {<<: *x, e: 0x1F}\n",
    "",
    "a: 1\na: 2\n",
    "a: b: c\n",
    "a:\n\t- b\n",
    "a: [1, 2\nb: 3\n",
    "a: *nope\n",
    "a: !tag 1\n",
    "a: \x01\n",
    "a: 1\n---\nb: 2\n",
    "[" * 3000 + "]" * 3000,
]


def told(kind: str) -> list[object]:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind],
        cwd=ROOT,
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[object] = json.loads(ran.stdout)
    return found


def test_both_parsers_say_the_same() -> None:
    """Values, positions, and the lines of mistakes."""
    fast_is_pure, fast = told("fast")
    pure_is_pure, pure = told("pure")
    assert (fast_is_pure, pure_is_pure) == (False, True)
    assert pure == fast
