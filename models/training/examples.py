"""Makes batches of lists: chooses documents, encodes them by the card, packs them as served."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import Dataset

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.data.errors import DataError
from blockrank_server.models.data.training_list import TrainingList
from blockrank_server.models.engine.packing import PackedBatch, pack
from blockrank_server.models.errors import InputError
from blockrank_server.models.prompt.prompt_encoder import PromptEncoder
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.prompt.tokenizer import TextTokenizer, TokenIds
from blockrank_server.models.training.data_config import Data, Draw
from blockrank_server.models.training.list_table import ListTable
from blockrank_server.models.training.sampling import ListOrder, as_typed, choose_documents


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """Holds one list as it is trained on.

    Attributes:
        where: the file and line that the list came from.
        source: the name of the source, which metrics are reported by.
        doc_ids: stand in the order shown.
        relevance: one number for each document.
        positive: says of each document whether it counts as relevant.
        teacher: one score for each document, or None.
        request: what is packed; the tokens of an answer end its tail.
        num_answer_tokens: 0 without an answer.
        tail_stride: takes the place of the card's in a forward pass that the list is the first of.
    """

    where: str
    source: str
    query_id: str
    doc_ids: tuple[str, ...]
    relevance: tuple[int, ...]
    positive: tuple[bool, ...]
    teacher: tuple[float, ...] | None
    request: EncodedRequest
    num_answer_tokens: int
    tail_stride: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Holds the examples of one forward pass, on one token axis."""

    examples: tuple[Example, ...]
    packed: PackedBatch


@dataclass(frozen=True, slots=True)
class AnswerText:
    """Says what the tail is to be followed by, where the next token is trained.

    Attributes:
        text: its {numbers} stands for the relevant documents' numbers.
        first_number: the number that the first document bears.
        end: the control token that follows the text, or None.
    """

    tokenizer: TextTokenizer
    text: str
    first_number: int
    end: str | None

    def token_ids(self, positive: Sequence[bool]) -> TokenIds:
        """Return the ids of the answer that names the positives in the order shown."""
        numbers = [str(self.first_number + i) for i, is_one in enumerate(positive) if is_one]
        text = self.text.replace("{numbers}", ", ".join(numbers))
        ids = list(self.tokenizer.encode(text).ids)
        if self.end is not None:
            ids.append(self.tokenizer.control_id(self.end))
        return np.array(ids, np.int32)


@dataclass(frozen=True, slots=True)
class ExampleMaker:
    """Makes an example of a list.

    Attributes:
        data: says which documents of a list to choose, and where to cut them.
        answer: what the tail is followed by, or None.
    """

    prompt: PromptEncoder
    data: Data
    answer: AnswerText | None = None

    def make(self, found: TrainingList, source: str, draw: Draw, rng: random.Random) -> Example:
        """Choose, shuffle and encode.

        Args:
            source: the name of the source, for the metrics.
            draw: says how the list's documents are drawn.

        Raises:
            DataError: the checkpoint has too few positions for the list.
        """
        chosen = choose_documents(found, draw, rng)
        query = found.query
        if self.data.typed_queries and rng.random() < self.data.typed_queries:
            query = as_typed(query)
        documents = [{"title": found.titles[i], "text": found.texts[i]} for i in chosen]
        try:
            request = self.prompt.encode(
                query,
                documents,
                max_document_tokens=self.data.max_document_tokens,
                max_query_tokens=self.data.max_query_tokens,
            )
        except InputError as error:
            raise DataError([f"{found.where}: {error}"]) from error
        positive = tuple(found.relevance[i] >= self.data.min_relevance for i in chosen)
        answer = self.answer.token_ids(positive) if self.answer else np.empty(0, np.int32)
        return Example(
            where=found.where,
            source=source,
            query_id=found.query_id,
            doc_ids=tuple(found.doc_ids[i] for i in chosen),
            relevance=tuple(found.relevance[i] for i in chosen),
            positive=positive,
            teacher=tuple(found.teacher[i] for i in chosen) if found.teacher else None,
            request=with_answer(request, answer),
            num_answer_tokens=len(answer),
        )


class TrainingExamples(Dataset[Example]):
    """Gives all examples of a run in order, each made when it is asked for.

    Args:
        tables: one for each source.
        draws: one for each table.
        rows: names the lists of each table to train on.
        order: says which list stands at which position of the run.
        seed: decides with the position what is drawn of a list.
        num_examples: counts those of the whole run.
    """

    def __init__(
        self,
        tables: Sequence[ListTable],
        draws: Sequence[Draw],
        rows: Sequence[Sequence[int]],
        order: ListOrder,
        maker: ExampleMaker,
        *,
        seed: int,
        num_examples: int,
    ) -> None:
        self._tables = tables
        self._draws = draws
        self._rows = rows
        self._order = order
        self._maker = maker
        self._seed = seed
        self._num_examples = num_examples

    def __len__(self) -> int:
        return self._num_examples

    def __getitem__(self, position: int) -> Example:
        source, place = self._order.at(position)
        table = self._tables[source]
        rng = random.Random(f"{self._seed} example {position}")
        found = table[self._rows[source][place]]
        example = self._maker.make(found, table.name, self._draws[source], rng)
        if strides := self._maker.data.tail_strides:
            rng = random.Random(f"{self._seed} stride {position}")
            example = replace(example, tail_stride=rng.choice(strides))
        return example


class HeldOutExamples(Dataset[Example]):
    """Gives the validation examples, the same each time.

    Args:
        tables: one for each source.
        draws: one for each table.
        rows: names the lists of each table that are held out.
        seed: decides with the position what is drawn of a list.
    """

    def __init__(
        self,
        tables: Sequence[ListTable],
        draws: Sequence[Draw],
        rows: Sequence[Sequence[int]],
        maker: ExampleMaker,
        *,
        seed: int,
    ) -> None:
        self._places = [
            (table, draw, row)
            for table, draw, kept in zip(tables, draws, rows, strict=True)
            for row in kept
        ]
        self._maker = maker
        self._seed = seed

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, position: int) -> Example:
        table, draw, row = self._places[position]
        rng = random.Random(f"{self._seed} held out {position}")
        return self._maker.make(table[row], table.name, draw, rng)


@dataclass(frozen=True, slots=True)
class Collator:
    """Packs examples as the engine serves them."""

    card: Card

    def __call__(self, examples: Sequence[Example]) -> dict[str, Batch]:
        """Return the keyword arguments of the model's forward pass."""
        card = self.card
        if (stride := examples[0].tail_stride) is not None:
            card = card.model_copy(update={"tail_stride": stride})
        packed = pack([example.request for example in examples], card)
        return {"batch": Batch(tuple(examples), packed)}


def with_answer(request: EncodedRequest, answer: TokenIds) -> EncodedRequest:
    """Return the request with tokens added to its tail; what is read and scored stays the same."""
    start = int(request.position_ids[-1]) + 1
    positions = np.arange(start, start + len(answer), dtype=np.int32)
    return replace(
        request,
        token_ids=np.concatenate([request.token_ids, answer]),
        position_ids=np.concatenate([request.position_ids, positions]),
    )
