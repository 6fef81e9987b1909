"""The examples, the picture, the line, the orders it is compared with, and the trials."""

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.service.process.playground.shown import PRESETS, ranked, settled

if TYPE_CHECKING:
    from tests.service.process.playground.conftest import OpenPage

pytestmark = pytest.mark.browser


def test_the_page_opens_with_an_answer_that_was_hidden(
    open_page: "OpenPage", default_base: str
) -> None:
    page = open_page(default_base)
    assert page.locator("#query").input_value() == PRESETS[0]["query"]
    order = ranked(page)
    assert order[0] == 14
    assert sorted(order) == list(range(16))
    assert page.locator("#lines path").count() == 16
    classes = {
        int(path.get_attribute("data-index") or ""): path.get_attribute("class")
        for path in page.locator("#lines path").all()
    }
    expected = {
        i: "up" if i > place else "down" if i < place else "same" for place, i in enumerate(order)
    }
    assert {i: (each or "").split()[0] for i, each in classes.items()} == expected
    expect(page.locator("#facts")).to_contain_text("16 texts in ")
    expect(page.locator("#server")).to_have_text("default on cpu")
    expect(page.locator("#ranked li").first).to_contain_text("from place 15 to place 1")


def test_every_example_ranks_what_it_says_first(open_page: "OpenPage", default_base: str) -> None:
    page = open_page(default_base)
    assert len(PRESETS) == 7
    for preset in PRESETS:
        page.get_by_role("button", name=preset["name"], exact=True).click()
        expect(page.locator("#ranked li")).to_have_count(len(preset["documents"]))
        settled(page)
        if preset["relevant"]:
            assert ranked(page)[0] == preset["relevant"][0], preset["name"]
            assert not page.locator("#cut").inner_text().startswith("none")
        else:
            expect(page.locator("#cut")).to_have_text("none relevant")


def test_the_line_moves_by_keyboard(open_page: "OpenPage", default_base: str) -> None:
    page = open_page(default_base, "#example=code")
    line = page.locator("#threshold")
    line.press("Home")
    expect(page.locator("#cut")).to_have_text("7 relevant")
    expect(page.locator("#ranked li.below")).to_have_count(0)
    line.press("End")
    expect(page.locator("#cut")).to_have_text("none relevant")
    expect(page.locator("#ranked li.below")).to_have_count(7)
    line.press("Home")
    for _ in range(5):
        line.press("PageUp")
    assert re.fullmatch(r"\d+(\.\d)? %: \d texts?", line.get_attribute("aria-valuetext") or "")


def test_rows_are_walked_and_read_by_keyboard(open_page: "OpenPage", default_base: str) -> None:
    page = open_page(default_base, "#example=a-long-document")
    page.locator("#ranked .pick").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#reading-title")).to_have_text("Place 2")
    second = ranked(page)[1]
    expect(page.locator("#reading-text")).to_have_text(PRESETS[4]["documents"][second])
    page.locator("#query").fill("How tall is the tower?")
    page.keyboard.press("Enter")
    expect(page.locator("#note")).to_be_empty()
    settled(page)


def keyword_order(query: str, documents: list[str]) -> list[int]:
    bags = [Counter(re.findall(r"\w+", text.lower())) for text in documents]
    mean = sum(bag.total() for bag in bags) / len(bags)
    scores = [0.0] * len(bags)
    for word in set(re.findall(r"\w+", query.lower())):
        count = sum(word in bag for bag in bags)
        idf = math.log(1 + (len(bags) - count + 0.5) / (count + 0.5))
        for i, bag in enumerate(bags):
            norm = 1.2 * (1 - 0.75 + 0.75 * bag.total() / mean)
            scores[i] += idf * bag[word] / (bag[word] + norm)
    return sorted(range(len(bags)), key=lambda i: (-scores[i], i))


def test_the_left_side_can_be_a_keyword_search(open_page: "OpenPage", default_base: str) -> None:
    page = open_page(default_base)
    page.get_by_role("button", name="Keyword search").click()
    left = page.locator("#given li").all()
    expected = keyword_order(PRESETS[0]["query"], PRESETS[0]["documents"])
    assert [int(each.get_attribute("data-index") or "") for each in left] == expected
    page.get_by_role("button", name="Order given").click()
    first = page.locator("#given li").first
    expect(first).to_have_attribute("data-index", "0")


def test_a_hundred_shuffles_have_one_order(open_page: "OpenPage", default_base: str) -> None:
    page = open_page(default_base, "#example=a-tool-choice")
    page.get_by_role("button", name="Shuffle 100 times").click()
    expect(page.locator("#shuffles")).to_have_text("100", timeout=250_000)
    expect(page.locator("#shuffles-same")).to_have_text("100")
    expect(page.locator("#dots .same")).to_have_count(100)


def test_the_curve_of_longer_lists_draws_itself(open_page: "OpenPage", default_base: str) -> None:
    page = open_page(default_base, "#example=a-tool-choice")
    rows = page.locator("#times tr")
    page.get_by_role("button", name="Add 10 texts").click()
    expect(rows).to_have_count(2)
    expect(page.locator("#speed-stop")).to_be_hidden()
    page.get_by_role("button", name="Add 100").click()
    expect(rows).to_have_count(6, timeout=250_000)
    cells = [[cell.inner_text() for cell in row.locator("td").all()] for row in rows.all()]
    assert [row[0] for row in cells] == ["7", "17", "42", "67", "92", "117"]
    assert [row[1] for row in cells] == ["7", "7", "17", "42", "67", "92"]
    for row in cells:
        tokenise, queue, inference, total = (float(each.replace(",", "")) for each in row[2:])
        assert 0 < tokenise + queue + inference <= total + 2
    expect(page.locator("#curve circle")).to_have_count(6)
    expect(page.locator("#curve polygon")).to_have_count(3)
    expect(page.locator("#speed-told")).to_have_text("The best answer stands at place 1 of 117.")
