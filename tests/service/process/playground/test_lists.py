"""Lists that are ticked, kept and downloaded for the commands train, evaluate and calibrate."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page, expect

from blockrank_server.models.calibration.drawn_lists import judged_lists
from blockrank_server.models.data.training_list import parse_row
from blockrank_server.models.evaluation.sets import read_set
from tests.service.process.playground.shown import settled

if TYPE_CHECKING:
    from tests.service.process.playground.conftest import OpenPage

pytestmark = pytest.mark.browser


def use(page: Page, text: str) -> None:
    if page.locator("#own").is_hidden():
        page.get_by_role("button", name="Use your own texts").click()
    page.locator("#own-text").fill(text)
    page.get_by_role("button", name="Use these texts").click()


def test_ticks_are_counted_kept_and_downloaded(
    open_page: "OpenPage", default_base: str, tmp_path: Path
) -> None:
    page = open_page(default_base)
    values = page.locator("#judged dd")
    assert values.all_inner_texts()[0::2] == ["0.00", "1.00"]  # the answer stood at rank 15
    last = int(page.locator("#ranked li").last.get_attribute("data-index") or "")
    page.locator("#ranked input").last.check()
    ideal = 1 + 1 / math.log2(3)
    before = 1 / math.log2(last + 2) if last < 10 else 0
    assert values.first.inner_text() == f"{before / ideal:.2f}"
    assert values.last.inner_text() == f"{1 / ideal:.2f}"
    page.locator("#ranked input").last.uncheck()
    page.locator("#ranked input").nth(2).check()
    expect(page.locator("#best")).to_contain_text("2 of 2 found, 1 too many.")
    page.get_by_role("button", name="Use this line").click()
    expect(page.locator("#cut")).to_have_text("3 relevant")
    page.get_by_role("button", name="Keep this list").click()
    page.get_by_role("button", name="Keep this list").click()
    expect(page.locator("#kept")).to_contain_text("1 list kept")
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download lists.jsonl").click()
    assert downloading.value.suggested_filename == "lists.jsonl"
    downloading.value.save_as(tmp_path / "lists.jsonl")
    checked_by_training(tmp_path / "lists.jsonl", page)


def checked_by_training(path: Path, page: Page) -> None:
    [row] = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert row["query"] == page.locator("#query").input_value()
    ticked = page.locator("#ranked li:has(input:checked)").all()
    assert row["answer_ids"] == sorted(int(e.get_attribute("data-index") or "") for e in ticked)
    found = parse_row(row, "lists.jsonl:1")
    assert [i for i, relevant in enumerate(found.relevance) if relevant] == row["answer_ids"]
    assert len(found.texts) == 16


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


CAPITALS = {
    **{"France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid"},
    **{"Japan": "Tokyo", "Egypt": "Cairo", "Peru": "Lima", "Norway": "Oslo"},
    **{"Greece": "Athens", "Kenya": "Nairobi", "Cuba": "Havana", "Poland": "Warsaw"},
}


def test_several_lists_are_chosen_ticked_and_downloaded(
    open_page: "OpenPage", default_base: str, tmp_path: Path
) -> None:
    rows = capital_lists()
    page = open_page(default_base, "#example=code")
    expect(page.locator("#list")).to_be_hidden()
    use(page, "\n".join(map(json.dumps, rows)))
    expect(page.locator("#own-told")).to_have_text("Read as 12 lists: 60 texts.")
    expect(page.locator("#list option")).to_have_count(12)
    expect(page.locator("#query")).to_have_value("What is the capital of France?")
    settled(page)
    page.get_by_role("button", name="Keep these lists").click()
    expect(page.locator("#kept")).to_contain_text("11 lists kept")
    expect(page.locator("#kept")).to_contain_text("1 list without ticks left out.")
    page.get_by_label("List", exact=True).select_option("12. What is the capital of Poland?")
    expect(page.locator("#query")).to_have_value("What is the capital of Poland?")
    settled(page)
    assert page.locator("#ranked input:checked").count() == 0
    page.locator('#ranked [data-index="0"] input').check()
    page.locator("#list").select_option(index=0)
    settled(page)
    page.locator("#list").select_option(index=11)
    settled(page)
    assert page.locator('#ranked [data-index="0"] input').is_checked()
    page.get_by_role("button", name="Keep these lists").click()
    expect(page.locator("#kept")).to_contain_text("12 lists kept")  # not 23
    download_both(page, tmp_path)
    found = judged_lists(read_set("lists", tmp_path / "lists.jsonl"))
    assert [each.shortlist.query for each in found] == [row["query"] for row in rows]
    assert {each.labels for each in found} == {(True, False, False, False, False)}
    told = run_calibrate(tmp_path)
    assert "| all | as it was | 12 |" in told
    card = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    assert card["calibration"]["fitted_on"] == ["lists"]


def capital_lists() -> list[dict[str, Any]]:
    """Twelve lists of five texts, the first of which answers; the last list says nothing of it."""
    texts = [f"{city} is the capital of {country}." for country, city in CAPITALS.items()]
    return [
        {
            "query": f"What is the capital of {country}?",
            "documents": (texts * 2)[i : i + 5],
            "answer_ids": [0] if i < 11 else [],
        }
        for i, country in enumerate(CAPITALS)
    ]


def download_both(page: Page, folder: Path) -> None:
    for name in ("lists.jsonl", "lists.qrels.tsv"):
        with page.expect_download() as downloading:
            page.get_by_role("button", name=f"Download {name}").click()
        assert downloading.value.suggested_filename == name
        downloading.value.save_as(folder / name)


def run_calibrate(folder: Path) -> str:
    command = (sys.executable, "-m", "blockrank_server.service", "calibrate")
    files = (str(folder / "lists.jsonl"), "--out", str(folder / "card.json"))
    return run(*command, *files, "--refit", "--card", "default")
