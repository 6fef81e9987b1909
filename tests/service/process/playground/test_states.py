"""Servers that load, are busy, want a key, have gone; another server; the reader's own machine."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.service.process.playground.shown import settled

if TYPE_CHECKING:
    from tests.service.process.conftest import Process, StartServer
    from tests.service.process.playground.conftest import OpenPage

pytestmark = pytest.mark.browser
HOLD = {"query": "hold", "texts": ["a", "b"]}


def base_of(server: "Process") -> str:
    with server.client() as client:
        while client.get("/readyz").status_code != 200:
            pass
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture
def base(start_server: "StartServer") -> str:
    return base_of(start_server())


def test_a_server_that_loads_is_waited_for(
    open_page: "OpenPage", start_server: "StartServer"
) -> None:
    server = start_server(BLOCKRANK_MODEL="slow")
    server.client().close()
    base = f"http://127.0.0.1:{server.port}"
    page = open_page(base, has_failures=True, is_awaited=False)
    expect(page.locator("#banner")).to_contain_text("The server is not ready")
    expect(page.locator("#server")).to_have_text("starting")
    server.release()
    settled(page)
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("#server")).to_have_text("fake on cpu")


def test_a_busy_server_is_asked_again(open_page: "OpenPage", start_server: "StartServer") -> None:
    server = start_server(BLOCKRANK_MAX_QUEUE_REQUESTS="1")
    base = base_of(server)
    page = open_page(base, has_failures=True)
    with ThreadPoolExecutor() as pool:
        held = pool.submit(httpx.post, f"{base}/rerank", json=HOLD, timeout=60)
        server.read_until("holding")
        queued = pool.submit(httpx.post, f"{base}/rerank", json=HOLD, timeout=60)
        while "rerank_queue_requests 1.0" not in httpx.get(f"{base}/metrics").text:
            pass
        page.get_by_role("button", name="Rank", exact=True).click()
        expect(page.locator("#banner")).to_contain_text("The server is busy. Next try in")
        server.release()
        server.release()
        assert (held.result().status_code, queued.result().status_code) == (200, 200)
    settled(page)
    expect(page.locator("#banner")).to_be_hidden()


def test_a_key_is_asked_for_and_kept_in_the_tab(
    open_page: "OpenPage", start_server: "StartServer"
) -> None:
    base = base_of(start_server(BLOCKRANK_API_KEYS="right"))
    page = open_page(base, has_failures=True, is_awaited=False)
    expect(page.locator("#key")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#banner")).to_contain_text("This server wants an API key.")
    page.locator("#key-open").click()
    page.locator("#key-value").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#key-why")).to_contain_text("API key is not valid")
    page.locator("#key-value").fill("right")
    page.keyboard.press("Enter")
    settled(page)
    expect(page.locator("#banner")).to_be_hidden()
    page.reload()
    settled(page)
    assert page.evaluate("Object.entries(sessionStorage)") == [["blockrank-key", "right"]]
    assert page.evaluate("localStorage.length + document.cookie.length") == 0
    assert "right" not in page.url + page.locator("#code").inner_text()


def test_a_server_that_has_gone_is_waited_for(
    open_page: "OpenPage", start_server: "StartServer"
) -> None:
    server = start_server()
    base = base_of(server)
    page = open_page(base, has_failures=True)
    server.process.kill()
    server.process.wait(60)
    page.get_by_role("button", name="Rank", exact=True).click()
    expect(page.locator("#banner")).to_contain_text("The server does not answer.")
    expect(page.locator("#server")).to_have_text("not reachable")
    base_of(start_server(BLOCKRANK_PORT=str(server.port)))
    expect(page.locator("#banner")).to_be_hidden()
    settled(page)


def test_what_the_server_refuses_is_told(open_page: "OpenPage", base: str) -> None:
    page = open_page(base, has_failures=True)
    for query, told in (("", "Ask a question first."), ("poison", "Try again")):
        page.locator("#query").fill(query)
        page.get_by_role("button", name="Rank", exact=True).click()
        expect(page.locator("#banner")).to_contain_text(told)
    page.locator("#query").fill("tower")
    page.get_by_role("button", name="Rank", exact=True).click()
    expect(page.locator("#banner")).to_be_hidden()


def test_another_server_is_asked_only_on_request(
    open_page: "OpenPage", base: str, start_server: "StartServer"
) -> None:
    other = base_of(start_server(BLOCKRANK_CORS_ORIGINS=base, BLOCKRANK_API_KEYS="there"))
    asked: list[Any] = []
    link = f"?compare={other}#example=code&b=server&o={other}"
    page = open_page(base, link, also=(other,), has_failures=True)
    page.on("request", lambda request: asked.append((request.url, request.all_headers())))
    page.wait_for_timeout(500)
    assert not [
        url for url, _ in asked if url.startswith(other)
    ]  # no link makes a page send anything there
    page.evaluate("sessionStorage.setItem('blockrank-key', 'ours')")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("#banner")).to_contain_text("The other server: API key is missing")
    page.locator("#other-key").fill("there")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("#judged")).to_contain_text("Another server")
    assert "ours" not in str([headers for url, headers in asked if url.startswith(other)])
    left = [e.get_attribute("data-index") for e in page.locator("#given li").all()]
    right = [e.get_attribute("data-index") for e in page.locator("#ranked li").all()]
    assert left == right  # it is the same ranker


def test_the_policy_is_widened_by_loading_the_page_again(
    open_page: "OpenPage", base: str, start_server: "StartServer"
) -> None:
    other = base_of(start_server(BLOCKRANK_CORS_ORIGINS=base))
    page = open_page(base, "#example=code", also=(other,))
    page.get_by_role("button", name="Another server").click()
    page.locator("#other-url").fill(f"{other}/")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("#judged")).to_contain_text("Another server")
    assert f"?compare={other}".replace(":", "%3A").replace("/", "%2F") in page.url
    assert page.locator("#query").input_value() == "python list without duplicates"


def test_another_server_that_does_not_allow_it(
    open_page: "OpenPage", base: str, start_server: "StartServer"
) -> None:
    other = base_of(start_server())
    page = open_page(base, f"?compare={other}", also=(other,), has_failures=True)
    page.get_by_role("button", name="Another server").click()
    for address, told in (("http://[", "An address begins with"), (other, "does not allow this")):
        page.locator("#other").evaluate("form => (form.noValidate = true)")
        page.locator("#other-url").fill(address)
        page.get_by_role("button", name="Compare", exact=True).click()
        expect(page.locator("#banner")).to_contain_text(told)


def test_a_list_that_is_too_long_for_a_link_has_none(open_page: "OpenPage", base: str) -> None:
    page = open_page(base, "#example=code")
    page.get_by_role("button", name="Use your own texts").click()
    rows = (f"{i} {i**40:x} {i**50:x} {i**60:x}" for i in range(2, 120))
    page.locator("#own-text").fill("\n".join(rows))
    page.get_by_role("button", name="Use these texts").click()
    expect(page.locator("#copy-link")).to_have_text("Too long for a link")
    expect(page.locator("#ranked li")).to_have_count(50)
    expect(page.locator("#more")).to_have_text("68 texts behind these 50 are not shown.")
    assert "#" not in page.url


VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "360 px": {"viewport": {"width": 360, "height": 740}},
}


@pytest.mark.parametrize("view", VIEWS)
def test_nobody_is_kept_out(
    open_page: "OpenPage", base: str, accessible: Callable[[Page], None], view: str
) -> None:
    page = open_page(base, bypass_csp=True, reduced_motion="reduce", **VIEWS[view])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    accessible(page)
    page.get_by_role("button", name="Use your own texts").click()
    lists = '{"query": "one", "documents": ["a"]}\n{"query": "two", "documents": ["b", "c"]}'
    page.locator("#own-text").fill(lists)
    page.get_by_role("button", name="Use these texts").click()
    expect(page.locator("#list")).to_be_visible()
    settled(page)
    page.get_by_role("button", name="Another server").click()
    page.get_by_role("button", name="Add 10 texts").click()
    expect(page.locator("#times tr")).to_have_count(2)
    page.locator("#shuffle").click()
    expect(page.locator("#shuffles")).to_have_text("100")
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#key-open").click()
    accessible(page)
