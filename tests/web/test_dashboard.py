"""The pages for people, as they come over HTTP."""

import re

import httpx
import pytest
import trio

from builder.web.charts import MOST_BARS, Bar, Line, gantt, line_chart, nice, shown
from builder.web.dashboard import ROWS, SLOWEST
from builder.web.wording import ran, waited
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
        assert codes == [200, 200, 404, 200, 200, 200, 404, *[200] * 6]
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
            ("/pool/scale", {"workers": "3", "pool": "gpu"}),
            ("/pool/scale", {}),
            ("/workers/w1/drain", {}),
            ("/actions/0001/cancel", {}),
            ("/actions/0001/again", {}),
        ):
            answer = await client.post(path, data={"token": token, **more})
            assert answer.status_code == 303
        bad = await client.post("/pool/scale", data={"token": token, "workers": "many"})
        assert bad.status_code == 400
    steered = [("scale", "gpu", 3), ("scale", "", None), ("drain", "w1"), ("cancel", "0001")]
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


async def test_large_pages_cost_no_more_than_smaller_ones() -> None:
    """Of ten times as many actions a page takes as many, and is as long."""

    async def cost(count: int, path: str) -> tuple[int, int]:
        plain = Plain(found=[made(number) for number in range(count, 0, -1)])
        async with (
            site(plain) as address,
            httpx.AsyncClient(base_url=address, timeout=60) as client,
        ):
            answer = await client.get(path)
        assert answer.status_code == 200
        return plain.given, len(answer.content) // 1000

    for path in ("/invocations/inv", "/invocations", "/actions", "/"):
        given, kilobytes = await cost(1_000, path)
        assert given <= MOST_BARS + SLOWEST + ROWS
        more, longer = await cost(10_000, path)
        assert (more, longer) == (given, pytest.approx(kilobytes, abs=10)), path


async def test_an_invocation_has_pages() -> None:
    """Each shows the next of its actions and leads to those beside it."""
    plain = Plain(found=[made(number) for number in range(250, 0, -1)])
    async with site(plain) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        page = (await client.get("/invocations/inv")).text
        assert "1 to 100 of 250" in page
        assert '<a href="?skip=100" rel="next">Next</a>' in page
        assert "Previous" not in page
        last = (await client.get("/invocations/inv?skip=200")).text
        assert "201 to 250 of 250" in last
        assert '<a href="?skip=100" rel="prev">Previous</a>' in last
        assert "Next" not in last
        assert f'href="/actions/{made(50).operation[-32:][:12]}"' in last
        assert (await client.get("/invocations/inv?skip=-1")).status_code == 400


async def test_a_large_fleet_is_shown_in_parts() -> None:
    """By name, a hundred at once; those of one state; those that are not well, with the reason."""
    plain = Plain()
    for number in range(250):
        state = "busy" if number % 2 else "idle"
        plain.state.worker.add(name=f"w-{number}", state=state, platform={"OSFamily": "linux"})
    plain.state.worker[7].ailment = "three actions failed on it"
    async with site(plain) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        first = (await client.get("/workers")).text
        assert first.index(">w-9<") < first.index(">w-10<")
        assert "1 to 100 of 250" in first
        assert "OSFamily=linux" in first
        busy = (await client.get("/workers?show=busy&skip=100")).text
        assert "101 to 125 of 125" in busy
        assert ">w-10<" not in busy
        ill = (await client.get("/workers?show=unwell")).text
        assert ">w-7<" in ill
        assert "three actions failed on it" in ill
        assert ">w-8<" not in ill


async def test_steals_are_told_where_there_is_stealing() -> None:
    """What waits on workers, what was taken, and how the calls went."""
    plain = Plain()
    plain.state.worker.add(name="w-1", state="busy", backlog=2)
    async with site(plain) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        assert "Waiting beyond slots" not in (await client.get("/workers")).text
        for field, value in {"backlog": 2, "moved": 1, "succeeded": 1, "empty": 3}.items():
            setattr(plain.state.stealing, field, value)
        page = (await client.get("/workers")).text
        assert "Waiting beyond slots: 2. Taken by workers with nothing to do: 1." in page
        assert "1 succeeded, 3 empty, 0 failed." in page
        assert ">+2<" in page


async def test_a_worker_leads_to_what_it_ran() -> None:
    """Page by page, and only that."""
    plain = Plain(found=[made(number) for number in range(1000, 0, -1)])
    async with site(plain) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        page = (await client.get("/actions?worker=w3")).text
        assert "//pkg:t995<" in page
        assert "//pkg:t996<" not in page
        assert 'href="?worker=w3&amp;skip=100"' in page
        assert (await client.get("/actions?skip=x")).status_code == 400


def test_an_action_tells_how_long_it_waited_and_ran() -> None:
    """Up to now while that goes on; a hit did neither."""
    one = made(1)
    asked_s = one.queued.seconds
    one.started.FromSeconds(asked_s + 3)
    one.ended.FromSeconds(asked_s + 5)
    assert (waited(one, 0), ran(one, 0)) == ("3.0s", "2.0s")
    one.ClearField("ended")
    assert (waited(one, asked_s + 10), ran(one, asked_s + 10)) == ("3.0s", "7.0s")
    one.ClearField("started")
    assert (waited(one, asked_s + 10), ran(one, asked_s + 10)) == ("10.0s", "-")
    one.outcome = "cached"
    assert (waited(one, 0), ran(one, 0)) == ("-", "-")


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "0.25"), (999, "999"), (1500, "1,500"), (20_000, "20k"), (3e6, "3M")]
)
def test_large_numbers_of_charts_are_short(value: float, text: str) -> None:
    assert shown(value, "") == text


async def test_the_storage_is_told_by_age_lease_tier_and_instance() -> None:
    plain = Plain()
    store = plain.state.stores.add(name="blobs", capacity_bytes=1 << 30, used_bytes=1 << 20)
    store.leased_bytes = 3 << 19
    for within_s, count in ((3600, 3 << 18), (86_400, 1 << 18)):
        store.ages.add(bytes=count).within.FromSeconds(within_s)
    store.ages.add(bytes=0)
    plain.state.tiers.add(name="blobs.far", kind="redis", trouble="no answer", hits=1, misses=3)
    plain.state.instances.add(name="ci", uploaded_bytes=2048, quota_bytes=4096)
    async with site(plain) as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        page = (await client.get("/storage")).text
    told = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert "Leased 1.5 MB" in told
    assert "within 1h 768 KB 75%" in told
    assert "older 0 B 0%" in told
    assert "blobs.far redis down: no answer 1 3 25%" in told
    assert "ci 2 KB 4 KB 0" in told


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
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.text) == (200, "ready\nthe storage is down\n")
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
