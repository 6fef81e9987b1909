"""QRRanker in the form its authors publish: saved by AutoModel, cut, in shards, beside code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, PretrainedConfig

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.checkpoint.weights import INDEX_FILE, SINGLE_FILE
from blockrank_server.models.prompt.request import Document
from blockrank_server.models.ranker import Ranker

Tensors = dict[str, torch.Tensor]
OpenPublished = Callable[[], Ranker]
QUERY = "who won?"
DOCUMENTS: list[Document] = ["It was a draw.", {"title": "Cup", "text": "Ann won the cup."}]


def test_golden_scores_come_out_of_the_published_form(
    published: Path, fixtures: Path, open_published: OpenPublished
) -> None:
    ranker = open_published()
    assert isinstance(ranker.card, Card)
    for line in (fixtures / "qrranker/cases.jsonl").read_text().splitlines():
        case = json.loads(line)
        heads = {f"{point.layer}-{head}" for point in ranker.card.read for head in point.heads}
        assert heads == set(case["heads"])
        scores = ranker.rank(case["query"], case["documents"])
        np.testing.assert_allclose(scores, case["expected"]["scores"], atol=2e-6, rtol=1e-5)
    assert not (published / "ran").exists()
    assert (ranker.info.num_layers_kept, ranker.info.num_layers) == (6, 36)


@pytest.mark.parametrize("num_layers", [6, 36])
@pytest.mark.parametrize("has_rest", [False, True], ids=["bare", "with norm and head"])
def test_the_rest_of_a_decoder_may_be_there_or_not(
    num_layers: int,
    has_rest: bool,
    published: Path,
    publish: Callable[..., None],
    open_published: OpenPublished,
) -> None:
    expected = open_published().rank(QUERY, DOCUMENTS)
    tensors: Tensors = {}
    for path in published.glob("*.safetensors"):
        tensors |= load_file(path)
        path.unlink()
    (published / INDEX_FILE).unlink()
    if has_rest:
        tensors |= {"norm.weight": torch.ones(32), "lm_head.weight": torch.zeros(49152, 32)}
        tensors["layers.6.self_attn.q_proj.weight"] = torch.zeros(64, 32)
    save_file(tensors, published / SINGLE_FILE)
    publish(published, num_hidden_layers=num_layers, tie_word_embeddings=not has_rest)
    assert open_published().rank(QUERY, DOCUMENTS) == expected


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_every_family_is_read_in_both_spellings(
    family: str, published: Path, golden_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    config = decoder_config(family, published)
    torch.manual_seed(1)
    state = AutoModel.from_config(config).state_dict()
    scores = []
    for prefix in ("", "model."):
        folder = published.parent / f"{family}-{prefix}"
        folder.mkdir()
        config.save_pretrained(folder)
        (folder / "tokenizer.json").symlink_to(published / "tokenizer.json")
        save_file({prefix + name: t for name, t in state.items()}, folder / SINGLE_FILE)
        scores.append(open_tiny(folder, golden_card).rank(QUERY, DOCUMENTS))
    assert scores[0] == scores[1]


def decoder_config(family: str, published: Path, **changes: Any) -> PretrainedConfig:
    fields: dict[str, Any] = {
        "vocab_size": json.loads((published / "config.json").read_text())["vocab_size"],
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 4096,
        "sliding_window": None,
        "initializer_range": 0.3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000000},
    }
    return AutoConfig.for_model(family, **(fields | changes))


@pytest.mark.parametrize("summary", ["", "Ann plays. Who won?"], ids=["plain", "summary"])
def test_a_downloaded_folder_opens_by_the_name_of_the_built_in_card(
    summary: str, published: Path, publish: Callable[..., None]
) -> None:
    config = decoder_config(
        "qwen3", published, num_hidden_layers=25, num_attention_heads=32, num_key_value_heads=8
    )
    torch.manual_seed(2)
    model = AutoModel.from_config(config, attn_implementation="eager").eval()
    folder = published.parent / "downloaded"
    model.save_pretrained(folder, max_shard_size="500KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    publish(folder, num_hidden_layers=25, layer_types=["full_attention"] * 36)
    shutil.copy(published / "tokenizer.json", folder)

    ranker = Ranker.open(folder, card="MindscapeRAG/QRRanker", device="cpu", dtype="float32")

    encoded = ranker.encode(QUERY, DOCUMENTS, summary=summary)
    with torch.no_grad():
        seen = model(
            torch.tensor(encoded.token_ids)[None].long(), output_attentions=True
        ).attentions
    signal = slice(*encoded.signal_span)
    assert isinstance(ranker.card, Card)
    expected = [
        sum(
            float(seen[point.layer][0, head, signal, a:b].sum(-1).mean())
            for point in ranker.card.read
            for head in point.heads
        )
        for a, b in encoded.scored_spans.tolist()
    ]
    np.testing.assert_allclose(ranker.score([encoded])[0], expected, atol=2e-6, rtol=1e-5)
    assert not (folder / "ran").exists()
