"""The pages in a real browser."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from tests.web.browser import Page, browsing
from tests.web.site import PAGES, Plain, evil, made, site

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]


async def seen(plain: Plain, folder: Path, look: Callable[[Page, str], None]) -> None:
    """Have `look` look at the site in a browser of its own."""

    def run(address: str) -> None:
        assert CHROMIUM is not None
        with browsing(CHROMIUM, folder) as page:
            look(page, address)

    async with site(plain) as address:
        await trio.to_thread.run_sync(run, address)


async def test_every_page_lives_and_no_script_of_a_client_runs(tmp_path: Path) -> None:
    """Pages are drawn, hear of the service, fit a phone, and break no rule of their policy."""

    def look(page: Page, address: str) -> None:
        for path in PAGES:
            page.width(1100)
            page.open(address + path)
            assert page.run("document.title") != "owned"
            assert page.run("document.querySelectorAll('main img, main script').length") == 0
            page.width(390)
            assert page.run("document.documentElement.scrollWidth") <= 390, path
        assert page.errors == []

    await seen(evil(), tmp_path, look)


async def test_figures_and_lists_follow_the_service(tmp_path: Path) -> None:
    """Without a click: the tiles each second, the list when an action comes."""
    plain = Plain(found=[made(1)])

    def look(page: Page, address: str) -> None:
        page.open(address + "/")
        rows = "document.querySelectorAll('tbody tr').length"
        assert page.run(rows) == 1
        plain.state.queue.pending = 41
        page.until("document.querySelector('[data-live=pending]').textContent === '41'")
        plain.found.insert(0, made(2))
        plain.number += 1
        page.until(f"{rows} === 2")
        plain.state.problems.append("the disk is full")
        page.until("document.querySelector('header .state').classList.contains('bad')")
        assert page.errors == []

    await seen(plain, tmp_path, look)


async def test_keys_go_from_page_to_page(tmp_path: Path) -> None:
    def look(page: Page, address: str) -> None:
        page.open(address + "/")
        page.key("w")
        page.until("location.pathname === '/workers'")
        page.until("document.documentElement?.dataset.alive")
        page.key("a")
        page.until("location.pathname === '/actions'")

    await seen(evil(), tmp_path, look)


async def test_output_grows_while_the_action_runs(tmp_path: Path) -> None:
    """The page shows what is written at once; when it ends, the page is that of its end."""
    plain = evil()
    summary = plain.details.summary
    summary.outcome, summary.stage = "", "executing"

    def look(page: Page, address: str) -> None:
        page.open(address + "/actions/0001")
        shown = "document.querySelector('[data-output$=stdout]')"
        page.until(f"{shown}.textContent.startsWith('stdout of')")
        summary.outcome = "succeeded"
        trio.from_thread.run_sync(plain.over.set)
        page.until(
            "[...document.querySelectorAll('button')].some(b => b.textContent == 'Run again')"
        )
        assert page.run("document.title") != "owned"
        assert page.errors == []

    await seen(plain, tmp_path, look)


async def test_a_button_steers(tmp_path: Path) -> None:
    """The form's token is accepted from a browser, and the page comes back."""
    plain = evil()

    def look(page: Page, address: str) -> None:
        page.open(address + "/workers")
        page.run("document.querySelector('form button').click()")
        page.until("document.readyState === 'complete' && location.pathname === '/workers'")

    await seen(plain, tmp_path, look)
    assert [(done[0], done[-1]) for done in plain.done] == [("scale", 0)]
