"""Any settings, written down and read again, are the same settings."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.base.document import parse
from builder.base.validation import validate
from builder.config.expansion import expand
from builder.config.filling import Filler, kind_of, loaded, plain_hint
from builder.config.kinds import HIDDEN, Address, Kind, Secret
from builder.config.settings import Settings
from builder.config.showing import as_yaml
from builder.config.storage import StoreTree
from builder.host.resources import schema

SCHEMA = schema("config.schema.json")
ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
WORDS = ANY | st.text("${}:-# ,[]'\"\\A1\n", min_size=1, max_size=8)
TEXTS = {  # for texts that the schema wants in a form
    "image": st.just("ami-01"),
    "endpoint": st.just("https://h"),
    "url": st.just("s3://bucket/prefix"),
    "metadata_endpoint": st.just("http://h"),
    "entry_point": st.just("a.b:C"),
}
NUMBERS = {  # bounds that the schema sets
    "priority_min": st.integers(-1000, 0),
    "open_files": st.integers(16, 1000),
    "window": st.integers(2, 1000),
    "max_queued": st.integers(1, 1000),
    "infrastructure_retries": st.integers(0, 100),
    "victims": st.integers(1, 8),
}


def of_hint(name: str, hint: Any) -> st.SearchStrategy[Any]:
    """Plain values for one setting, as a file would hold them."""
    inner = loaded(plain_hint(hint))
    match kind_of(inner):
        case Kind.DURATION:
            return st.integers(0, 10**6) | st.sampled_from(["30s", "1h5m", "250ms"])
        case Kind.SIZE:
            return st.integers(0, 2**50) | st.sampled_from(["2GiB", "4G", "64K"])
        case Kind.PATH:
            return WORDS
    if inner is Address:
        return st.integers(0, 65535).map(lambda port: f"h:{port}")
    if inner is Secret:
        return st.just(HIDDEN)
    if inner is StoreTree:
        return st.deferred(lambda: TREES)
    if is_dataclass(inner):
        assert isinstance(inner, type)
        return of_class(inner)
    if get_origin(inner) is Literal:
        return st.sampled_from(get_args(inner))
    if get_origin(inner) is tuple:
        items = of_hint(name, get_args(inner)[0])
        return st.lists(items, min_size=1, max_size=3, unique_by=repr)
    if get_origin(inner) is Mapping:
        return st.dictionaries(WORDS.map(lambda word: f"k{word}"), st.just(HIDDEN), max_size=3)
    scalars = {bool: st.booleans(), float: st.floats(0.01, 0.99), str: TEXTS.get(name, WORDS)}
    return NUMBERS.get(name, st.integers(1, 100)) if inner is int else scalars[inner]


@st.composite
def of_class(draw: st.DrawFn, cls: type) -> dict[str, Any]:
    """Named by its class alone: hypothesis writes a strategy out when it has to draw again."""
    return draw(parts_of(cls))


@cache
def parts_of(cls: type) -> st.SearchStrategy[dict[str, Any]]:
    hints = get_type_hints(cls, include_extras=True)
    made = {one.name: of_hint(one.name, hints[one.name]) for one in fields(cls)}
    required = {
        one.name for one in fields(cls) if one.default is MISSING and one.default_factory is MISSING
    }
    return st.fixed_dictionaries(
        {name: made[name] for name in made if name in required},
        optional={name: made[name] for name in made if name not in required},
    )


@st.composite
def of_tree(draw: st.DrawFn) -> dict[str, Any]:
    """A node of one kind; most often one that has none below it, so that trees end."""
    return draw(nodes())


@cache
def nodes() -> st.SearchStrategy[dict[str, Any]]:
    hints = get_type_hints(StoreTree, include_extras=True)
    kinds = [st.fixed_dictionaries({name: of_hint(name, hint)}) for name, hint in hints.items()]
    return st.one_of(kinds[:5] * 4 + kinds)


TREES = of_tree()


def filled(values: Mapping[str, Any]) -> Settings:
    filler = Filler(lambda text, path: text, lambda path: path)
    made = filler.fill(Settings, values)
    assert filler.findings == []
    return made


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(of_class(Settings))
def test_round_trip(values: dict[str, Any]) -> None:
    """Whatever sections are set, with whatever texts in them."""
    first = filled(values)
    document = parse(as_yaml(first, {}), "shown.yaml")
    value, problems = expand(document, SCHEMA, {})
    assert isinstance(value, dict)
    assert problems == []
    assert validate(replace(document, value=value), SCHEMA) == []
    assert filled(value) == first
