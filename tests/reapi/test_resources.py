"""Needs as platform properties."""

import pytest

from builder.base.errors import InvalidArgumentError
from builder.reapi.resources import is_resource, resources_of


def test_what_clients_write_and_what_it_means() -> None:
    """Cores in thousandths, sizes in bytes, pieces; nothing is no need."""
    given = [
        ("EstimatedCPU", "1.5"),
        ("EstimatedCPU", "250m"),
        ("EstimatedMemory", "2GB"),
        ("EstimatedFreeDiskBytes", "10"),
        ("resources:gpu", "1"),
        ("resources:half", "0.5"),
        ("resources:none", "0"),
        ("OSFamily", "linux"),
    ]
    assert [is_resource(name) for name, _ in given] == [True] * 7 + [False]
    assert resources_of(given) == [
        ("cpu", 1500),
        ("cpu", 250),
        ("memory", 2 * 1024**3),
        ("disk", 10),
        ("gpu", 1),
        ("half", 1),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EstimatedCPU", "many"),
        ("EstimatedCPU", "-1"),
        ("EstimatedCPU", "nan"),
        ("EstimatedMemory", "much"),
        ("resources:gpu", "-1"),
        ("resources:gpu", "inf"),
        ("resources:gpu", "nan"),
        ("resources:gpu", "some"),
        ("resources:", "1"),
    ],
)
def test_what_is_not_understood_is_named(name: str, value: str) -> None:
    """The property stands in the message."""
    with pytest.raises(InvalidArgumentError, match=name):
        resources_of([(name, value)])
