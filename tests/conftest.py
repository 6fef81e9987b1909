"""What any test may use; and, before anything imports Triton, its interpreter without a GPU."""

import gzip
import os
import shutil
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
