"""What any test may use; and, before anything imports Triton, its interpreter without a GPU."""

import gzip
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

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
