"""Decoding against the plain way: the whole prompt again for every token."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch

from blockrank_server.kernels.backend import TORCH_BACKEND
from blockrank_server.models.checkpoint.any_card import attention_card
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.checkpoint.checkpoint import Checkpoint
from blockrank_server.models.engine.engine import Engine
from blockrank_server.models.engine.network import Network
from blockrank_server.models.engine.packing import pack
from blockrank_server.models.engine.placement import Placement
from blockrank_server.models.engine.whole_decoder import WholeDecoder, load_whole_decoder
from blockrank_server.models.errors import CardError
from blockrank_server.models.evaluation.decoding_scorer import DecodingScorer
from blockrank_server.models.prompt.prompt_encoder import PromptEncoder
from blockrank_server.models.prompt.request import Document
from blockrank_server.models.prompt.tokenizer import TextTokenizer
from blockrank_server.models.training.examples import with_answer

if TYPE_CHECKING:
    from tests.models.evaluation.conftest import MakeSet

CPU = torch.device("cpu")
DOCUMENTS: list[Document] = [
    "About the ocean.",
    "A bank.",
    "Some tree.",
    {"title": "Garden", "text": "Roses."},
]


@pytest.fixture
def checkpoint(fixtures: Path, blockrank_card: Any) -> Checkpoint:
    return Checkpoint(Card.model_validate(blockrank_card), fixtures / "blockrank", None, None)


class Parrot(DecodingScorer):
    """Says what it is told to."""

    text = ""

    def answer(self, query: str, documents: Any) -> str:
        return self.text


@pytest.fixture
def parrot(checkpoint: Checkpoint) -> Parrot:
    found = Parrot.open(checkpoint, Placement.choose("cpu", "float32", "none"))
    assert isinstance(found, Parrot)
    return found


def greedy(checkpoint: Checkpoint, decoder: WholeDecoder, num_tokens: int) -> list[int]:
    """Tokens after the prompt, each by a forward pass over all before it."""
    tokenizer = TextTokenizer(checkpoint.folder / "tokenizer.json")
    card = attention_card(checkpoint.card, "decoding")
    prompt = PromptEncoder(card, tokenizer, decoder.config.max_position_embeddings)
    engine = Engine(cast(Network, decoder), checkpoint.card, CPU, TORCH_BACKEND)
    request = prompt.encode("river", DOCUMENTS)
    ids: list[int] = []
    with torch.inference_mode():
        for _ in range(num_tokens):
            longer = with_answer(request, torch.tensor(ids, dtype=torch.int32).numpy())
            _, hidden = engine.run(pack([longer], checkpoint.card))
            assert hidden is not None
            ids.append(int(decoder.next_token_logits(hidden[-1:]).argmax()))
    return ids


def test_kept_keys_and_values_change_no_token(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = load_whole_decoder(checkpoint, CPU, torch.float32)
    scorer = DecodingScorer.open(checkpoint, Placement.choose("cpu", "float32", "none"))
    seen: list[list[int]] = []

    def digits(_: TextTokenizer, ids: Any) -> str:
        # Whatever the random weights say passes for digits, up to the sixth token.
        seen.append(list(ids))
        return "1" * len(ids) + "]" * (len(ids) > 5)

    monkeypatch.setattr(TextTokenizer, "decode", digits)
    assert scorer.answer("river", DOCUMENTS) == "1" * 6
    assert len(set(seen[-1])) > 1
    assert seen[-1] == greedy(checkpoint, decoder, 6)


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("2", [0, 0, 1, 0]),
        ("[3, 0", [0.5, 0, 0, 1]),
        ("1, 1, 2", [0, 1, 0.5, 0]),
        ("9, 1", [0, 1, 0, 0]),
        ("17", None),
        (" ", None),
    ],
)
def test_the_ids_of_the_answer_rank_and_no_valid_id_is_no_answer(
    parrot: Parrot, make_set: "MakeSet", text: str, scores: list[float] | None
) -> None:
    parrot.text = text
    assert parrot(make_set({"river": "a b c d"}, {}).lists, lambda _: None) == [scores]


def test_numbers_count_from_the_cards_first(parrot: Parrot) -> None:
    prompt = parrot._card.prompt.model_copy(update={"first_number": 1})
    parrot._card = parrot._card.model_copy(update={"prompt": prompt})
    parrot.text = "1, 4"
    assert parrot.decode("river", DOCUMENTS) == [0, 3]


def test_a_card_without_numbers_is_refused(
    checkpoint: Checkpoint, blockrank_card: Any, query_free: Any
) -> None:
    card = Card.model_validate(blockrank_card | query_free)
    placement = Placement.choose("cpu", "float32", "none")
    with pytest.raises(CardError, match="no id to decode"):
        DecodingScorer.open(Checkpoint(card, checkpoint.folder, None, None), placement)


def test_an_adapter_is_refused_not_left_out(checkpoint: Checkpoint, tmp_path: Path) -> None:
    placement = Placement.choose("cpu", "float32", "none")
    with pytest.raises(CardError, match="without an adapter"):
        DecodingScorer.open(checkpoint.with_adapter(tmp_path), placement)
