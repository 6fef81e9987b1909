"""Verdicts of one packed prefill against transformers' whole model, pair by pair."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from blockrank_server.kernels.backend import triton_backend
from blockrank_server.models.checkpoint.card import CARD_FILE
from blockrank_server.models.checkpoint.weights import INDEX_FILE, SINGLE_FILE
from blockrank_server.models.engine import memory_plan
from blockrank_server.models.engine.cuda_graphs import BUCKETS
from blockrank_server.models.engine.fused_network import FusedNetwork
from blockrank_server.models.engine.memory import MemoryNeed
from blockrank_server.models.engine.network import Network
from blockrank_server.models.engine.packing import pack
from blockrank_server.models.engine.placement import Placement
from blockrank_server.models.errors import CardError, CheckpointError
from blockrank_server.models.prompt.request import Document, EncodedRequest
from blockrank_server.models.ranker import Ranker

Make = Callable[..., Path]
DOCUMENTS: list[Document] = [
    "Paris is the capital of France.",
    "5 rivers (and 12 lakes)",
    {"title": "Berlin", "text": "the capital of Germany"},
    "!? 'quoted' ...and\n\nmore lines\n",
    "x",
    "Ünïcödé 東京 city",
    "word " * 70,  # cut
]
LISTS: list[tuple[str, list[Document]]] = [
    ("capital of France", DOCUMENTS),
    ("one", ["river bank"]),
    ("money in the bank\n", ["stone", "", *DOCUMENTS[:3]]),
    ("a query that is longer than sixteen tokens, as it goes on and on and on for a while", ["a"]),
]


class PlainScorer:
    """Scores as transformers does, one prompt a pair: the last token's logits of no and yes."""

    def __init__(self, folder: Path, words: Sequence[str] = ("no", "yes")) -> None:
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._verdicts = [tokenizer.convert_tokens_to_ids(word) for word in words]

    def __call__(self, encoded: EncodedRequest) -> list[float]:
        prefix, scores = encoded.token_ids[: encoded.num_prefix_tokens].tolist(), []
        for start, stop in encoded.block_spans.tolist():
            prompt = torch.tensor([[*prefix, *encoded.token_ids[start:stop].tolist()]])
            with torch.no_grad():
                logits = self._model(prompt).logits[0, -1, self._verdicts]
            scores.append(float(logits.softmax(0)[1]))
        return scores


def rewrite(folder: Path, **changes: Any) -> None:
    path = folder / CARD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture(scope="module")
def tied(make_yes_no: Make) -> Path:
    return make_yes_no()


@pytest.fixture(scope="module")
def plain(tied: Path) -> PlainScorer:
    return PlainScorer(tied)


@pytest.fixture(scope="module")
def ranker(tied: Path) -> Ranker:
    return Ranker.open(tied, device="cpu", dtype="float32")


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("qwen3", {}),
        ("qwen3", {"tie_word_embeddings": False, "num_key_value_heads": 4}),
        ("qwen2", {"head_dim": 8}),
        ("llama", {"tie_word_embeddings": False, "head_dim": 8}),
    ],
)
def test_one_batch_gives_the_scores_of_each_pair_alone(
    family: str, changes: dict[str, Any], make_yes_no: Make
) -> None:
    folder = make_yes_no(family, **changes)
    ranker, plain = Ranker.open(folder, device="cpu", dtype="float32"), PlainScorer(folder)
    batch = [ranker.encode(*each) for each in LISTS]
    assert batch[0].truncated_documents == (6,)
    assert batch[3].query_truncated
    rows, expected = ranker.score(batch), list(map(plain, batch))
    for row, alone in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row, alone, atol=1e-5, rtol=0)
    assert np.ptp(expected[0]) > 0.1  # verdicts differ
    assert ranker.max_score == 1


