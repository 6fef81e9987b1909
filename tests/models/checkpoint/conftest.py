"""The golden QRRanker checkpoint in the form its authors publish theirs."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from blockrank_server.models.checkpoint.weights import INDEX_FILE, SINGLE_FILE
from blockrank_server.models.ranker import Ranker

HEADS = [(2, 1), (3, 0), (3, 3), (5, 1), (5, 2)]  # of every golden case
CODE = "modeling_qwen3_qr.py"
# As in the published config.json: more layers are named than are there, and a class beside it.
PUBLISHED: dict[str, Any] = {
    "architectures": ["Qwen3Model"],
    "auto_map": {
        "AutoConfig": "modeling_qwen3_qr.Qwen3ConfigGating",
        "AutoModel": "modeling_qwen3_qr.Qwen3Model",
    },
    "qr_start_layer": 17,
    "qr_end_layer": 25,
    "qr_head_list": "20-15,21-11",
    "rope_theta": 5000000,
    "rope_scaling": None,
    "torch_dtype": "float16",
}


def _publish(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    fields = json.loads(path.read_text())
    fields.pop("rope_parameters", None)
    path.write_text(json.dumps(fields | PUBLISHED | changes))
    (folder / CODE).write_text(f"open({str(folder / 'ran')!r}, 'w')")


@pytest.fixture(scope="session")
def publish() -> Callable[..., None]:
    """Give a folder the published config's fields, and code that says when it is imported."""
    return _publish


def _write_shards(folder: Path, tensors: dict[str, Any], per_shard: int) -> None:
    names = list(tensors)
    shards = [names[i : i + per_shard] for i in range(0, len(names), per_shard)]
    files: dict[str, str] = {}
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        save_file({name: tensors[name] for name in shard}, folder / file)
        files |= dict.fromkeys(shard, file)
    (folder / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": files}))


@pytest.fixture
def published(tmp_path: Path, fixtures: Path) -> Path:
    """The golden checkpoint as AutoModel saves it, without layers above 5, final norm and head."""
    folder = Path(shutil.copytree(fixtures / "qrranker", tmp_path / "published"))
    tensors = {
        name.removeprefix("model."): tensor
        for name, tensor in load_file(folder / SINGLE_FILE).items()
        if not re.match(r"model\.layers\.[67]\.|model\.norm\.|lm_head\.", name)
    }
    (folder / SINGLE_FILE).unlink()
    _write_shards(folder, tensors, per_shard=20)
    _publish(folder, num_hidden_layers=36, layer_types=["full_attention"] * 36)
    return folder


@pytest.fixture
def golden_card(qrranker_card: dict[str, Any]) -> dict[str, Any]:
    """QRRanker's built-in card with the heads of the golden cases."""
    read = [{"layer": at, "heads": [h for i, h in HEADS if i == at]} for at in (2, 3, 5)]
    return qrranker_card | {"read": read}


@pytest.fixture
def open_published(
    published: Path, golden_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> Callable[[], Ranker]:
    return lambda: open_tiny(published, golden_card, dtype="float32")
