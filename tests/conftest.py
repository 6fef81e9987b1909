"""What any test may use; and, before anything imports Triton, its interpreter without a GPU."""

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from blockrank_server.models.checkpoint.card import BUILT_IN, CARD_FILE

# Triton reads this when it is imported, which transformers does; this file comes first in any run.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny checkpoints, a copy of tests/fixtures with the tokenizers unpacked."""
    folder = tmp_path_factory.mktemp("checkpoints") / "fixtures"
    shutil.copytree(Path(__file__).parent / "fixtures", folder)
    for packed in folder.glob("*/tokenizer.json.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    return folder


@pytest.fixture(scope="session", autouse=True)
def plain_processor() -> Iterator[None]:
    """What is chosen for a processor is float32 in every test that does not say otherwise.

    So scores are the same on every machine.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", dict)
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The tiny models' products are too small to share."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture
def keeping_card(tmp_path: Path) -> Path:
    """A card of the tiny checkpoint "blockrank" whose documents can be kept."""
    fields = {
        "card_version": 1,
        "name": "keeping",
        "mask": "block",
        "prompt": {
            "tokenise": "blocks",
            "prefix": [{"control": "<s>"}, {"text": "Documents:"}],
            "document": [{"text": "\n{content}"}],
            "tail": [{"text": "\nQuery: {query}"}, {"control": "[/INST]"}],
        },
        "positions": {"documents": "shared", "tail_offset": 1000},
        "read": [{"layer": 2, "heads": "all"}],
        "signal": {"tokens": "last", "count": 2},
        "normalise_over": "documents",
        "reduce_heads": "mean",
        "limits": {"max_documents": 8, "max_document_tokens": 16, "max_query_tokens": 16},
        "reusable_documents": True,
    }
    path = tmp_path / "card.json"
    path.write_text(json.dumps(fields))
    return path


YES_NO: dict[str, object] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
# How Qwen's tokenizer splits text before merging.
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.fixture(scope="session")
def make_yes_no(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a whole Qwen3 (or other) checkpoint of random weights, to be read for yes or no: its
    folder has the card of Qwen3-Reranker, with lower limits."""
    # Here and not on top: it imports Triton.
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM  # noqa: PLC0415

    definition = json.loads((fixtures / "qrranker/tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": QWEN_SPLIT}, "behavior": "Isolated"}
    levels = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    steps = [split | {"invert": False}, levels | {"trim_offsets": True}]
    definition["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    first = len(definition["model"]["vocab"])
    for i, word in enumerate(("<think>", "</think>")):
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
        definition["added_tokens"].append({"id": first + i, "content": word} | flags)
    card = json.loads((BUILT_IN / "Qwen--Qwen3-Reranker-0.6B.json").read_text())
    card["limits"] = {"max_document_tokens": 40, "max_query_tokens": 16}
    card["limits"]["max_instruction_tokens"] = 32

    def make(family: str = "qwen3", **changes: object) -> Path:
        folder = tmp_path_factory.mktemp("yes_no")
        config = CONFIG_MAPPING[family].from_dict(YES_NO | {"vocab_size": first + 5} | changes)
        torch.manual_seed(5)
        model = AutoModelForCausalLM.from_config(config)
        for weight in model.parameters():  # so that verdicts differ by their documents
            std = 0.1 if len(weight) > first else 0.4
            torch.nn.init.normal_(weight, std=std if weight.ndim > 1 else 1.0)
        model.save_pretrained(folder)
        (folder / "tokenizer.json").write_text(json.dumps(definition))
        (folder / CARD_FILE).write_text(json.dumps(card))
        return folder

    return make
