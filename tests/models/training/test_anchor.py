"""Log-sum-exps as logits, the anchor, lists without an answer, and strides of the tail."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from blockrank_server.models.training.base_checkpoint import BaseCheckpoint
from blockrank_server.models.training.config import TrainConfig
from blockrank_server.models.training.errors import ConfigError
from blockrank_server.models.training.examples import Batch, Collator
from blockrank_server.models.training.train_data import open_data

MakeConfig = Callable[..., TrainConfig]
MakeBatch = Callable[..., tuple[BaseCheckpoint, Batch]]
RAW = {"logits": "log_sum_exp", "temperature": 0.5}


@pytest.fixture
def geometric(tiny_model: Path, blockrank_card: dict[str, Any]) -> None:
    """Make the tiny checkpoint's card one of a single head with a geometric mean."""
    fields = {"reduce_tokens": "geometric_mean", "read": [{"layer": 4, "heads": [1]}]}
    (tiny_model / "rerank_card.json").write_text(json.dumps(blockrank_card | fields))


@pytest.mark.usefixtures("geometric")
def test_without_an_anchor_they_teach_what_log_masses_teach(
    make_config: MakeConfig, make_batch: MakeBatch
) -> None:
    """A document's log-sum-exp and its log mass differ by what all documents have in common."""
    losses = []
    for logits in ("log_mass", "log_sum_exp"):
        config = make_config(loss=RAW | {"logits": logits, "distillation": 1})
        base, batch = make_batch(config, teacher=True)
        model, _ = base.load(config, torch.device("cpu"))
        losses.append(model(batch)["loss"].item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.usefixtures("geometric")
def test_an_anchor_tells_lists_with_an_answer_from_those_without(
    make_config: MakeConfig, make_batch: MakeBatch
) -> None:
    """An anchor far below all documents finds an answer everywhere, one far above nowhere."""
    found = {}
    for anchor in (-100.0, 100.0):
        config = make_config(loss=RAW | {"anchor": anchor})
        base, batch = make_batch(config)
        model, _ = base.load(config, torch.device("cpu"))
        found[anchor] = {name: x.item() for name, x in model(batch)["parts"].items()}
    assert [found[anchor]["told"] for anchor in found] == [1.0, 0.0]
    assert found[100.0]["contrastive"] > 100
    plain = make_config(loss=RAW)
    base, batch = make_batch(plain)
    model, _ = base.load(plain, torch.device("cpu"))
    without = model(batch)["parts"]["contrastive"].item()
    assert found[-100.0]["contrastive"] == pytest.approx(without, rel=1e-5)


@pytest.mark.usefixtures("geometric")
def test_lists_without_an_answer_and_strides_are_drawn_by_the_seed(
    make_config: MakeConfig, toy_lists: Path, tmp_path: Path
) -> None:
    sources = [{"path": str(toy_lists), "needs_teacher": False}]
    data = {"sources": sources, "documents": 4, "unanswerable": 0.5, "typed_queries": 1.0}
    config = make_config(
        data=data | {"tail_strides": [1, 2, 4]},
        loss=RAW | {"anchor": 2.0, "distillation": 1.0},
        steps=10,
    )
    base = BaseCheckpoint.open(config)
    examples = [open_data(config, base.maker, tmp_path).training[i] for i in range(40)]
    bare = [x for x in examples if not any(x.positive)]
    assert 10 < len(bare) < 30
    assert {len(x.doc_ids) for x in examples} == {4}
    assert {x.tail_stride for x in examples} == {1, 2, 4}
    again = open_data(config, base.maker, tmp_path).training[7]
    assert (again.doc_ids, again.tail_stride) == (examples[7].doc_ids, examples[7].tail_stride)


@pytest.mark.usefixtures("geometric")
def test_the_first_list_of_a_pass_decides_its_stride(
    make_config: MakeConfig, make_batch: MakeBatch
) -> None:
    base, batch = make_batch(make_config())
    first, second = batch.examples
    collate = Collator(base.card)
    thin = [replace(first, tail_stride=4), replace(second, tail_stride=1)]
    assert batch.packed.key_rows is None
    packed = collate(thin)["batch"].packed
    assert packed.key_rows is not None
    assert packed.num_tokens == batch.packed.num_tokens


def test_what_an_anchor_needs_is_said(make_config: MakeConfig) -> None:
    with pytest.raises(ValidationError, match="anchor needs logits log_sum_exp"):
        make_config(loss={"anchor": 1.0})
    data = {"sources": [{"path": "x"}], "unanswerable": 0.1}
    with pytest.raises(ValidationError, match=r"unanswerable needs loss\.anchor"):
        make_config(data=data)
    with pytest.raises(ConfigError, match="needs a card with reduce_tokens geometric_mean"):
        BaseCheckpoint.open(make_config(loss=RAW))
