"""Where scores come from: sentences, tokens, and where each word of the query looked."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.service.process.playground.shown import PRESETS, ranked, settled

if TYPE_CHECKING:
    from tests.service.process.playground.conftest import OpenPage

pytestmark = pytest.mark.browser


def test_without_an_explanation_nothing_is_tinted(open_page: "OpenPage", default_base: str) -> None:
    def bare(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        for each in body["results"]:
            each.pop("explanation", None)
        route.fulfill(response=answer, json=body)

    page = open_page(default_base)
    page.route("**/rerank", bare)
    page.reload()
    settled(page)
    expect(page.locator("mark")).to_have_count(0)
    expect(page.locator("#reading-key")).to_be_hidden()
    expect(page.locator("#warnings")).to_be_empty()


def test_the_server_says_which_sentences_made_a_score(
    open_page: "OpenPage", default_base: str
) -> None:
    page = open_page(default_base, "#example=a-long-document")
    settled(page)
    long = page.locator("#ranked .pick").first
    long.click()
    expect(page.locator("#reading-key")).to_be_visible()
    assert page.locator("mark").count() > 1
    text = PRESETS[4]["documents"][ranked(page)[0]]
    assert all(each in text for each in page.locator("mark").all_inner_texts())


def test_sentences_are_tinted_by_their_share(open_page: "OpenPage", default_base: str) -> None:
    text = "\N{GRINNING FACE} First. Second one is it."

    def explained(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        sentences = [
            {"start": 0, "end": 8, "share": 0.2},
            {"start": 9, "end": 26, "share": 0.8},
        ]
        for each in body["results"]:
            if each["index"] == 1:
                each["explanation"] = {"sentences": sentences, "best": 1}
        route.fulfill(response=answer, json=body)

    page = open_page(default_base, "#example=code")
    page.route("**/rerank", explained)
    page.get_by_role("button", name="Use your own texts").click()
    page.locator("#own-text").fill(f"other\n{text}")
    # The page has learnt that this server does not explain; a new one asks again.
    page.reload()
    settled(page)
    page.get_by_role("button", name="Use your own texts").click()
    page.locator("#own-text").fill(f"{text}\n{text}")
    page.get_by_role("button", name="Use these texts").click()
    expect(page.locator("#ranked li")).to_have_count(2)
    settled(page)
    page.locator('#ranked [data-index="1"] .pick').click()
    marks = page.locator("#reading-text mark")
    assert marks.all_inner_texts() == ["\N{GRINNING FACE} First.", "Second one is it."]
    heats = [m.evaluate("e => e.style.getPropertyValue('--heat')") for m in marks.all()]
    assert heats == ["0.25", "1"]
    expect(page.locator("#reading-text")).to_have_text(text)
    expect(page.locator("#reading-key")).to_be_visible()


def test_a_word_of_the_query_shows_where_it_looked(
    open_page: "OpenPage", default_base: str
) -> None:
    with httpx.Client() as client:
        preset = PRESETS[4]
        body = {"query": preset["query"], "documents": preset["documents"], "explain": "tokens"}
        answer = client.post(f"{default_base}/rerank", json=body, timeout=60).json()
    [explanation] = [
        each["explanation"] for each in answer["results"] if each["index"] == preset["relevant"][0]
    ]
    text = preset["documents"][preset["relevant"][0]]
    page = open_page(default_base, "#example=a-long-document")
    words = page.locator("#words button")
    assert " ".join(words.all_inner_texts()) == preset["query"]
    tokens = page.locator("#reading-text i")
    spans = [(each["start"], each["end"]) for each in explanation["tokens"]]
    assert tokens.all_inner_texts() == [text[slice(*span)] for span in spans]
    assert heats(tokens) == pytest.approx(
        relative([each["share"] for each in explanation["tokens"]]), abs=1e-6
    )
    for i, word in enumerate(explanation["words"]):
        words.nth(i).click()
        expect(words.nth(i)).to_have_attribute("aria-pressed", "true")
        expect(words.nth(i)).to_be_focused()
        assert heats(tokens) == pytest.approx(relative(word["tokens"]), abs=1e-6)
        start, end = spans[word["tokens"].index(max(word["tokens"]))]
        said = f"“{words.nth(i).inner_text()}” looked most at: {text[start:end]} "
        expect(page.locator("#reading-key")).to_contain_text(said)
    expect(page.locator("#words [aria-pressed=true]")).to_have_count(1)
    words.nth(len(explanation["words"]) - 1).click()
    expect(page.locator("#words [aria-pressed=true]")).to_have_count(0)
    expect(page.locator("#reading-text")).to_have_text(text)


def heats(tokens: Locator) -> list[float]:
    return [float(each) for each in tokens.evaluate_all(HEATS)]


HEATS = "all => all.map(each => each.style.getPropertyValue('--heat'))"


def relative(shares: list[float]) -> list[float]:
    return [each / max(shares) for each in shares]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_tinted_can_be_read(
    open_page: "OpenPage", default_base: str, accessible: Callable[[Page], None], scheme: str
) -> None:
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": 360, "height": 740}}
    options |= {"bypass_csp": True, "reduced_motion": "reduce"}
    page = open_page(default_base, "#example=a-long-document", **options)
    expect(page.locator("#reading-text i").first).to_be_visible()
    accessible(page)
    page.locator("#words button").last.click()
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_list_with_too_many_tokens_is_explained_by_sentences(
    open_page: "OpenPage", default_base: str
) -> None:
    """The server allows 65,536 tokens of documents times tokens of the query."""
    page = open_page(default_base, "#example=code", has_failures=True)
    page.get_by_role("button", name="Use your own texts").click()
    rows = [f"{i}. " + "one two three four. " * 25 for i in range(40)]
    page.locator("#own-text").fill("\n".join(rows))
    page.get_by_role("button", name="Use these texts").click()
    expect(page.locator("#ranked li")).to_have_count(40)
    settled(page)
    expect(page.locator("#words")).to_be_visible()
    page.locator("#query").fill("what is it that is it " * 4)
    page.locator("#query").press("Enter")
    expect(page.locator("#words")).to_be_hidden()
    expect(page.locator("#reading-text mark").first).to_be_visible()
    expect(page.locator("#reading-text i")).to_have_count(0)


def test_a_server_that_refuses_to_explain_ranks_all_the_same(
    open_page: "OpenPage", default_base: str
) -> None:
    asked: list[bool] = []

    def refuse(route: Route) -> None:
        asked.append("explain" in (route.request.post_data_json or {}))
        if asked[-1]:
            route.fulfill(status=422, json={"error": "explain is not possible with this model"})
        else:
            route.continue_()

    page = open_page(default_base, "#example=code", has_failures=True)
    page.route("**/rerank", refuse)
    page.reload()
    settled(page)
    assert asked == [True, False]
