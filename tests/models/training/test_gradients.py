"""The loss's gradient against finite differences, and what must not change it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers.models.mistral.modeling_mistral import MistralRMSNorm

from blockrank_server.models.training import trainable_ranker
from blockrank_server.models.training.base_checkpoint import BaseCheckpoint
from blockrank_server.models.training.config import TrainConfig
from blockrank_server.models.training.examples import Batch, Collator
from blockrank_server.models.training.trainable_ranker import TrainableRanker, training_backend

MakeConfig = Callable[..., TrainConfig]
MakeBatch = Callable[..., tuple[BaseCheckpoint, Batch]]

LOSSES: dict[str, dict[str, Any]] = {
    "contrastive": {},
    "log mass": {"logits": "log_mass", "temperature": 0.5},
    "distillation": {"contrastive": 0, "distillation": 1, "teacher_temperature": 2.0},
    "all three": {"distillation": 0.5, "lm": 1, "answer_end": "</s>"},
}

CARDS: dict[str, dict[str, Any]] = {
    "mean": {"reduce_tokens": "mean"},
    "geometric mean": {"reduce_tokens": "geometric_mean"},
    "thinned documents seen whole": {"tail_stride": 4, "document_attention": "full"},
}


def randomise_adapters(network: nn.Module) -> None:
    """Adapters start as zero products, through which no gradient reaches their first factors."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 8)


def in_double(model: TrainableRanker) -> None:
    """The same model in fp64, its norms too, which transformers computes in fp32."""
    model.double()
    for module in list(model.modules()):
        for name, norm in list(module.named_children()):
            if isinstance(norm, MistralRMSNorm):
                exact = nn.RMSNorm(norm.weight.shape, norm.variance_epsilon)
                exact.weight = norm.weight
                setattr(module, name, exact)


def trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in module.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("lora", [{"rank": 2}, None], ids=["lora", "every weight"])
@pytest.mark.parametrize("changed", CARDS.values(), ids=CARDS)
def test_gradient_equals_finite_differences(
    loss: dict[str, Any],
    lora: Any,
    changed: dict[str, Any],
    make_config: MakeConfig,
    make_batch: MakeBatch,
    tiny_model: Path,
    blockrank_card: dict[str, Any],
) -> None:
    (tiny_model / "rerank_card.json").write_text(json.dumps(blockrank_card | changed))
    config = make_config(loss=loss, lora=lora)
    base, batch = make_batch(config, teacher=True)
    model, _ = base.load(config, torch.device("cpu"))
    randomise_adapters(model.network)
    in_double(model)
    model(batch)["loss"].backward()
    generator = torch.Generator().manual_seed(0)
    step = 1e-6
    parameters = [parameter for _, parameter in trainable(model)]
    for _ in range(3):
        direction = [
            torch.randn(p.shape, generator=generator, dtype=p.dtype) * p.abs().mean()
            for p in parameters
        ]
        slope = sum(
            (p.grad * d).sum().item()
            for p, d in zip(parameters, direction, strict=True)
            if p.grad is not None
        )
        ahead = loss_after(model, batch, parameters, direction, step)
        behind = loss_after(model, batch, parameters, direction, -step)
        assert (ahead - behind) / (2 * step) == pytest.approx(slope, rel=1e-5)


def loss_after(
    model: TrainableRanker,
    batch: Batch,
    parameters: list[nn.Parameter],
    direction: list[torch.Tensor],
    step: float,
) -> float:
    """The loss a step along a direction away."""
    with torch.no_grad():
        for p, d in zip(parameters, direction, strict=True):
            p.add_(d, alpha=step)
        found = model(batch)["loss"].item()
        for p, d in zip(parameters, direction, strict=True):
            p.sub_(d, alpha=step)
    return float(found)


def told(name: str) -> Callable[[str], str]:
    """torch's own words on a difference, with the parameter's name."""
    return lambda message: f"{name}: {message}"


def gradients(model: TrainableRanker, batch: Batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(batch)["loss"].backward()
    return {name: p.grad.clone() for name, p in trainable(model) if p.grad is not None}


@pytest.mark.parametrize("loss", [{}, {"lm": 1}], ids=["cut network", "whole decoder"])
def test_checkpointed_activations_give_the_same_gradient(
    loss: dict[str, Any],
    make_config: MakeConfig,
    make_batch: MakeBatch,
    tiny_model: Path,
    blockrank_card: dict[str, Any],
) -> None:
    # Read points inside layers that are computed twice, as well as in the last one.
    read = [{"layer": 1, "heads": [2]}, {"layer": 4, "heads": "all"}]
    (tiny_model / "rerank_card.json").write_text(json.dumps(blockrank_card | {"read": read}))
    found = []
    for is_checkpointed in (False, True):
        config = make_config(loss=loss, lora={"rank": 2}, gradient_checkpointing=is_checkpointed)
        base, batch = make_batch(config)
        model, _ = base.load(config, torch.device("cpu"))
        randomise_adapters(model.network)
        found.append(gradients(model.train(), batch))
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=told(name))


@pytest.mark.parametrize("changed", CARDS.values(), ids=CARDS)
def test_the_attention_of_cuda_gives_the_same_gradient(
    changed: dict[str, Any],
    make_config: MakeConfig,
    make_batch: MakeBatch,
    tiny_model: Path,
    blockrank_card: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tiny_model / "rerank_card.json").write_text(json.dumps(blockrank_card | changed))
    found = []
    for device in ("cpu", "cuda"):
        backend = training_backend(torch.device(device))
        monkeypatch.setattr(trainable_ranker, "training_backend", lambda _, its=backend: its)
        base, batch = make_batch(make_config(lora={"rank": 2}), num_lists=4)
        model, _ = base.load(make_config(lora={"rank": 2}), torch.device("cpu"))
        randomise_adapters(model.network)
        in_double(model)
        found.append(gradients(model, batch))
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=told(name))


def test_a_batch_of_lists_of_different_length_gives_the_mean_gradient(
    make_config: MakeConfig, make_batch: MakeBatch
) -> None:
    config = make_config(lora={"rank": 2})
    base, batch = make_batch(config, num_lists=4)
    assert len({example.request.num_documents for example in batch.examples}) > 1
    model, _ = base.load(config, torch.device("cpu"))
    randomise_adapters(model.network)
    in_double(model)
    together = gradients(model, batch)
    collate = Collator(base.card)
    alone = [gradients(model, collate([example])["batch"]) for example in batch.examples]
    for name, gradient in together.items():
        mean = torch.stack([one[name] for one in alone]).mean(0)
        torch.testing.assert_close(gradient, mean, msg=told(name))


def test_layers_below_the_first_adapter_get_no_gradient(
    make_config: MakeConfig, make_batch: MakeBatch
) -> None:
    config = make_config(lora={"rank": 2, "first_layer": 3})
    base, batch = make_batch(config)
    model, _ = base.load(config, torch.device("cpu"))
    assert {name.split(".")[2] for name in gradients(model, batch)} == {"3", "4"}
