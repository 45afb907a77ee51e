"""The metrics port, through a real server."""

from collections.abc import AsyncIterator

import httpx
import pytest
import trio
from prometheus_client import CollectorRegistry, Counter

from builder.net.listeners import open_listeners
from builder.web.metrics import MetricsPages
from builder.web.serving import serve_app


class Service:
    ready = False


@pytest.fixture
async def service() -> Service:
    return Service()


@pytest.fixture
async def client(service: Service, nursery: trio.Nursery) -> AsyncIterator[httpx.AsyncClient]:
    registry = CollectorRegistry()
    Counter("builder_actions", "Actions done", ["worker"], registry=registry).labels("w1").inc(3)
    pages = MetricsPages(
        registry, lambda: service.ready, lambda: [("Workers <2>", [("busy", "1 & 2")])]
    )
    [listener] = await open_listeners("127.0.0.1:0")
    stop = trio.Event()
    nursery.start_soon(lambda: serve_app(pages.app(), [listener], stop=stop))
    async with httpx.AsyncClient(base_url=f"http://{listener.address}", timeout=10) as client:
        yield client
    stop.set()


async def test_metrics_are_prometheus_text(client: httpx.AsyncClient) -> None:
    """What is in the registry comes out in the text format."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'builder_actions_total{worker="w1"} 3.0' in answer.text


async def test_health_and_readiness(client: httpx.AsyncClient, service: Service) -> None:
    """Alive at once; ready when the service says so."""
    assert (await client.get("/healthz")).text == "ok\n"
    assert (await client.get("/readyz")).status_code == 503
    service.ready = True
    assert (await client.get("/readyz")).status_code == 200


async def test_the_page_shows_the_figures(client: httpx.AsyncClient) -> None:
    """Titles and rows are on the page, escaped."""
    text = (await client.get("/")).text
    assert "Workers &lt;2&gt;" in text
    assert "1 &amp; 2" in text
