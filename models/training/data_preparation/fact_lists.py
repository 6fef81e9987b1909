"""Makes groups of look-alike facts of one sentence, and the queries that tell them apart.

    python -m blockrank_server.models.training.data_preparation.fact_lists SET... --out OUT

relations.yaml says what is asked. Names come out of the passages of the training sets
(FOLDER/NAME). A group holds a few names of one kind in a few relations, each as a sentence; each
of its lists asks for one name in one relation, of all the group's sentences. OUT/facts is a set as
`train` takes it, whose groups are data.lists_together lists.
"""

import argparse
import calendar
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from blockrank_server.models.data.shortlists import documents_by_id, read_shortlists
from blockrank_server.models.training.data_preparation.document_groups import (
    Group,
    Ranked,
    write_groups,
)

_PLACE = re.compile(r"\bin ((?:New |South |North |West |East |San |Saint )?[A-Z][a-z]{3,})\b")
_PERSON = re.compile(r"\b(?:by|and|with|was|to) ([A-Z][a-z]{2,} (?:[A-Z]\. )?[A-Z][a-z]{3,})\b")
_WORK = re.compile(r"\b[A-Z][a-z]+(?: (?:of|the|and|in|to) (?:the )?[A-Z][a-z]+)+\b")
_NO_PLACE = frozenset([*calendar.month_name, "Spring", "Summer", "Autumn", "Winter", "Chapter"])


@dataclass(frozen=True, slots=True)
class Relation:
    """Holds the wordings of one relation.

    Attributes:
        ask: PLACE, PERSON or WORK: what the query names.
        queries: wordings of the question.
        documents: sentences that answer it.
    """

    ask: str
    queries: tuple[str, ...]
    documents: tuple[str, ...]


def read_relations() -> list[Relation]:
    """Read relations.yaml, which stands beside this file."""
    text = Path(__file__).with_name("relations.yaml").read_text("utf-8")
    return [
        Relation(row["ask"], tuple(row["queries"]), tuple(row["documents"]))
        for row in YAML(typ="safe").load(text)
    ]


def find_names(texts: Iterable[str]) -> dict[str, list[str]]:
    """Find places, persons and titles of works in running text, by the words around them."""
    found: dict[str, Counter[str]] = {"PLACE": Counter(), "PERSON": Counter(), "WORK": Counter()}
    for text in texts:
        found["PLACE"].update(set(_PLACE.findall(text)) - _NO_PLACE)
        found["PERSON"].update(set(_PERSON.findall(text)))
        found["WORK"].update(set(_WORK.findall(text)))
    least = {"PLACE": 3, "PERSON": 1, "WORK": 2}
    return {
        kind: sorted(name for name, n in names.items() if n >= least[kind])
        for kind, names in found.items()
    }


class FactGroups:
    """Draws groups of facts and the lists that ask about them.

    Args:
        relations: of which a group takes four, all of one kind of name.
        names: lists the names of each kind.
        rng: draws.
    """

    def __init__(
        self, relations: Sequence[Relation], names: dict[str, list[str]], rng: random.Random
    ) -> None:
        self._names = names
        self._rng = rng
        self._by_kind = {
            kind: [relation for relation in relations if relation.ask == kind] for kind in names
        }

    def draw(self, num_lists: int) -> tuple[list[str], list[tuple[str, list[int]]]]:
        """Draw the documents of a group, and its lists as (query, documents).

        Four names stand in four relations. A list's answer stands first, then the same relation
        with another name and the same name in another relation, then neither.
        """
        rng = self._rng
        kind = rng.choice(["PLACE", "PLACE", "PERSON", "WORK"])
        names = rng.sample(self._names[kind], 4)
        relations = rng.sample(self._by_kind[kind], 4)
        pairs = [(name, relation) for name in names for relation in relations]
        rng.shuffle(pairs)
        documents = [self._fill(rng.choice(r.documents), kind, name) for name, r in pairs]
        asked = rng.sample(range(len(pairs)), num_lists)
        lists = []
        for i in asked:
            query = rng.choice(pairs[i][1].queries).replace(kind, pairs[i][0])
            lists.append((query, _by_likeness(pairs, i)))
        return documents, lists

    def _fill(self, wording: str, kind: str, name: str) -> str:
        """Write a document: the name asked for, and random ones for all others."""
        wording = wording.replace(f"OTHER_{kind}", "\0").replace(kind, name)
        wording = wording.replace("\0", self._rng.choice(self._names[kind]))
        wording = re.sub(
            "(?:OTHER_)?(PLACE|PERSON|WORK)", lambda found: self._name(found[1]), wording
        )
        wording = re.sub(
            "NUMBER", lambda _: f"{self._rng.randint(2, 9) * self._rng.randint(9, 999):,}", wording
        )
        return re.sub("YEAR", lambda _: str(self._rng.randint(1480, 2019)), wording)

    def _name(self, kind: str) -> str:
        return self._rng.choice(self._names[kind])


def _by_likeness(pairs: Sequence[tuple[str, Relation]], i: int) -> list[int]:
    """Put what has a pair's name and relation first, then what has one of them, then the others."""
    name, relation = pairs[i]
    likeness = [(name == other[0]) + (relation == other[1]) for other in pairs]
    return sorted(range(len(pairs)), key=lambda k: -likeness[k])


def _group(documents: list[str], lists: Sequence[tuple[str, list[int]]]) -> Group:
    ranked = [
        (query, [Ranked(document, document == order[0]) for document in order])
        for query, order in lists
    ]
    return Group(documents, ranked)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path, nargs="+", help="FOLDER/NAME of sets to take names from")
    parser.add_argument("--out", type=Path, required=True, help="folder for the set facts")
    parser.add_argument("--groups", type=int, default=400)
    parser.add_argument("--lists", type=int, default=12, help="lists of a group, 16 at most")
    parser.add_argument("--held-out", type=int, default=10, help="groups of facts-held-out")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    texts = (
        document["text"]
        for path in args.sets
        for document in documents_by_id(read_shortlists(path.parent, path.name)).values()
    )
    groups = FactGroups(read_relations(), find_names(texts), random.Random(args.seed))
    args.out.mkdir(parents=True, exist_ok=True)
    for name, num_groups in (("facts-held-out", args.held_out), ("facts", args.groups)):
        drawn = [_group(*groups.draw(args.lists)) for _ in range(num_groups)]
        write_groups(args.out / name, drawn)


if __name__ == "__main__":
    main()
