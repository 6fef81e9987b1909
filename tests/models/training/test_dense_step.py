"""One training step against plain transformers, PEFT and AdamW: dense mask, attention read out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

from blockrank_server.models.training.base_checkpoint import BaseCheckpoint
from blockrank_server.models.training.config import TrainConfig
from blockrank_server.models.training.examples import Example
from blockrank_server.models.training.run import train
from blockrank_server.models.training.train_data import open_data

MakeConfig = Callable[..., TrainConfig]
ADAPTER = "adapter_model.safetensors"
TEMPERATURE, READ_LAYER, LEARNING_RATE = 0.2, 4, 2e-3


def visible(example: Example) -> torch.Tensor:
    """[T, T] bool, from the definition of the block mask, token by token."""
    request = example.request
    owner = torch.full((request.num_tokens,), -1)  # -1: prefix, N: tail, else the document
    for i, (start, stop) in enumerate(request.block_spans):
        owner[start:stop] = i
    owner[request.tail_start :] = request.num_documents
    same_or_prefix = (owner[:, None] == owner) | (owner == -1)
    causal = torch.ones(request.num_tokens, request.num_tokens, dtype=torch.bool).tril()
    return causal & (same_or_prefix | (owner[:, None] == request.num_documents))


def dense_loss(model: nn.Module, example: Example, lm: float) -> torch.Tensor:
    """InfoNCE over the masses, and the next-token loss on the answer."""
    request = example.request
    mask = torch.zeros(1, 1, request.num_tokens, request.num_tokens)
    mask.masked_fill_(~visible(example), torch.finfo(mask.dtype).min)
    token_ids = torch.from_numpy(request.token_ids).long()
    out = model(
        input_ids=token_ids[None],
        position_ids=torch.from_numpy(request.position_ids)[None].long(),
        attention_mask=mask,
        output_attentions=True,
        use_cache=False,
    )
    probability = out.attentions[READ_LAYER][0, :, slice(*request.signal_span)]
    mass = torch.stack([probability[..., a:b].sum(-1) for a, b in request.scored_spans], -1)
    scores = (mass / mass.sum(-1, keepdim=True)).mean((0, 1))
    share = (scores / TEMPERATURE).softmax(0)[torch.tensor(example.positive)].sum()
    loss = -share.log()
    if lm:
        answer = token_ids[-example.num_answer_tokens :]
        logits = out.logits[0, -example.num_answer_tokens - 1 : -1]
        loss = loss + lm * nn.functional.cross_entropy(logits, answer)
    return loss


def told(name: str) -> Callable[[str], str]:
    """torch's own words on a difference, with the parameter's name."""
    return lambda message: f"{name}: {message}"


Step = dict[str, tuple[torch.Tensor, torch.Tensor]]


def dense_step(model: nn.Module, examples: list[Example], lm: float) -> Step:
    """Every trained parameter after one step of AdamW, and its gradient after clipping."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    loss = torch.stack([dense_loss(model, example, lm) for example in examples]).mean()
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
    torch.optim.AdamW(trained.values(), lr=LEARNING_RATE, weight_decay=0.0).step()
    return {
        name.replace(".default", ""): (p.detach(), p.grad)
        for name, p in trained.items()
        if p.grad is not None
    }


# PEFT asks the dense model by a name that transformers is about to drop.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("lm", [0.0, 0.5], ids=["scores alone", "with the next token"])
@pytest.mark.parametrize("lora", [{"rank": 4, "alpha": 4}, None], ids=["lora", "every weight"])
def test_one_step_equals_a_dense_implementation(
    lora: Any, lm: float, make_config: MakeConfig, tiny_model: Path, tmp_path: Path
) -> None:
    config = make_config(
        lora=lora,
        loss={"lm": lm, "temperature": TEMPERATURE, "answer_end": "</s>"},
        optimizer={"learning_rate": LEARNING_RATE, "warmup": 0},
        lists_per_step=4,
        lists_per_forward=2,
        steps=1,
    )
    base = BaseCheckpoint.open(config)
    data = open_data(config, base.maker, tmp_path / "cache")
    dense = AutoModelForCausalLM.from_pretrained(
        tiny_model, attn_implementation="eager", dtype=torch.float32
    )
    if lora:
        _, weights = base.load(config, torch.device("cpu"))
        weights.save(tmp_path / "start")
        dense = PeftModel.from_pretrained(dense, tmp_path / "start", is_trainable=True)
    expected = dense_step(dense, [data.training[i] for i in range(4)], lm)

    folder = train(config, cache_dir=tmp_path / "cache")

    compare(load_file(folder / (ADAPTER if lora else "model.safetensors")), expected)


def compare(found: dict[str, torch.Tensor], expected: Step) -> None:
    """Parameters after the step, where the gradient is no rounding noise."""
    assert found.keys() <= expected.keys()
    num_compared = 0
    for name, tensor in found.items():
        parameter, gradient = expected[name]
        # AdamW divides a gradient by its own size: one that is rounding noise may go either way.
        is_clear = (gradient.abs() > 1e-6) | (gradient == 0)
        assert is_clear.any(), name
        torch.testing.assert_close(
            tensor[is_clear],
            parameter[is_clear],
            rtol=0,
            atol=1e-5,
            msg=told(name),
        )
        num_compared += int((gradient.abs() > 1e-6).sum())
    assert num_compared > 1000
