"""Cards: what is refused, and how the refusal reads."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from blockrank_server.models.checkpoint.any_card import load_any_card
from blockrank_server.models.checkpoint.card import Card, built_in_cards, check_heads, load_card
from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard
from blockrank_server.models.checkpoint.yes_no_card import YesNoCard
from blockrank_server.models.errors import CardError

RANK1 = ("7b", "14b", "32b", "mistral-2501-24b", "llama3-8b")
YES_NO = (
    *(f"Qwen/Qwen3-Reranker-{size}" for size in ("0.6B", "4B", "8B")),
    *(f"mixedbread-ai/mxbai-rerank-{size}-v2" for size in ("base", "large")),
)


def test_built_in_cards_are_valid_and_found_by_name() -> None:
    cards = built_in_cards()
    assert set(cards) == {
        "default",
        "default-reasoning",
        "MindscapeRAG/QRRanker",
        "quicktensor/blockrank-msmarco-mistral-7b",
        *YES_NO,
        *(f"jhu-clsp/rank1-{size}{awq}" for size in RANK1 for awq in ("", "-awq")),
    }
    assert {load_any_card(path).name for path in cards.values()} == set(cards)


def test_the_cards_of_rank1_differ_in_how_a_text_begins() -> None:
    begins = {"mistral-2501-24b": "<s>", "llama3-8b": "<|begin_of_text|>"}
    cards = built_in_cards()
    same = {"name", "description", "source"}
    first = load_any_card(cards["jhu-clsp/rank1-7b"])
    for size in RANK1:
        for awq in ("", "-awq"):
            fields = load_any_card(cards[f"jhu-clsp/rank1-{size}{awq}"]).model_dump(mode="json")
            if size in begins:
                assert fields["prompt"]["pair"].pop(0) == {"control": begins[size]}
            expected = first.model_dump(mode="json")
            assert {k: fields[k] for k in fields if k not in same} == {
                k: expected[k] for k in expected if k not in same
            }


def test_a_card_says_of_which_kind_it_is(blockrank_card: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "card.json"
    file.write_text(json.dumps(blockrank_card | {"kind": "attention"}))
    assert load_any_card(file) == Card.model_validate(blockrank_card)
    for unknown in ("pointwise", ["reasoning"], None):
        file.write_text(json.dumps(blockrank_card | {"kind": unknown}))
        with pytest.raises(CardError, match="kind is not one of attention, yes_no, reasoning"):
            load_any_card(file)


def test_the_built_in_cards_say_what_the_papers_say() -> None:
    cards = {
        name: load_card(path)
        for name, path in built_in_cards().items()
        if "rank1" not in name and name not in (*YES_NO, "default-reasoning")
    }
    blockrank, qrranker = (
        cards["quicktensor/blockrank-msmarco-mistral-7b"],
        cards["MindscapeRAG/QRRanker"],
    )
    assert blockrank.positions.tail_offset == 16384
    assert [(p.layer, p.heads) for p in blockrank.read] == [(20, "all")]
    assert (blockrank.signal.tokens, blockrank.signal.count) == ("last", 2)
    pairs = {f"{p.layer}-{h}" for p in qrranker.read for h in p.heads}
    published = (
        "20-15 21-11 17-27 23-10 22-4 21-10 21-8 21-18 18-15 18-19 17-25 17-17 24-13 17-4 "
        "19-12 21-31"
    )
    assert pairs == set(published.split())
    assert (qrranker.normalise_over, qrranker.reduce_heads) == ("all", "sum")
    assert cards["default"].reusable_documents


def classes(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from classes(kind)


def test_every_field_is_documented_in_the_class_and_in_the_page() -> None:
    page = (Path(__file__).parents[3] / "models/README.md").read_text()
    for model in {*classes(Card), *classes(YesNoCard), *classes(ReasoningCard)}:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            assert f"`{name}`" in page, f"{model.__name__}.{name} is not in models/README.md"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"reads": []}, "reads: Extra inputs are not permitted"),
    "typo in a nested field": ({"limits.max_docs": 5}, "limits.max_docs: Extra inputs"),
    "null field": ({"mask": None}, "mask: "),
    "unknown mask": ({"mask": "blocks"}, "mask: Input should be 'block' or 'causal'"),
    "other version": ({"card_version": 2}, "card_version: Input should be 1"),
    "negative layer": ({"read": [{"layer": -1, "heads": "all"}]}, "read.0.layer: "),
    "no heads": ({"read": [{"layer": 1, "heads": []}]}, "read.0.heads"),
    "geometric mean over everything": (
        {"reduce_tokens": "geometric_mean", "normalise_over": "all"},
        "reduce_tokens geometric_mean needs normalise_over documents",
    ),
    "causal with thinned documents": (
        {"mask": "causal", "tail_stride": 2, "positions": {"documents": "sequential"}},
        "tail_stride above 1 needs mask block",
    ),
    "causal with documents seen whole": (
        {
            "mask": "causal",
            "document_attention": "full",
            "positions": {"documents": "sequential"},
        },
        "document_attention full needs mask block",
    ),
    "no stride": ({"tail_stride": 0}, "tail_stride: "),
    "nothing read": ({"read": []}, "read: "),
    "layer twice": (
        {"read": [{"layer": 1, "heads": [0]}, {"layer": 1, "heads": [1]}]},
        "read names a layer twice",
    ),
    "head twice": ({"read": [{"layer": 1, "heads": [2, 2]}]}, "read names a head twice"),
    "no content": ({"prompt.document": [{"text": "x"}]}, "prompt.document needs {content}"),
    "no query": ({"prompt.tail": [{"text": "x"}]}, "prompt.tail needs {query}"),
    "summary in the tail": (
        {"prompt.tail": [{"text": "{query} {summary}"}]},
        "{summary} stands in prompt.prefix alone",
    ),
    "instruction in the prefix": (
        {"prompt.prefix": [{"text": "{instruction}"}]},
        "{instruction} stands in prompt.tail alone: a document would be another one",
    ),
    "instruction in documents": (
        {"prompt.document": [{"text": "{content} {instruction}"}]},
        "{instruction} stands in prompt.tail alone",
    ),
    "query that goes with the instruction": (
        {"prompt.tail": [{"text": "{instruction} {query}"}]},
        "a piece of prompt.tail that holds {instruction} holds no {query}",
    ),
    "no room for an instruction": (
        {"limits.max_instruction_tokens": 0},
        "limits.max_instruction_tokens: ",
    ),
    "no room for a summary": ({"limits.max_summary_tokens": 0}, "limits.max_summary_tokens: "),
    "no offset": ({"positions.tail_offset": None}, "positions.tail_offset goes with"),
    "no count": ({"signal.count": None}, "signal.count goes with"),
    "causal with shared positions": ({"mask": "causal"}, "shared positions need mask block"),
    "whole prompt under blocks": ({"prompt.tokenise": "whole"}, "mask block needs"),
    "content of tokens that are tokenised with their frame": (
        {"prompt.scored_tokens": "content"},
        "prompt.scored_tokens content needs prompt.tokenise whole",
    ),
    "ids in reusable documents": ({"reusable_documents": True}, "reusable_documents needs"),
    "no limit": ({"limits.max_documents": 0}, "limits.max_documents: "),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_wrong_cards_are_refused_by_field(
    change: dict[str, Any], message: str, blockrank_card: dict[str, Any], tmp_path: Path
) -> None:
    for path, value in change.items():
        *parents, name = path.split(".")
        fields = blockrank_card
        for parent in parents:
            fields = fields[parent]
        fields[name] = value
    file = tmp_path / "typo.json"
    file.write_text(json.dumps(blockrank_card))
    with pytest.raises(CardError) as caught:
        load_card(file)
    assert str(file) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '"x"', "\ud800".encode("utf-8", "surrogatepass")]
)
def test_files_that_are_no_cards(content: str | bytes, tmp_path: Path) -> None:
    file = tmp_path / "card.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CardError, match=r"card\.json"):
        load_card(file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="No such file"):
        load_card(tmp_path / "absent.json")


def test_heads_beyond_the_checkpoint(blockrank_card: dict[str, Any]) -> None:
    card = Card.model_validate(blockrank_card | {"read": [{"layer": 1, "heads": [0, 4]}]})
    check_heads(card, 5)
    with pytest.raises(CardError, match="read layer 1 names head 4, the checkpoint has 4"):
        check_heads(card, 4)
