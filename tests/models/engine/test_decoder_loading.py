"""The whole decoder's tensors: either spelling, tied heads, packed layers; and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from blockrank_server.models.checkpoint.model_config import load_model_config
from blockrank_server.models.engine.decoder_loading import load_decoder
from blockrank_server.models.engine.whole_decoder import WholeDecoder
from blockrank_server.models.errors import CheckpointError

Tensors = dict[str, torch.Tensor]
Change = Callable[[Tensors], object]


@pytest.fixture
def load(fixtures: Path, tmp_path: Path) -> Callable[..., WholeDecoder]:
    """Load a tiny checkpoint whose tensors were changed, and its config."""

    def load_(name: str, change: Change = lambda _: None, **config: object) -> WholeDecoder:
        folder = tmp_path / name
        shutil.copytree(fixtures / name, folder)
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")
        fields = json.loads((folder / "config.json").read_text()) | config
        (folder / "config.json").write_text(json.dumps(fields))
        given = load_model_config(folder)
        return load_decoder(folder, given, torch.device("cpu"), torch.float32)

    return load_


def rename(tensors: Tensors) -> None:
    for name in list(tensors):
        tensors[name.removeprefix("model.")] = tensors.pop(name)


def test_both_spellings_are_read(load: Callable[..., WholeDecoder], fixtures: Path) -> None:
    decoder = load("rank1", rename)
    for name, tensor in load_file(fixtures / "rank1" / "model.safetensors").items():
        assert torch.equal(decoder.get_parameter(name.removeprefix("model.")), tensor.float())


def test_a_tied_head_is_the_embedding_whatever_the_file_holds(
    load: Callable[..., WholeDecoder],
) -> None:
    decoder = load("rank1", tie_word_embeddings=True)
    assert decoder.lm_head.weight is decoder.embed_tokens.weight


def test_a_tied_head_need_not_be_there(load: Callable[..., WholeDecoder]) -> None:
    decoder = load("rank1", lambda t: t.pop("lm_head.weight"), tie_word_embeddings=True)
    assert decoder.lm_head.weight is decoder.embed_tokens.weight


def wide(tensors: Tensors) -> None:
    tensors["model.norm.weight"] = torch.zeros(65)


def twice(tensors: Tensors) -> None:
    tensors["norm.weight"] = tensors["model.norm.weight"].clone()


def coarse(tensors: Tensors) -> None:
    name = "model.layers.1.mlp.up_proj.scales"
    tensors[name] = tensors[name].bfloat16()


PROJ = "model.layers.2.mlp.down_proj"
WRONG: dict[str, tuple[str, Change, str]] = {
    "no head": ("rank1", lambda t: t.pop("lm_head.weight"), "first is 'lm_head.weight'"),
    "no norm": ("rank1", lambda t: t.pop("model.norm.weight"), "lacks 1 of .* 'norm.weight'"),
    "another shape": ("rank1", wide, r"norm.weight is \[65\], the config says \[64\]"),
    "unexpected": ("rank1", lambda t: t.update(x=torch.zeros(1)), "unexpected tensor 'x'"),
    "twice": ("rank1", twice, "which was read as"),
    "no zeros": ("rank1-awq", lambda t: t.pop(f"{PROJ}.qzeros"), "layers.2.mlp.down_proj.qzeros"),
    "coarse scales": ("rank1-awq", coarse, "up_proj.scales is torch.bfloat16"),
}


@pytest.mark.parametrize(("name", "change", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused_by_name(
    name: str, change: Change, message: str, load: Callable[..., WholeDecoder]
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(name, change)


def test_a_packed_checkpoint_whose_config_does_not_say_so(
    load: Callable[..., WholeDecoder],
) -> None:
    with pytest.raises(CheckpointError, match=r"unexpected tensor .*qweight"):
        load("rank1-awq", quantization_config=None)


def test_another_group_size_than_the_tensors(load: Callable[..., WholeDecoder]) -> None:
    fields = {"quant_method": "awq", "bits": 4, "version": "gemm", "zero_point": True}
    with pytest.raises(CheckpointError, match=r"qzeros is .*, the config says"):
        load("rank1-awq", quantization_config=fields | {"group_size": 64})


def test_a_packing_of_others(load: Callable[..., WholeDecoder]) -> None:
    with pytest.raises(CheckpointError, match=r"quant_method is 'gptq', only 'awq'"):
        load("rank1-awq", quantization_config={"quant_method": "gptq", "bits": 4})
