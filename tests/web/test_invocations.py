"""What a build's actions tell of it: its critical path, its tests, the logs of its failures."""

import httpx
import pytest

from builder.builds.invocation import Invocation, Metrics, TestAttempt
from builder.builds.lookups import Found
from builder.reapi.pb import control_pb2 as pb
from builder.web.timeline import critical_path, longest
from builder.web.told import rows_of_tests, sentence, title
from tests.web.site import Plain, made, site


def action(name: str, queued: int, ended: int, **fields: object) -> pb.Action:
    found = made(1, target=name, **fields)
    found.queued.FromSeconds(queued)
    found.ended.FromSeconds(ended)
    return found


def names(actions: "list[pb.Action]") -> list[str]:
    return [one.target for one in actions]


def test_the_critical_path_is_what_the_end_waited_for() -> None:
    """Two compiles, of which the later lets the link begin; the test waits for the link."""
    built = [
        action("test", 20, 30),
        action("link", 10, 20),
        action("quick", 0, 4),
        action("slow", 0, 10),
        action("aside", 5, 28),
    ]
    assert names(critical_path(built)) == ["slow", "link", "test"]
    assert names(critical_path(built[2:])) == ["quick", "aside"]


def test_hits_and_what_goes_on_are_not_on_it() -> None:
    going = action("going", 0, 0)
    going.ClearField("ended")
    assert critical_path([going, action("hit", 0, 9, outcome="cached")]) == []
    assert critical_path([]) == []


def test_actions_of_no_length_end() -> None:
    """Equal times lead nowhere twice."""
    built = [action(str(number), 5, 5) for number in range(50)]
    path = critical_path(built)
    assert len(set(names(path))) == len(path)


def test_tests_that_failed_come_first() -> None:
    """Over all attempts; the summary's verdict counts, where it has come."""
    told = Invocation("i", verdicts={"//a": "passed", "//b": "flaky"})
    attempts = (
        ("//a", 1, "passed", True),
        ("//b", 1, "failed", False),
        ("//b", 2, "passed", False),
    )
    for label, attempt, status, cached in (*attempts, ("//c", 1, "timeout", False)):
        told.tests[label, 1, 1, attempt] = TestAttempt(label, 1, 1, attempt, status, 2.0, cached)
    rows = [
        (row.label, row.status, row.attempts, row.took_s, row.cached) for row in rows_of_tests(told)
    ]
    assert rows == [
        ("//b", "flaky", 2, 4.0, False),
        ("//c", "timeout", 1, 2.0, False),
        ("//a", "passed", 1, 2.0, True),
    ]


def test_a_build_is_a_title_and_a_sentence() -> None:
    told = Invocation("i", command="test", patterns=["//a", "//b"], started_ns=0, finished_ns=0)
    told.targets = {"//a": "built", "//b": "failed"}
    assert title(told) == "test //a //b"
    assert sentence(told) == "running: 2 targets, 1 failed"
    told.exit_code, told.started_ns, told.finished_ns = 3, 10**9, 3 * 10**9
    told.verdicts = {"//a": "passed", "//c": "timeout"}
    assert sentence(told) == "failed in 2.0s: 2 targets, 1 failed; 1 of 2 tests passed"


async def test_failures_show_the_end_of_their_logs() -> None:
    plain = Plain(found=[made(1, outcome="failed")])
    plain.details.summary.CopyFrom(plain.found[0])
    plain.details.stderr = b"".join(b"line %d\n" % number for number in range(100))
    async with site(plain) as address, httpx.AsyncClient(base_url=address, timeout=60.0) as client:
        page = (await client.get("/invocations/inv")).text
    assert "line 99" in page
    assert "line 79" not in page


async def test_a_build_that_only_told_of_itself_has_a_page() -> None:
    """All of its actions were in the cache: none of them came here."""
    plain = Plain(told=Invocation("inv", command="test", patterns=["//..."], exit_code=0))
    async with site(plain) as address, httpx.AsyncClient(base_url=address, timeout=60.0) as client:
        answer = await client.get("/invocations/inv")
    assert answer.status_code == 200
    assert "test //..." in answer.text
    assert "succeeded" in answer.text


@pytest.mark.parametrize(
    ("created", "said"), [(9, "7 of 9 actions were run"), (0, "7 actions were run")]
)
async def test_what_a_build_counted(created: int, said: str) -> None:
    """Old clients do not tell how many actions there were."""
    metrics = Metrics(actions=created, executed=7)
    plain = Plain(told=Invocation("inv", metrics=metrics))
    async with site(plain) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        assert f" {said}" in (await client.get("/invocations/inv")).text


async def test_a_build_whose_every_action_was_a_hit_has_a_page() -> None:
    """What its client found by look-ups alone has rows, as far as they are known, and counts."""
    rows = [made(n, invocation="warm", outcome="cached", worker="") for n in range(3)]
    plain = Plain(looked_up={"warm": Found("bazel", 10.0, 12.0, hits=7, targets={"//a": None})})
    plain.rows_looked_up = rows
    async with site(plain) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        every = (await client.get("/invocations")).text
        assert 'href="/invocations/warm"' in every
        page = (await client.get("/invocations/warm")).text
        for row in rows:
            assert row.target in page
        assert "4 more hits were counted only" in page
        assert "<b>7</b><span>cache hits</span>" in page
        assert "Timeline" not in page


def test_the_longest_of_a_path_keep_its_order() -> None:
    path = [action("a", 0, 5), action("b", 5, 6), action("c", 6, 16), action("d", 16, 20)]
    assert names(longest(path, 2)) == ["a", "c"]
    assert longest(path, 10) == path
