"""Plain values into the settings' dataclasses.

The values were held against the schema before, so their shapes are right. What only shows here
(a port beyond 65535, an unreadable secret) is collected with its path, not raised.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from importlib import import_module
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from builder.base.document import Path
from builder.base.errors import UsageError
from builder.base.units import parse_duration, parse_size
from builder.config.kinds import Address, Kind, Late, Secret, parse_address

T = TypeVar("T")

IN_FILE = "file:"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with the setting at this path, for a person; `other` is what it does not
    fit, to be pointed at where only that one was set."""

    path: Path
    message: str
    hint: str = ""
    other: Path = ()


@dataclass(slots=True)
class Filler:
    """`resolve_path` makes a path absolute, given the setting it is for; `read_secret` reads a
    file, given an absolute path, and raises UsageError where it cannot."""

    resolve_path: Callable[[str, Path], str]
    read_secret: Callable[[str], str]
    findings: list[Finding] = field(default_factory=list)

    def fill(self, cls: type[T], values: Mapping[str, Any], path: Path = ()) -> T:
        """The dataclass with these values; what is not among them has its default."""
        hints = get_type_hints(cls, include_extras=True)
        filled: dict[str, Any] = {}
        for one in fields(cls):  # type: ignore[arg-type]  # a dataclass, as all callers know
            here = (*path, one.name)
            if one.name in values:
                filled[one.name] = self._value(hints[one.name], values[one.name], here)
            elif is_path(hints[one.name]) and isinstance(one.default, str):
                filled[one.name] = self.resolve_path(one.default, here)
            elif one.default_factory is hints[one.name]:  # a section: it may hold paths
                filled[one.name] = self._value(hints[one.name], {}, here)
        return cls(**filled)

    def _value(self, hint: Any, value: Any, path: Path) -> Any:
        hint = loaded(plain_hint(hint))
        try:
            return self._convert(hint, value, path)
        except UsageError as error:
            self.findings.append(Finding(path, str(error)))
            return value

    def _convert(self, hint: Any, value: Any, path: Path) -> Any:
        if is_dataclass(hint):
            if hint is Address:
                return parse_address(value)
            if hint is Secret:
                return self._secret(value, path)
            return self.fill(hint, value, path)  # type: ignore[arg-type]  # a class, not a value
        if kind := kind_of(hint):
            return self._of_kind(kind, value, path)
        if get_origin(hint) is tuple:
            item = get_args(hint)[0]
            return tuple(self._value(item, v, (*path, n)) for n, v in enumerate(value))
        if get_origin(hint) is Literal or hint in (bool, str):
            return value
        return hint(value) if hint in (int, float) else dict(value)

    def _of_kind(self, kind: Kind, value: Any, path: Path) -> float | int | str:
        match kind:
            case Kind.DURATION:
                return parse_duration(value)
            case Kind.SIZE:
                return parse_size(value)
            case Kind.PATH:
                return self.resolve_path(value, path)

    def _secret(self, text: str, path: Path) -> Secret:
        if not text.startswith(IN_FILE):
            return Secret(text)
        file = self.resolve_path(text.removeprefix(IN_FILE), path)
        found = self.read_secret(file).strip()
        if not found:
            raise UsageError(f"the secret file {file} is empty")
        return Secret(found)


def plain_hint(hint: Any) -> Any:
    """The hint without `| None`."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (one for one in get_args(hint) if one is not NoneType)
    return hint


def loaded(hint: Any) -> Any:
    """The class itself, where the hint only says which one it is."""
    marks = hint.__metadata__ if get_origin(hint) is Annotated else ()
    for mark in marks:
        if isinstance(mark, Late):
            return getattr(import_module(mark.module), mark.name)
    return hint


def kind_of(hint: Any) -> Kind | None:
    """Which of our kinds an Annotated hint is of."""
    if get_origin(hint) is not Annotated:
        return None
    return next((mark for mark in hint.__metadata__ if isinstance(mark, Kind)), None)


def is_path(hint: Any) -> bool:
    return kind_of(plain_hint(hint)) is Kind.PATH


def default_of(one: Field[Any]) -> Any:
    """A field's default value; MISSING for a required one."""
    return one.default_factory() if one.default_factory is not MISSING else one.default
