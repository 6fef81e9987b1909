"""LoRA adapters: merged exactly, or refused."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.checkpoint.checkpoint import Checkpoint
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.ranker import Ranker

CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}
DOCUMENTS = ["a river bank", "a bank for money", "x"]


def lora(
    layer: int, part: str, num_out: int, num_in: int, rank: int = 4
) -> dict[str, torch.Tensor]:
    torch.manual_seed(layer)
    name = f"base_model.model.model.layers.{layer}.{part}"
    return {
        f"{name}.lora_A.weight": torch.randn(rank, num_in) / 4,
        f"{name}.lora_B.weight": torch.randn(num_out, rank) / 4,
    }


@pytest.fixture
def write_adapter(tmp_path: Path) -> Callable[..., Path]:
    def write(tensors: dict[str, torch.Tensor], **config: Any) -> Path:
        folder = tmp_path / "adapter"
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
        save_file(tensors, folder / "adapter_model.safetensors")
        return folder

    return write


@pytest.mark.parametrize("quantization", ["none", "int8", "int4"])
@pytest.mark.parametrize(("rslora", "scale"), [(False, 2.0), (True, 4.0)], ids=["plain", "rslora"])
def test_merging_equals_a_checkpoint_with_the_product_added(
    rslora: bool,
    scale: float,
    quantization: str,
    tmp_path: Path,
    fixtures: Path,
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
    write_adapter: Callable[..., Path],
) -> None:
    tensors = (
        lora(1, "mlp.down_proj", 32, 64)
        | lora(4, "self_attn.q_proj", 64, 32)
        | lora(5, "self_attn.q_proj", 64, 32)  # a layer never loaded: skipped
        | lora(4, "self_attn.v_proj", 32, 32)  # of the last layer, not needed: skipped
    )
    adapter = write_adapter(tensors, use_rslora=rslora)
    merged = tmp_path / "merged"
    merged.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (merged / name).write_bytes((fixtures / "blockrank" / name).read_bytes())
    whole = {k: v.float() for k, v in load_file(fixtures / "blockrank/model.safetensors").items()}
    for name in ("layers.1.mlp.down_proj", "layers.4.self_attn.q_proj"):
        prefix = f"base_model.model.model.{name}"
        product = tensors[f"{prefix}.lora_B.weight"] @ tensors[f"{prefix}.lora_A.weight"]
        whole[f"model.{name}.weight"] += scale * product
    save_file(whole, merged / "model.safetensors")

    plain, adapted, expected = (
        open_tiny(folder, blockrank_card, adapter=of, quantization=quantization).rank(
            "q", DOCUMENTS
        )
        for folder, of in (("blockrank", None), ("blockrank", adapter), (merged, None))
    )
    assert adapted == pytest.approx(expected, abs=1e-6)
    assert adapted != pytest.approx(plain, abs=1e-3)


def test_a_revision_tells_the_adapter_by_its_content(
    tmp_path: Path,
    write_adapter: Callable[..., Path],
    blockrank_card: dict[str, Any],
) -> None:
    card = Card.model_validate(blockrank_card)
    folder = write_adapter(lora(4, "self_attn.q_proj", 64, 32))
    file = folder / "adapter_model.safetensors"
    plain = Checkpoint(card, tmp_path, "abc", None)
    adapted = plain.with_adapter(folder)
    first = adapted.served_revision()
    assert first == f"abc+{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"
    save_file(lora(3, "self_attn.q_proj", 64, 32), file)
    assert adapted.served_revision() != first
    assert plain.with_adapter(None).served_revision() == "abc"
    assert replace(adapted, revision=None).served_revision() is None
    file.unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*adapter_model\.safetensors"):
        adapted.served_revision()


def test_a_card_can_name_its_adapter(
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
    write_adapter: Callable[..., Path],
) -> None:
    folder = write_adapter(lora(4, "self_attn.q_proj", 64, 32))
    by_option = open_tiny("blockrank", blockrank_card, adapter=folder).rank("q", DOCUMENTS)
    by_card = open_tiny("blockrank", blockrank_card | {"adapter": "adapter"}).rank("q", DOCUMENTS)
    assert by_card == by_option


BAD: dict[str, tuple[dict[str, torch.Tensor], dict[str, Any], str]] = {
    "dora": ({}, {"use_dora": True}, "no plain LoRA adapter: use_dora"),
    "bias": ({}, {"bias": "all"}, "no plain LoRA adapter: bias"),
    "rank pattern": ({}, {"rank_pattern": {"q_proj": 8}}, "no plain LoRA adapter: rank_pattern"),
    "not lora": ({}, {"peft_type": "IA3"}, "no plain LoRA adapter: peft_type"),
    "unknown tensor": ({"head.weight": torch.zeros(1)}, {}, "unexpected tensor 'head.weight'"),
    "other shape": (lora(1, "self_attn.q_proj", 64, 33), {}, "fits no weight"),
    "no such weight": (lora(1, "self_attn.qkv_proj", 64, 32), {}, "fits no weight"),
    "half a pair": (
        {k: v for k, v in lora(1, "mlp.up_proj", 64, 32).items() if "lora_A" in k},
        {},
        "has only lora_A",
    ),
}


@pytest.mark.parametrize(("tensors", "config", "message"), BAD.values(), ids=BAD)
def test_other_adapters_are_refused(
    tensors: dict[str, torch.Tensor],
    config: dict[str, Any],
    message: str,
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
    write_adapter: Callable[..., Path],
) -> None:
    adapter = write_adapter(tensors, **config)
    with pytest.raises(CheckpointError, match=message):
        open_tiny("blockrank", blockrank_card, adapter=adapter)


def test_missing_and_corrupt_adapters(
    tmp_path: Path,
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
    write_adapter: Callable[..., Path],
) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*adapter_config\.json"):
        open_tiny("blockrank", blockrank_card, adapter=tmp_path / "absent")
    folder = write_adapter({})
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        open_tiny("blockrank", blockrank_card, adapter=folder)
