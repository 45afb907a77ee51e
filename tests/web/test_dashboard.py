"""The pages for people, as they come over HTTP."""

import re
import time

import httpx
import pytest
import trio

from builder.reapi.pb import control_pb2 as pb
from builder.web.charts import Bar, Line, gantt, line_chart, nice
from tests.web.site import EVIL, PAGES, Plain, evil, made, site


@pytest.mark.parametrize("path", PAGES)
async def test_nothing_of_a_client_becomes_markup(path: str) -> None:
    """Every page escapes, and its policy forbids inline script and other origins."""
    async with site(evil()) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    assert "<img src=x" not in answer.text
    assert "<script>document" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    tags = re.sub(r'"[^"]*"', '""', answer.text)  # what is in quotes is a value
    assert not re.search(r"<[^>]+\s(style|on\w+)=", tags)


async def test_an_empty_service_has_every_page() -> None:
    """Nothing has happened yet: no page fails, and what is not known is a page that says so."""
    async with site(Plain()) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        codes = [(await client.get(path)).status_code for path in PAGES]
        assert codes == [200, 200, 404, 200, 200, 404, 200, 200, 200, 200, 200]
        assert "no action 0000" in (await client.get("/actions/0000")).text


async def test_only_our_own_forms_steer() -> None:
    """Without the token, or from another site, nothing happens."""
    plain = evil()
    async with site(plain) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        page = (await client.get("/workers")).text
        [token] = set(re.findall(r'name="token" value="([^"]+)"', page))
        for data, headers in (
            ({}, {}),
            ({"token": "wrong"}, {}),
            ({"token": token}, {"sec-fetch-site": "cross-site"}),
        ):
            answer = await client.post("/pool/scale", data=data, headers=headers)
            assert answer.status_code == 409
        assert (await client.get("/pool/scale")).status_code == 405
        assert plain.done == []
        for path, more in (
            ("/pool/scale", {"workers": "3"}),
            ("/pool/scale", {}),
            ("/workers/w1/drain", {}),
            ("/actions/0001/cancel", {}),
            ("/actions/0001/again", {}),
        ):
            answer = await client.post(path, data={"token": token, **more})
            assert answer.status_code == 303
        bad = await client.post("/pool/scale", data={"token": token, "workers": "many"})
        assert bad.status_code == 400
    steered = [("scale", 3), ("scale", None), ("drain", "w1"), ("cancel", "0001")]
    assert plain.done == [*steered, ("again", "0001")]


async def test_a_stored_file_is_a_download_and_never_a_page() -> None:
    """Whatever its name and its bytes are, no browser runs it."""
    async with site(evil()) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        for which in ("inputs", "outputs"):
            page = (await client.get(f"/actions/0000/{which}/")).text
            [link] = [one for one in re.findall(r'href="([^"]+)"', page) if "%3Cscript" in one][:1]
            answer = await client.get(link)
            assert answer.content == EVIL.encode()
            assert answer.headers["content-type"] == "application/octet-stream"
            disposition = answer.headers["content-disposition"]
            assert disposition.startswith("attachment; filename*=UTF-8''")
            assert set(disposition) & set('"<>') == set()
            assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
            assert (await client.get(f"/actions/0000/{which}/none")).status_code == 404


async def test_output_comes_as_it_is_written() -> None:
    """The answer begins at once and ends with the action."""
    plain = evil()
    async with (
        site(plain) as address,
        httpx.AsyncClient(base_url=address, timeout=60) as client,
        client.stream("GET", "/actions/0000/output/stderr") as answer,
    ):
        pieces = answer.aiter_text()
        assert await anext(pieces) == f"stderr of {EVIL}\n"
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        plain.over.set()
        assert "".join([piece async for piece in pieces]) == "the end\n"
        assert (await client.get("/actions/0000/output/stdin")).status_code == 404


async def test_large_pages_are_quick() -> None:
    """10,000 actions of one invocation, and 1,000 workers: processor time, client included."""
    plain = Plain(found=[made(number) for number in range(10_000, 0, -1)])
    for number in range(1000):
        plain.state.worker.add(name=f"w{number}", state="busy", slots=4, slots_busy=4)
    plain.state.action.extend(made(number) for number in range(1000))
    async with site(plain) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        for path in ("/invocations/inv", "/invocations", "/workers", "/actions", "/"):
            took = []
            for _ in range(3):
                began = time.process_time()
                assert (await client.get(path)).status_code == 200
                took.append(time.process_time() - began)
            assert min(took) < 0.2, path


async def test_events_bring_figures_each_second() -> None:
    """Over a plain connection, as httpx cannot leave a stream that has no end."""
    plain = Plain(number=7)
    plain.state.queue.pending = 3
    async with site(plain) as address:
        host, _, port = address.removeprefix("http://").partition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(b"GET /events HTTP/1.1\r\nHost: here\r\n\r\n")
            data = b""
            with trio.fail_after(60):
                while data.count(b"data: ") < 2:
                    data += await stream.receive_some()
    assert b"content-type: text/event-stream" in data.lower()
    assert b'"pending": "3"' in data
    assert b'"version": 7' in data


async def test_files_of_the_pages_and_no_others() -> None:
    async with site(Plain()) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        assert (await client.get("/static/live.js")).headers["content-type"] == "text/javascript"
        assert (await client.get("/static/style.css")).status_code == 200
        for name in ("nothing.js", "%2e%2e/metrics.py", "..%2fmetrics.py"):
            assert (await client.get(f"/static/{name}")).status_code == 404


async def test_health_tells_the_reasons() -> None:
    """Alive all the same; not ready says why."""
    plain = Plain(ready=False)
    async with site(plain) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        assert (await client.get("/readyz")).text == "not ready\nstarting or draining\n"
        plain.state.problems.append("the storage is down")
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "not ready\nthe storage is down\n")
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.text) == (200, "ok\nthe storage is down\n")
        plain.ready = True
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200


@pytest.mark.parametrize(("value", "top"), [(0.3, 1), (1, 1), (3, 5), (11, 20), (99, 100)])
def test_scales_end_in_round_numbers(value: float, top: float) -> None:
    assert nice(value) >= value
    assert value >= 1 or nice(value) <= top
    assert value < 1 or nice(value) == top


def test_a_chart_has_a_gap_where_nothing_is_known() -> None:
    """Two runs of points; the legend tells the newest value."""
    chart = line_chart("Hits", [0.0, 1.0, 2.0, 3.0], [Line("rate", [0.5, None, 0.2, 0.25])], "%")
    assert chart.count("<polyline") == 2
    assert "rate: 25%" in chart
    assert "no samples" in line_chart(EVIL, [], [Line("x", [])])
    assert "<script" not in line_chart(EVIL, [], [Line("x", [])])


def test_bars_lie_in_the_row_of_their_worker() -> None:
    bars = [Bar("w1", 0, 1, "succeeded", EVIL, "/x"), Bar("w2", 1, 3, "failed", "b", "/y")]
    chart = gantt(bars)
    assert chart.count("<rect") == 2
    assert "<script" not in chart
    assert gantt([]) == ""


def test_builds_are_grouped_with_their_hits_and_failures() -> None:
    from builder.web.invocations import grouped

    actions = [made(3, outcome="cached"), made(2, outcome="failed"), made(1, invocation="")]
    actions.append(made(0, outcome="", stage="queued"))
    [one] = grouped(actions)
    assert (one.actions, one.hits, one.failed, one.targets) == (3, 1, 1, 3)
    assert one.took_s is None  # one of them goes on
    assert grouped([pb.Action()]) == []