def test_fused_layers_give_the_same(
    tied: Path, plain: PlainScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = Placement(torch.device("cpu"), torch.float32, triton_backend(), "none")
    monkeypatch.setattr(Placement, "choose", lambda *_: placed)
    fused = Ranker.open(tied)
    assert isinstance(fused._engine._network, FusedNetwork)
    encoded = fused.encode(*LISTS[2])
    np.testing.assert_allclose(fused.score([encoded])[0], plain(encoded), atol=1e-5)


def test_small_batches_run_as_graphs_through_all_layers(tied: Path, ranker: Ranker) -> None:
    pieces: list[Callable[[], None]] = []

    def capture(work: Callable[[], None]) -> Callable[[], None]:
        pieces.append(work)
        return work

    graphed = Ranker.open(tied, device="cpu", dtype="float32")
    graphed._engine._capture = capture
    assert graphed._engine.capture_graphs()
    assert len(pieces) == len(BUCKETS) * (graphed.info.num_layers + 1)
    for each in LISTS[:3]:
        np.testing.assert_allclose(graphed.rank(*each), ranker.rank(*each), atol=1e-5)


def shard(folder: Path) -> None:
    tensors = load_file(folder / SINGLE_FILE)
    (folder / SINGLE_FILE).unlink()
    files = {name: f"model-{i % 3}.safetensors" for i, name in enumerate(tensors)}
    for file in set(files.values()):
        save_file({n: tensors[n] for n in tensors if files[n] == file}, folder / file)
    (folder / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": files}))


def test_the_head_may_be_stored_twice_or_in_shards(make_yes_no: Make) -> None:
    folder = make_yes_no(tie_word_embeddings=False)
    expected = Ranker.open(folder, device="cpu").rank(*LISTS[1])
    shard(folder)
    assert Ranker.open(folder, device="cpu").rank(*LISTS[1]) == expected
    tied = make_yes_no()
    expected = Ranker.open(tied, device="cpu").rank(*LISTS[1])
    tensors = load_file(tied / SINGLE_FILE)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, tied / SINGLE_FILE)
    assert Ranker.open(tied, device="cpu").rank(*LISTS[1]) == expected


def test_a_missing_head_is_named(make_yes_no: Make) -> None:
    folder = make_yes_no(tie_word_embeddings=False)
    tensors = load_file(folder / SINGLE_FILE)
    head = tensors.pop("lm_head.weight")
    save_file(tensors, folder / SINGLE_FILE)
    with pytest.raises(CheckpointError, match=r"a verdict needs; the first is 'lm_head.weight'"):
        Ranker.open(folder, device="cpu")
    save_file(tensors | {"lm_head.weight": head[:100].clone()}, folder / SINGLE_FILE)
    with pytest.raises(CheckpointError, match=r"lm_head.weight has 100 rows, row \d+ is needed"):
        Ranker.open(folder, device="cpu")
    del tensors["model.norm.weight"]
    save_file(tensors | {"lm_head.weight": head}, folder / SINGLE_FILE)
    with pytest.raises(CheckpointError, match=r"lacks 1 .* 'model\.norm\.weight'"):
        Ranker.open(folder, device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": {"yes": "yes indeed", "no": "no"}}, "'yes indeed' is 2 tokens"),
        ({"verdict": {"yes": "no", "no": "no"}}, "yes and no are the same word"),
        ({"kind": "maybe"}, "kind is not one of attention, yes_no"),
        ({"kind": ["yes_no"]}, "kind is not one of attention, yes_no"),
        ({"read": []}, "read: Extra inputs"),
        ({"limits": {"max_document_tokens": 400, "max_query_tokens": 100}}, "checkpoint has 512"),
        ({"prompt": {"prefix": [{"text": "x"}], "document": [{"text": "{content}"}]}}, "{query}"),
        (
            {"prompt": {"prefix": [{"text": "{query}"}], "document": [{"text": "{content}."}]}},
            "ends with its only",
        ),
    ],
)
def test_wrong_cards_are_refused(
    changes: dict[str, Any], message: str, tied: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tied, tmp_path / "wrong"))
    rewrite(folder, **changes)
    with pytest.raises(CardError, match=re.escape(message)):
        Ranker.open(folder, device="cpu")


def test_documents_are_not_kept(tied: Path) -> None:
    with pytest.raises(CheckpointError, match=r"documents of the card .* cannot be kept"):
        Ranker.open(tied, device="cpu", document_cache_bytes=10_000_000)
    ranker = Ranker.open(tied, device="cpu", document_cache_bytes="auto")
    assert ranker.documents is None


@pytest.mark.parametrize("tie", [True, False])
def test_memory_counts_all_layers(
    tie: bool, make_yes_no: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_yes_no(tie_word_embeddings=tie)
    monkeypatch.setattr(memory_plan, "free_bytes", lambda _: 2**30)
    ranker = Ranker.open(folder, device="cpu", dtype="float32")
    tensors = ranker._engine._network.state_dict().values()
    assert ranker.info.weight_bytes == sum(tensor.nbytes for tensor in tensors)
    assert (ranker.info.num_layers_kept, ranker.info.num_layers) == (3, 3)
    assert ranker.info.max_batch_tokens is not None
    per_layer = MemoryNeed.of(AutoConfig.from_pretrained(folder), None, torch.float32, "int8")
    assert per_layer.weights < ranker.info.weight_bytes


@pytest.mark.parametrize("how", ["int8"])
def test_every_layer_is_quantized_and_the_head_is_not(how: str, tied: Path) -> None:
    ranker = Ranker.open(tied, device="cpu", dtype="float32", quantization=how)
    network = ranker._engine._network
    assert isinstance(network, Network)
    kinds = {type(layer.mlp.gate_up_proj).__name__ for layer in network.layers}
    assert kinds == {"Int8Linear"}
    assert network.lm_head.weight.dtype == torch.float32
    tensors = network.state_dict().values()
    assert ranker.info.weight_bytes == sum(tensor.nbytes for tensor in tensors)


def test_documents_are_computed_once_and_see_no_other(ranker: Ranker) -> None:
    encoded = [ranker.encode(*each) for each in LISTS]
    batch = pack(encoded, ranker.card)
    assert batch.num_tokens == sum(request.num_tokens for request in encoded)
    prefixes = [segment for segment in batch.segments if not segment.full]
    assert [segment.num_tokens for segment in prefixes] == [e.num_prefix_tokens for e in encoded]
    alone = ranker.rank("q", DOCUMENTS[:1])
    assert alone == pytest.approx(ranker.rank("q", DOCUMENTS)[:1], abs=1e-6)


def test_warm_up_takes_a_card_without_a_tail(ranker: Ranker) -> None:
    few, many, known = ranker.warm_up()
    assert 0 < few.num_tokens < many.num_tokens
    assert known is None
