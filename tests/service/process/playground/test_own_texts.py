"""What people bring and take along: their texts, programs, links."""

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import FilePayload, Page, expect

from blockrank_server.service.api.playground_clients import client_programs
from tests.service.process.playground.shown import settled

if TYPE_CHECKING:
    from tests.service.process.playground.conftest import OpenPage

pytestmark = pytest.mark.browser
HTML = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def given(page: Page) -> list[str]:
    return page.locator("#given li span").all_inner_texts()


def use(page: Page, text: str) -> None:
    if page.locator("#own").is_hidden():
        page.get_by_role("button", name="Use your own texts").click()
    page.locator("#own-text").fill(text)
    page.get_by_role("button", name="Use these texts").click()


ROWS = [{"title": "Berlin", "text": 'a, "b"\nc'}, {"text": "d"}]
FORMS = {
    "lines": ("first\n\n  second \r\nthird", ["first", "second", "third"], "lines: 3 texts"),
    "JSON lines": ("\n".join(map(json.dumps, ROWS)), ['Berlin. a, "b" c', "d"], "JSON: 2 texts"),
    "JSON": (json.dumps(["x", {"content": "y"}, {"z": 1}]), ["x", "y", '{"z":1}'], "JSON: 3 texts"),
    "CSV": (
        'id,Title,text\n1,Berlin,"a, ""b""\nc"\n2,,d\n',
        ['Berlin. a, "b" c', "d"],
        "CSV: 2 texts",
    ),
    "tabs": ("passage\trelevant\nx\t0\ny\t1\n", ["x", "y"], "CSV: 2 texts"),
    "one": ("only this", ["only this"], "lines: 1 text"),
    "markup": (HTML, [HTML], "lines: 1 text"),
    "brackets": ("[no JSON\n{nor this", ["[no JSON", "{nor this"], "lines: 2 texts"),
}


def test_texts_are_read_as_they_are_pasted(open_page: "OpenPage", default_base: str) -> None:
    page = open_page(default_base, "#example=code")
    for pasted, expected, told in FORMS.values():
        use(page, pasted)
        expect(page.locator("#own-told")).to_have_text(f"Read as {told}.")
        expect(page.locator("#ranked li")).to_have_count(len(expected))
        settled(page)
        assert given(page) == expected
    use(page, " \n ")
    expect(page.locator("#own-told")).to_have_text("There is no text in it.")


def test_pasted_html_stays_text(open_page: "OpenPage", default_base: str) -> None:
    page = open_page(default_base, "#example=code")
    use(page, json.dumps({"query": HTML, "documents": [HTML, {"title": HTML, "text": HTML}]}))
    expect(page.locator("#ranked li")).to_have_count(2)
    settled(page)
    expect(page.locator("#query")).to_have_value(HTML)
    expect(page.locator("#reading-text")).to_have_text(HTML)
    expect(page.locator("#code")).to_contain_text("onerror")
    assert page.locator("main img, main script").count() == 0


def test_a_file_is_chosen_or_dropped(open_page: "OpenPage", default_base: str) -> None:
    page = open_page(default_base, "#example=code")
    page.get_by_role("button", name="Use your own texts").click()
    csv = FilePayload(
        name="a.csv", mimeType="text/csv", buffer="1;kürzer\n2;viel länger\n".encode()
    )
    page.locator("#own-file").set_input_files(csv)
    expect(page.locator("#ranked li")).to_have_count(2)
    settled(page)
    assert given(page) == ["kürzer", "viel länger"]
    row = {"query": "what?", "documents": ["p", "q", "r"], "answer_ids": [2]}
    data = page.evaluate_handle(
        "text => { const data = new DataTransfer();"
        " data.items.add(new File([text], 'a.jsonl')); return data; }",
        json.dumps(row),
    )
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    expect(page.locator("#ranked li")).to_have_count(3)
    settled(page)
    expect(page.locator("#query")).to_have_value("what?")
    assert page.locator('#ranked [data-index="2"] input').is_checked()


def test_a_copied_program_asks_the_same(open_page: "OpenPage", default_base: str) -> None:
    page = open_page(default_base, "#example=code")
    use(page, 'it\'s \\ "that" $HOME\n`echo` \N{GRINNING FACE} %s')
    expect(page.locator("#ranked li")).to_have_count(2)
    settled(page)
    code = page.locator("#code")
    dialects = page.locator("#dialect option").all_inner_texts()
    assert len(dialects) == 6
    for dialect in dialects:
        page.locator("#dialect").select_option(dialect)
        answer = run("bash", "-c", code.inner_text())
        assert re.search(r'"(index|rankings|scores)"', answer), dialect
    page.locator("#client").select_option("Python requests")
    assert "'index'" in run(sys.executable, "-c", code.inner_text())


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_copied_clients_are_those_that_are_tested(open_page: "OpenPage", default_base: str) -> None:
    page = open_page(default_base, "#example=code")
    names = page.locator("#client option").all_inner_texts()[2:]
    programs = client_programs()
    assert names == [each.name for each in programs]
    for program in programs:
        page.locator("#client").select_option(program.name)
        expect(page.locator("#dialect")).to_be_hidden()
        expected = program.text.replace("http://localhost:8000", default_base)
        expect(page.locator("#code")).to_contain_text(expected, use_inner_text=True)
        head = (page.locator("#code").text_content() or "").removesuffix(expected)
        assert bool(head.strip()) is (program.language == "python")
        told: dict[str, Any] = {"documents": [""] * 4 + ["def unique(items):\n    seen"]}
        exec(head, told)
        assert told["documents"][4].startswith("def unique(items):\n    seen")


def test_the_link_opens_the_same_list(open_page: "OpenPage", default_base: str) -> None:
    page = open_page(default_base, "#example=negation")
    page.get_by_role("button", name="Keyword search").click()
    page.wait_for_url("**#example=negation&b=bm25")
    use(page, json.dumps({"query": "wo?", "documents": ["ä", {"title": "t", "text": "b\nc"}, "d"]}))
    expect(page.locator("#ranked li")).to_have_count(3)
    settled(page)
    page.locator('#ranked [data-index="1"] input').check()
    page.locator("#threshold").press("End")
    page.wait_for_url("**#list=*")
    page.wait_for_timeout(400)
    rest = page.url.removeprefix(f"{default_base}/playground")
    other = open_page(default_base, rest)
    expect(other.locator("#query")).to_have_value("wo?")
    assert given(other) == ["ä", "t. b c", "d"]
    assert other.locator('#ranked [data-index="1"] input').is_checked()
    expect(other.locator("#cut")).to_have_text(page.locator("#cut").inner_text())


@pytest.mark.parametrize("rest", ["#list=x", "#list=S0xKVtJRKgQA", "#nothing", "#list=%00"])
def test_a_broken_link_says_so(open_page: "OpenPage", default_base: str, rest: str) -> None:
    page = open_page(default_base, rest)
    expect(page.locator("#banner")).to_contain_text("This link cannot be read.")
    expect(page.locator("#ranked li")).to_have_count(16)
