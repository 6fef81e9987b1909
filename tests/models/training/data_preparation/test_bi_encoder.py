"""A bi-encoder's cosines, by sentence-transformers and by transformers alone."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.training.data_preparation.bi_encoder import open_bi_encoder, score

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "river", "money", "flows", "bank", "the", "sea"]
TEXTS = {"a": "the river flows", "b": "money", "c": "river bank money the sea flows the river"}
LISTS = [
    Shortlist(
        "q", "river sea", tuple(TEXTS), tuple({"title": "", "text": x} for x in TEXTS.values()), ()
    )
]
MAX_TOKENS = 7  # cuts the last text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A BERT of random weights whose vector is the mean over tokens."""
    words = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(tmp_path)
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(tmp_path)
    types = ["Transformer", "Pooling"]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{name}" if i else "",
            "type": f"sentence_transformers.models.{name}",
        }
        for i, name in enumerate(types)
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return tmp_path


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-3)])
def test_scores_are_cosines_of_mean_vectors(folder: Path, dtype: str, tolerance: float) -> None:
    model = BertModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def vector(text: str) -> torch.Tensor:
        ids = tokenizer(text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            states = model(**ids).last_hidden_state.float()
        return torch.nn.functional.normalize(states[0].mean(0), dim=0)

    query = vector("the river sea")
    (found,) = score(open_bi_encoder(folder, MAX_TOKENS, dtype), LISTS, query_prefix="the ")
    assert [doc_id for doc_id, _ in found] == list(TEXTS)
    expected = [float(vector(text) @ query) for text in TEXTS.values()]
    assert [value for _, value in found] == pytest.approx(expected, abs=tolerance)


def test_a_folder_that_says_nothing_of_pooling_is_refused(folder: Path) -> None:
    (folder / "modules.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no modules\.json"):
        open_bi_encoder(folder, MAX_TOKENS, "float32")
