"""Opening a checkpoint of reasoning: by which cards, with which settings, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.checkpoint.card import BUILT_IN, CARD_FILE
from blockrank_server.models.checkpoint.checkpoint import find_checkpoint, is_reasoning
from blockrank_server.models.errors import CardError, CheckpointError, InputError
from blockrank_server.models.prompt.request import Document
from blockrank_server.models.ranker import Ranker
from blockrank_server.models.reasoning.chain import End
from blockrank_server.models.reasoning_ranker import ReasoningRanker

Fields = dict[str, Any]
Open = Callable[..., ReasoningRanker]


@pytest.fixture
def folder(fixtures: Path, tmp_path: Path) -> Path:
    """A copy of rank1's tiny checkpoint, its card beside the weights."""
    copied = tmp_path / "rank1"
    shutil.copytree(fixtures / "rank1-awq", copied)
    fields = json.loads((BUILT_IN / "jhu-clsp--rank1-7b-awq.json").read_bytes())
    fields["chain"] |= {"max_tokens": 24, "max_context": 4096}
    fields["limits"] |= {"max_document_tokens": 64, "max_query_tokens": 32}
    (copied / CARD_FILE).write_text(json.dumps(fields))
    return copied


def edit(file: Path, change: Callable[[Fields], object]) -> None:
    fields = json.loads(file.read_text())
    change(fields)
    file.write_text(json.dumps(fields))


def test_it_ranks_and_tells_what_was_written(folder: Path) -> None:
    assert is_reasoning(str(folder))
    ranker = ReasoningRanker.open(folder, device="cpu", max_batch_tokens=300)
    documents: list[Document] = ["One.", {"title": "Two", "text": "glaciers"}, "Three, then."]
    scores = ranker.rank("ice", documents)
    explained = ranker.explain("ice", documents)
    assert [score for score, _ in explained] == pytest.approx(scores, abs=1e-6)
    assert all(0 < score < 1 for score in scores)
    assert all(0 < found.num_tokens <= 24 for _, found in explained)
    assert ranker.info.weight_bytes < 2_200_000  # 2_625_856 where nothing is packed


def test_a_request_can_be_scored_again(folder: Path) -> None:
    ranker = ReasoningRanker.open(folder, device="cpu")
    request = ranker.encode("ice", ["One.", "Two, then."])
    first = ranker.score([request]), list(request.reasoned)
    assert first == (ranker.score([request]), list(request.reasoned))


def test_bfloat16_is_near_float32(folder: Path) -> None:
    edit(folder / CARD_FILE, lambda card: card["chain"].update(max_tokens=1))
    documents: list[Document] = [f"{i} glaciers move about {i} metres a day" for i in range(12)]
    found = []
    for dtype in ("float32", "bfloat16"):
        ranker = ReasoningRanker.open(folder, device="cpu", dtype=dtype)
        assert ranker.info.dtype == dtype
        found.append(ranker.explain("ice", documents))
    pairs = zip(*found, strict=True)
    # Another first token makes another score.
    near = [abs(a.score - b.score) for a, b in pairs if a.reasoned.text == b.reasoned.text]
    assert len(near) >= 10
    assert max(near) < 0.05


def test_the_warm_up_times_what_a_forced_verdict_takes(folder: Path) -> None:
    ranker = ReasoningRanker.open(folder, device="cpu")
    before = ranker.encode("ice", ["One."]).num_optional_tokens
    few, many, known = ranker.warm_up()
    assert 0 < few.num_tokens < many.num_tokens
    assert few.seconds > 0
    assert many.seconds > 0
    assert known is None
    assert before == 24
    assert ranker.encode("ice", ["One."]).num_optional_tokens > 0


def test_what_a_chain_costs_is_learnt(folder: Path) -> None:
    ranker = ReasoningRanker.open(folder, device="cpu")
    request = ranker.encode("ice", ["One.", "Two, then."])
    for _ in range(20):
        ranker.score([request])
    mean = sum(each.num_tokens for each in request.reasoned) / 2
    assert ranker._pace.tokens_per_chain == pytest.approx(mean, rel=0.2)
    assert all(each.end is not End.DEADLINE for each in request.reasoned)


def test_requests_of_another_ranker_are_refused(
    folder: Path, blockrank_card: Fields, open_tiny: Callable[..., Ranker]
) -> None:
    other = open_tiny("blockrank", blockrank_card).encode("q", ["a"])
    with pytest.raises(TypeError, match="not encoded by a ranker of reasoning"):
        ReasoningRanker.open(folder, device="cpu").score([other])


def test_a_card_of_the_wrong_kind_is_named(folder: Path, fixtures: Path) -> None:
    with pytest.raises(
        CardError, match="is of kind reasoning, and attention or yes_no is needed here"
    ):
        find_checkpoint(str(folder))
    with pytest.raises(
        CardError, match="is of kind reasoning, and attention or yes_no is needed here"
    ):
        Ranker.open(fixtures / "rank1", card="jhu-clsp/rank1-7b")
    assert not is_reasoning(str(folder), card="MindscapeRAG/QRRanker")
    with pytest.raises(CardError, match="is of kind attention, and reasoning is needed here"):
        ReasoningRanker.open(folder, card="MindscapeRAG/QRRanker")


@pytest.mark.parametrize(
    "options", [{"adapter": "x"}, {"quantization": "int8"}, {"document_cache_bytes": 10**9}]
)
def test_settings_that_do_not_apply_are_refused(options: dict[str, Any], folder: Path) -> None:
    with pytest.raises(CardError, match=f"{next(iter(options))} does not apply to a card of"):
        ReasoningRanker.open(folder, **options)


def test_a_context_above_the_checkpoints_is_refused(folder: Path) -> None:
    edit(folder / CARD_FILE, lambda card: card["chain"].update(max_context=16000))
    with pytest.raises(CardError, match="max_context is 16000, the checkpoint has 4096 positions"):
        ReasoningRanker.open(folder)


def test_a_chain_above_the_context_is_refused(folder: Path) -> None:
    edit(folder / CARD_FILE, lambda card: card["chain"].update(max_tokens=4096))
    with pytest.raises(CardError, match=r"chain\.max_tokens 4096 does not leave room"):
        ReasoningRanker.open(folder)


def test_a_word_of_two_tokens_is_refused(folder: Path) -> None:
    edit(folder / CARD_FILE, lambda card: card["verdict"].update(yes=" irrelevantly"))
    with pytest.raises(CardError, match=r"verdict\.yes ' irrelevantly' is \d tokens"):
        ReasoningRanker.open(folder)


def test_another_packing_is_refused(folder: Path) -> None:
    edit(folder / "config.json", lambda c: c["quantization_config"].update(version="gemv"))
    with pytest.raises(CheckpointError, match=r"quantization_config\.version is 'gemv', only"):
        ReasoningRanker.open(folder)


def test_a_summary_and_an_empty_query_are_refused(folder: Path) -> None:
    ranker = ReasoningRanker.open(folder, device="cpu")
    for options in ({"summary": "s"}, {"cache_salt": "\ud800"}, {"max_document_tokens": 0}):
        with pytest.raises(InputError, match=next(iter(options)).split("_")[0]):
            ranker.encode("q", ["a"], **options)
