"""What tokenising a request takes: real passages, through the prompt of the card."""

import gzip
import json
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.prompt.prompt_encoder import PromptEncoder
from blockrank_server.models.prompt.tokenizer import TextTokenizer

ROOT = Path(__file__).parents[3]
TOKENIZER = ROOT / "tests/fixtures/blockrank/tokenizer.json.gz"
PASSAGES = ROOT / "loadtests/data/squad-sample.passages.jsonl.gz"
TEXTS = (
    "the first 55 words of SQuAD's passages, by a BPE of 32,768 tokens (tests/fixtures/blockrank) "
    "and the card's prompt, on the host"
)
_WORDS = 55
_REPEATS = 5
_MAX_POSITIONS = 32_768


class EncodeTimer:
    """Times the encoding of requests.

    Args:
        card: gives the prompt.
    """

    def __init__(self, card: Card) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tokenizer.json"
            path.write_bytes(gzip.decompress(TOKENIZER.read_bytes()))
            self._encoder = PromptEncoder(card, TextTokenizer(path), _MAX_POSITIONS)
        lines = gzip.decompress(PASSAGES.read_bytes()).decode().splitlines()
        self._texts = [" ".join(json.loads(line)["text"].split()[:_WORDS]) for line in lines]

    def ms(self, num_documents: int) -> float:
        """Median milliseconds of a request of so many documents."""
        documents = list(islice(cycle(self._texts), num_documents))
        seen = []
        for _ in range(_REPEATS):
            started = time.perf_counter()
            self._encoder.encode("who sells televisions in the United Kingdom", documents)
            seen.append((time.perf_counter() - started) * 1e3)
        return median(seen)
