"""The embedded default: converted once, then opened; ranks real text."""

import hashlib
import json
from pathlib import Path

import pytest

from blockrank_server.models.checkpoint.card import BUILT_IN, Weights, load_card
from blockrank_server.models.checkpoint.gguf import converted_folder
from blockrank_server.models.errors import CheckpointError, EmptyInputError
from blockrank_server.models.prompt.request import Document
from blockrank_server.models.ranker import Ranker

CARD = load_card(BUILT_IN / "default.json")
QUESTIONS: list[tuple[str, list[Document], int]] = [
    (
        "why is the sky blue",
        [
            "Blue whales are the largest animals known to have existed.",
            "The sky appears blue because air scatters short wavelengths of sunlight most.",
            "The Blue Sky Catalog sells furniture and lamps.",
        ],
        1,
    ),
    (
        "how do vaccines work",
        [
            "A vaccine trains the immune system to recognise a pathogen without causing disease.",
            "The stock market closed higher on Friday after a volatile week.",
            {"title": "Bread", "text": "Knead the dough for ten minutes and let it rise."},
        ],
        0,
    ),
    (
        "python sort a list in place",
        [
            "def read(path):\n    return open(path).read()",
            "A python is a large snake found in Africa, Asia and Australia.",
            "def sort_in_place(items):\n    '''Sort the list itself.'''\n    items.sort()",
        ],
        2,
    ),
]


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    return Ranker.open(device="cpu")


@pytest.fixture(scope="module", params=["int8", "int4"])
def rounded(request: pytest.FixtureRequest) -> Ranker:
    return Ranker.open(device="cpu", quantization=request.param)


@pytest.fixture(scope="module")
def plain_card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card without its adapter."""
    path = tmp_path_factory.mktemp("plain") / "card.json"
    path.write_text(CARD.model_copy(update={"adapter": None}).model_dump_json())
    return path


def shares(ranker: Ranker, query: str, documents: list[Document] | list[str]) -> list[float]:
    """What each document has of the list's attention."""
    return ranker.score([ranker.encode(query, documents)])[0]


@pytest.mark.parametrize(("query", "documents", "best"), QUESTIONS, ids=["fact", "how", "code"])
def test_it_ranks_real_text(ranker: Ranker, query: str, documents: list[str], best: int) -> None:
    scores = ranker.rank(query, documents)
    assert scores.index(max(scores)) == best
    assert all(0 < score < 1 for score in scores)
    assert sum(shares(ranker, query, documents)) == pytest.approx(1, abs=1e-5)


def test_a_query_of_bytes_its_vocabulary_lacks_is_refused(ranker: Ranker) -> None:
    with pytest.raises(EmptyInputError, match="query has no token"):
        ranker.rank("\x16\x04", ["a", "b"])
    assert sum(shares(ranker, "b", ["\x16", "b"])) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("query", "documents", "best"), QUESTIONS, ids=["fact", "how", "code"])
def test_it_ranks_real_text_in_fewer_bits(
    ranker: Ranker, rounded: Ranker, query: str, documents: list[str], best: int
) -> None:
    found = shares(rounded, query, documents)
    assert found.index(max(found)) == best
    if rounded.info.quantization == "int8":
        assert found == pytest.approx(shares(ranker, query, documents), abs=0.02)
    assert rounded.info.weight_bytes < 0.52 * ranker.info.weight_bytes


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_weights_that_came_in_four_bits_stay_near_in_fewer(
    plain_card: Path, quantization: str
) -> None:
    ranker, rounded = (
        Ranker.open(card=plain_card, device="cpu", quantization=name)
        for name in ("none", quantization)
    )
    for query, documents, best in QUESTIONS:
        found = shares(rounded, query, documents)
        assert found.index(max(found)) == best
        assert found == pytest.approx(shares(ranker, query, documents), abs=0.02)


def test_it_is_cut_at_the_last_read_layer(ranker: Ranker) -> None:
    assert ranker.info.num_layers == 30
    assert ranker.info.num_layers_kept == CARD.last_layer + 1 < 30


def test_text_is_split_as_the_model_was_trained(ranker: Ranker) -> None:
    encoded = ranker.encode("q", ["in 1995\n\n20"])
    start, stop = encoded.block_spans[0]
    tokenizer = ranker._encoder._tokenizer._tokenizer
    tokens = [tokenizer.id_to_token(int(i)) for i in encoded.token_ids[start:stop]]
    # Digits stand alone, and the blank line before one is one token.
    assert tokens[:9] == ["in", "Ġ", "1", "9", "9", "5", "ĊĊ", "2", "0"]


def test_conversion_is_kept_and_reads_nothing_twice(tmp_path: Path) -> None:
    assert CARD.weights is not None
    folder = converted_folder(CARD.weights, 1, tmp_path)
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == [folder.name]
    before = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    times = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert converted_folder(CARD.weights, 1, tmp_path) == folder
    assert times == {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    assert len(before) == 3


def weights(**change: str) -> Weights:
    assert CARD.weights is not None
    return Weights(**(CARD.weights.model_dump() | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"package": "no_such_package"}, "no_such_package with the weights is not installed: pip"),
        ({"file": "absent.gguf"}, r"cannot read .*absent\.gguf"),
        ({"sha256": "0" * 64}, "has sha256 b179c9523d0e6a0f.*, the card names 0000"),
    ],
    ids=["package", "file", "checksum"],
)
def test_weights_that_are_not_what_the_card_names(
    change: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        converted_folder(weights(**change), 1, tmp_path)
    assert not [p for p in tmp_path.iterdir() if not p.name.startswith(".")]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write to cache"):
        converted_folder(weights(), 1, tmp_path / "file")
