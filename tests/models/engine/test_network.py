"""The cut network against plain transformers: whole model, eager attention, a dense mask."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from blockrank_server.models.prompt.request import Document
from blockrank_server.models.ranker import Ranker

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"head_dim": 16},
    "mistral": {"head_dim": 16, "sliding_window": None},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
}
DOCUMENTS: list[Document] = [
    "Paris is the capital of France.",
    {"title": "Berlin", "text": "In Germany."},
    "x",
]


@pytest.fixture(params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path, fixtures: Path) -> Path:
    """A tiny checkpoint of each family with random weights and attention far from uniform."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        request.param,
        vocab_size=49152,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        **FAMILIES[request.param],
    )
    folder = tmp_path / str(request.param)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((fixtures / "qrranker/tokenizer.json").read_bytes())
    return folder


@pytest.mark.parametrize(
    ("mask", "reduce_tokens"),
    [("block", "mean"), ("block", "geometric_mean"), ("causal", "mean")],
)
def test_every_family_scores_as_the_whole_model(
    mask: str,
    reduce_tokens: str,
    checkpoint: Path,
    qrranker_card: dict[str, Any],
    query_free: dict[str, Any],
    open_tiny: Callable[..., Ranker],
    dense_scores: Callable[..., list[float]],
) -> None:
    fields = qrranker_card | {"read": [{"layer": 0, "heads": [3]}, {"layer": 2, "heads": [1, 0]}]}
    if mask == "block":
        prompt = json.loads(json.dumps(query_free["prompt"]).replace("[INST]", "<|im_start|>"))
        prompt["prefix"].pop(0)
        prompt["tail"][1] = {"control": "<|im_end|>"}
        fields |= query_free | {"prompt": prompt, "mask": "block", "normalise_over": "documents"}
        fields["positions"] = {"documents": "shared", "tail_offset": 4096}
        fields |= {"reduce_tokens": reduce_tokens, "signal": {"tokens": "query"}}
    ranker = open_tiny(checkpoint, fields)

    encoded = ranker.encode("capital of France", DOCUMENTS)

    assert ranker.info.num_layers_kept == 3
    np.testing.assert_allclose(
        ranker.score([encoded])[0],
        dense_scores(checkpoint, encoded, ranker.card, torch.float32),
        atol=2e-6,
        rtol=1e-4,
    )


def test_bfloat16_is_no_further_off_than_plain_transformers(
    fixtures: Path,
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
    dense_scores: Callable[..., list[float]],
) -> None:
    ranker = open_tiny("blockrank", blockrank_card, dtype="bfloat16")
    lines = (fixtures / "blockrank/cases.jsonl").read_text().splitlines()
    ours, plain = [], []
    names = ("quickstart", "long-query", "unicode", "no-titles", "truncated-at-64")
    for case in (c for c in map(json.loads, lines) if c["name"] in names):
        encoded = ranker.encode(case["query"], case["documents"])
        expected = np.array(case["expected"]["scores"])
        dense = dense_scores(fixtures / "blockrank", encoded, ranker.card, torch.bfloat16)
        ours.append(np.abs(np.array(ranker.score([encoded])[0]) - expected).max())
        plain.append(np.abs(np.array(dense) - expected).max())
    assert np.mean(ours) <= 2 * np.mean(plain)
