"""The table of rights, whole: each role against each class of methods."""

import itertools

import pytest

from builder.auth.rights import METHODS, RIGHTS, Right, right_of, right_of_page, trusting

GRID = {
    "reader": "open read",
    "writer": "open read store execute record",
    "trusted": "open read store execute record",
    "worker": "open read store join steal",
    "operator": "open read store execute record join steal operate",
}


@pytest.mark.parametrize(("role", "right"), list(itertools.product(GRID, Right)))
def test_the_whole_grid(role: str, right: Right) -> None:
    """Every role against every right."""
    assert (right in RIGHTS[role]) is (right.name.lower() in GRID[role].split())


def test_a_method_that_nobody_has_classed_is_for_operators() -> None:
    """So that a new one is not open by being forgotten; scaling and draining are meant so."""
    assert right_of("/a.B/C") is Right.OPERATE
    assert right_of("/builder.control.Control/ScalePool") is Right.OPERATE
    assert right_of("/builder.control.Control/DrainWorker") is Right.OPERATE


@pytest.mark.parametrize(("role", "right"), list(itertools.product(GRID, Right)))
def test_the_grid_where_results_are_from_the_trusted(role: str, right: Right) -> None:
    """Writers write no results; nothing else changes."""
    kept_from = (role, right) == ("writer", Right.RECORD)
    assert (right in trusting(RIGHTS)[role]) is (right in RIGHTS[role] and not kept_from)


def test_only_health_asks_for_nothing() -> None:
    """An orchestrator's probes have no token; whatever else is answered needs one."""
    assert {path for path, right in METHODS.items() if right is Right.OPEN} == {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
    }


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("GET", "/healthz", Right.OPEN),
        ("GET", "/readyz", Right.OPEN),
        ("GET", "/metrics", Right.READ),
        ("GET", "/", Right.READ),
        ("HEAD", "/cas/ab", Right.READ),
        ("GET", "/ac/ab", Right.READ),
        ("PUT", "/cas/ab", Right.STORE),
        ("PUT", "/some/prefix/cas/ab", Right.STORE),
        ("PUT", "/ac/ab", Right.RECORD),
        ("PUT", "/ac/cas", Right.RECORD),
        ("DELETE", "/cas/ab", Right.STORE),
        ("POST", "/", Right.EXECUTE),
        ("POST", "/actions/0123/cancel", Right.EXECUTE),
        ("POST", "/pool/scale", Right.OPERATE),
        ("POST", "/workers/w1/drain", Right.OPERATE),
    ],
)
def test_pages(method: str, path: str, right: Right) -> None:
    """Results are written by those who may record, blobs by those who may store."""
    assert right_of_page(method, path) is right
