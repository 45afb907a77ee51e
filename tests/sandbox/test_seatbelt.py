"""The profile for macOS's sandbox: its text case by case, and against the grammar."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.sandbox.seatbelt import SYSTEM, Reach, above, profile, quoted

Form = str | list["Form"]
TOKEN = re.compile(r'\s*(?:([()])|("(?:[^"\\]|\\.)*")|([^\s()"]+))')
OPERATIONS = {
    "file-ioctl", "file-map-executable", "file-read*", "file-read-metadata", "file-write*",
    "file-write-data", "ipc-posix-sem", "mach-lookup", "network*", "network-outbound",
    "process-exec", "process-fork", "process-info*", "signal", "sysctl-read", "system-socket",
}  # fmt: skip
FILTERS = {
    "subpath": 1, "literal": 1, "global-name": 1, "target": 1, "remote": 2,
}  # fmt: skip
OWN = ["/private/x/tree", "/private/x/tmp"]
NOTHING = Reach()


def parse(text: str) -> list[Form]:
    """Every form of a text of S-expressions. Raises ValueError."""
    stack: list[list[Form]] = [[]]
    at = 0
    while at < len(text.rstrip()):
        token = TOKEN.match(text, at)
        if token is None:
            raise ValueError(f"no token at {text[at : at + 20]!r}")
        at = token.end()
        bracket, string, symbol = token.groups()
        if bracket == "(":
            stack.append([])
        elif bracket == ")":
            form = stack.pop()
            if not stack:
                raise ValueError("a bracket too many")
            stack[-1].append(form)
        else:
            stack[-1].append(string or symbol)
    if len(stack) != 1:
        raise ValueError("a bracket is missing")
    return stack[0]


def unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def check(form: Form) -> None:
    """One form of a profile is what the grammar has."""
    assert isinstance(form, list)
    if form[0] == "version":
        assert form == ["version", "1"]
        return
    if form[0] == "deny":
        assert form == ["deny", "default"]
        return
    assert form[0] == "allow"
    assert form[1] in OPERATIONS
    for filter_ in form[2:]:
        assert isinstance(filter_, list)
        name, *arguments = filter_
        assert isinstance(name, str)
        assert len(arguments) == FILTERS[name]
        assert all(isinstance(one, str) for one in arguments)


def allowed(text: str, operation: str) -> list[Form]:
    """The filters of an operation; a list of `*` when it is allowed without any."""
    found: list[Form] = []
    for form in parse(text):
        if form[:2] == ["allow", operation]:
            found += form[2:] or ["*"]
    return found


def paths(text: str, operation: str, kind: str = "subpath") -> list[str]:
    return [unquoted(str(one[1])) for one in allowed(text, operation) if one[0] == kind]


REACHES = [NOTHING, Reach(port=3128), Reach(everything=True)]


@pytest.mark.parametrize("reach", REACHES)
@pytest.mark.parametrize("read_only", [[], ["/opt/tool", '/odd "name\\']])
def test_every_form_is_of_the_grammar(reach: Reach, read_only: list[str]) -> None:
    forms = parse(profile(OWN, read_only, reach))
    assert forms[:2] == [["version", "1"], ["deny", "default"]]
    for form in forms:
        check(form)


def test_denied_by_default() -> None:
    """The second line; and nothing after it allows an operation altogether but these."""
    open_ = [form[1] for form in parse(profile(OWN, [], NOTHING)) if len(form) == 2]
    assert open_ == ["1", "default", "process-fork", "sysctl-read", "ipc-posix-sem"]


def test_only_its_own_places_can_be_written() -> None:
    text = profile(OWN, ["/opt/tool"], NOTHING)
    assert paths(text, "file-write*") == OWN
    assert paths(text, "file-write-data", "literal") == ["/dev/null", "/dev/zero"]


def test_declared_tools_can_be_executed_and_no_others() -> None:
    text = profile(OWN, ["/opt/tool"], NOTHING)
    assert paths(text, "process-exec") == [*SYSTEM, "/opt/tool", *OWN]
    assert paths(text, "file-read*") == [*SYSTEM, "/opt/tool", *OWN]
    assert not {"/usr/local", "/opt", "/usr", "/", "/Users"} & set(paths(text, "process-exec"))


def test_the_way_to_a_place_can_be_passed_but_not_listed() -> None:
    text = profile(["/private/a/b/tree"], [], NOTHING)
    assert {"/", "/private/a", "/private/a/b"} <= set(paths(text, "file-read-metadata", "literal"))
    assert "/private/a/b" not in paths(text, "file-read*", "literal")


def test_only_processes_of_its_own_can_be_signalled_and_seen() -> None:
    text = profile(OWN, [], NOTHING)
    assert allowed(text, "signal") == [["target", "same-sandbox"]]
    assert allowed(text, "process-info*") == [["target", "same-sandbox"]]


@pytest.mark.parametrize(
    ("reach", "outbound", "everything"),
    [
        (NOTHING, [], []),
        (Reach(port=3128), [["remote", "tcp", '"localhost:3128"']], []),
        (Reach(everything=True), [], ["*"]),
    ],
)
def test_the_network(reach: Reach, outbound: list[Form], everything: list[Form]) -> None:
    """None by default; with hosts, one port, behind which the proxy is; or all of it."""
    text = profile(OWN, [], reach)
    assert allowed(text, "network-outbound") == outbound
    assert allowed(text, "network*") == everything
    assert ("mDNSResponder" in text) == bool(everything)


@given(st.text(st.characters(min_codepoint=32, exclude_categories=("C", "Z")), min_size=1))
def test_a_path_cannot_break_out_of_its_string(name: str) -> None:
    """Whatever is in it, it is one string, and the same one."""
    (form,) = parse(f"(subpath {quoted(name)})")
    assert isinstance(form, list)
    assert [form[0], *(unquoted(str(one)) for one in form[1:])] == ["subpath", name]


def test_a_hostile_name_stays_one_string() -> None:
    name = '/private/a") (allow default) ("\\'
    text = profile([name], [], NOTHING)
    assert paths(text, "file-write*") == [name]
    assert ["allow", "default"] not in parse(text)


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "a\x1bb"])
def test_a_path_that_no_string_holds_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        quoted(name)


def test_above() -> None:
    assert above(["/a/b/c", "/a/d"]) == ["/a", "/a/b"]


@pytest.mark.parametrize("text", ["(a", "a)", '("a)', "(a))"])
def test_the_parser_refuses_what_is_not_closed(text: str) -> None:
    """A test of the test."""
    with pytest.raises(ValueError, match=r"bracket|token"):
        parse(text)
