"""A bi-encoder's cosines, by sentence-transformers and by transformers alone."""

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertModel

from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.training.data_preparation.bi_encoder import open_bi_encoder, score

TEXTS = {"a": "the river flows", "b": "money", "c": "river bank money the sea flows the river"}
LISTS = [
    Shortlist(
        "q", "river sea", tuple(TEXTS), tuple({"title": "", "text": x} for x in TEXTS.values()), ()
    )
]
MAX_TOKENS = 7  # cuts the last text


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-3)])
def test_scores_are_cosines_of_mean_vectors(bi_encoder: Path, dtype: str, tolerance: float) -> None:
    model = BertModel.from_pretrained(bi_encoder, dtype=getattr(torch, dtype)).eval()
    tokenizer = AutoTokenizer.from_pretrained(bi_encoder)

    def vector(text: str) -> torch.Tensor:
        ids = tokenizer(text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            states = model(**ids).last_hidden_state.float()
        return torch.nn.functional.normalize(states[0].mean(0), dim=0)

    query = vector("the river sea")
    (found,) = score(open_bi_encoder(bi_encoder, MAX_TOKENS, dtype), LISTS, query_prefix="the ")
    assert [doc_id for doc_id, _ in found] == list(TEXTS)
    expected = [float(vector(text) @ query) for text in TEXTS.values()]
    assert [value for _, value in found] == pytest.approx(expected, abs=tolerance)


def test_a_folder_that_says_nothing_of_pooling_is_refused(bi_encoder: Path) -> None:
    (bi_encoder / "modules.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no modules\.json"):
        open_bi_encoder(bi_encoder, MAX_TOKENS, "float32")
