"""Groups of look-alike facts."""

import random
import re

from blockrank_server.models.training.data_preparation.fact_lists import (
    FactGroups,
    find_names,
    read_relations,
)

NAMES = {
    "PLACE": ["Malta", "Peru", "Chad", "Laos", "Oman"],
    "PERSON": ["Ann Lee", "Bo Berg", "Cy Dorn", "Di Egan", "Ed Fox"],
    "WORK": ["The Sea", "Old Wood", "Red Moon", "A Song", "Two Men"],
}


def test_every_wording_names_what_is_asked_and_no_unknown_word() -> None:
    relations = read_relations()
    assert len(relations) > 30
    for relation in relations:
        for wording in (*relation.queries, *relation.documents):
            assert relation.ask in wording
            capitals = set(re.findall(r"\b[A-Z_]{4,}\b", wording))
            assert capitals <= {"PLACE", "PERSON", "WORK", "NUMBER", "YEAR"} | {
                f"OTHER_{kind}" for kind in NAMES
            }


def test_a_list_asks_for_one_name_in_one_relation() -> None:
    groups = FactGroups(read_relations(), NAMES, random.Random(3))
    for _ in range(50):
        documents, lists = groups.draw(12)
        assert len(documents) == 16
        assert len({order[0] for _, order in lists}) == len(lists) == 12
        for query, order in lists:
            assert sorted(order) == list(range(16))
            named = [name for names in NAMES.values() for name in names if name in query]
            assert named
            assert any(name in documents[order[0]] for name in named)
        assert not re.search(r"PLACE|PERSON|WORK|NUMBER|YEAR", " ".join(documents))


def test_names_are_known_by_the_words_around_them() -> None:
    text = "In 1900 they met in Malta, painted by Anna Berg. House of the Sun was shown in March."
    found = find_names([text, "in Malta. House of the Sun", "in Malta"])
    assert found == {"PLACE": ["Malta"], "PERSON": ["Anna Berg"], "WORK": ["House of the Sun"]}
