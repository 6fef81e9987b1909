"""A real Chromium, and pages that may neither complain nor ask anyone else."""

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from tests.service.process.playground.shown import settled

if TYPE_CHECKING:
    from tests.service.process.conftest import StartServer

expect.set_options(timeout=120_000)
PREFIX = "/team/rerank-a"
# Chromium itself writes these lines for a status from 400 on, and where no answer comes.
STATUS_LINE = re.compile(
    r"Failed to load resource: (the server responded|net::ERR_(CONNECTION_|FAILED))"
    r"|Access to fetch at .* has been blocked by CORS policy"
)
AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
QUIET = ("--disable-gpu", "--no-sandbox", "--disable-background-networking", "--no-first-run")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "chromium is not on PATH: make test-browser fetches it"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield started
        started.close()


class Watch:
    """Notes what pages do that they must not do.

    Args:
        allowed: beginnings of the only URLs that may be asked.
        has_failures: whether answers with a status from 400 on are part of the test.
    """

    def __init__(self, allowed: tuple[str, ...], *, has_failures: bool) -> None:
        self.allowed, self.has_failures = allowed, has_failures
        self.problems: list[str] = []
        self.num_requests = 0

    def follow(self, page: Page) -> None:
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("request", self._request)

    def _console(self, kind: str, text: str) -> None:
        is_expected = self.has_failures and STATUS_LINE.match(text)
        if kind in ("error", "warning") and not is_expected:
            self.problems.append(f"{kind}: {text}")

    def _request(self, request: Request) -> None:
        self.num_requests += 1
        if not request.url.startswith((*self.allowed, "blob:")):
            self.problems.append(f"asked {request.url}")


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open open_page(base, "#fragment"); nothing but what is below base may be asked."""
    opened: list[tuple[BrowserContext, Watch]] = []

    def open_(
        base: str,
        rest: str = "",
        *,
        also: tuple[str, ...] = (),
        has_failures: bool = False,
        is_awaited: bool = True,
        **options: Any,
    ) -> Page:
        watch = Watch((f"{base}/", *also), has_failures=has_failures)
        context = browser.new_context(accept_downloads=True, **options)
        opened.append((context, watch))
        context.set_default_timeout(120_000)
        page = context.new_page()
        watch.follow(page)
        page.goto(f"{base}/playground{rest}")
        if is_awaited:
            settled(page)
        return page

    yield open_
    for context, watch in opened:
        context.close()
        assert watch.num_requests
        assert watch.problems == []


@pytest.fixture(scope="module")
def default_base(start_server: "StartServer") -> str:
    """A server on the embedded default, behind a path prefix, which keeps documents."""
    server = start_server(
        sys.executable,
        "-m",
        "blockrank_server.service",
        "serve",
        BLOCKRANK_ROOT_PATH=PREFIX,
        BLOCKRANK_DOCUMENT_CACHE_BYTES="200000000",
    )
    with server.client() as client:
        while client.get("/readyz").status_code != 200:
            pass
    return f"http://127.0.0.1:{server.port}{PREFIX}"


@pytest.fixture(scope="session")
def accessible() -> Callable[[Page], None]:
    """Check a page, as it is now, against WCAG 2.2 AA."""

    def check(page: Page) -> None:
        page.evaluate(AXE)
        found = page.evaluate(
            "() => axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', "
            "'best-practice']})"
        )
        told = [
            (each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]
        ]
        assert told == []
        assert len(found["passes"]) > 20

    return check
