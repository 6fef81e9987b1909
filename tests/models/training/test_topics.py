"""Groups of lists that share their documents."""

from collections import Counter

from blockrank_server.models.training.topics import TopicGroup, group_by_topic

# Two topics: lists of one hold the answers of its others, and none of the other topic's.
TOPICS = ("cat", "tax")
LISTS = [(topic, i) for i in range(6) for topic in TOPICS]
ANSWERS = [[f"{topic}{i}"] for topic, i in LISTS]
DOC_IDS = [[f"{topic}{(i + j) % 6}" for j in range(6)] for topic, i in LISTS]
WORDS = {f"{topic}{i}": 10 for topic in TOPICS for i in range(6)}


def groups(
    lists_per_group: int = 3, max_documents: int = 5, max_words: int = 1000, seed: int = 1
) -> list[TopicGroup]:
    return group_by_topic(
        ANSWERS,
        DOC_IDS,
        WORDS,
        lists_per_group=lists_per_group,
        max_documents=max_documents,
        max_words=max_words,
        seed=seed,
    )


def test_a_group_is_of_one_topic_and_holds_every_answer_of_its_lists() -> None:
    for group in groups():
        assert len({LISTS[i][0] for i in group.lists}) == 1
        assert {ANSWERS[i][0] for i in group.lists} <= set(group.doc_ids)
        assert len(set(group.doc_ids)) == len(group.doc_ids)


def test_every_list_stands_in_one_group() -> None:
    used = Counter(i for group in groups() for i in group.lists)
    assert used == Counter(range(len(LISTS)))


def test_lists_that_fill_no_group_are_left_over() -> None:
    assert [len(group.lists) for group in groups(lists_per_group=5)] == [5, 5]


def test_documents_keep_to_number_and_words_but_for_the_answers() -> None:
    assert {len(group.doc_ids) for group in groups()} == {5}
    assert {len(group.doc_ids) for group in groups(max_words=45)} == {4}
    assert {len(group.doc_ids) for group in groups(max_documents=1, max_words=1)} == {3}


def test_few_lists_of_one_answer_stand_together() -> None:
    found = group_by_topic(
        [["a"]] * 20,
        [["a", "b"]] * 20,
        {"a": 1, "b": 1},
        lists_per_group=5,
        max_documents=5,
        max_words=9,
        seed=1,
    )
    # Nothing else is left to take: the rule gives way, no list is lost.
    assert sorted(i for group in found for i in group.lists) == list(range(20))
    mixed = group_by_topic(
        [["a"]] * 10 + [["b"]] * 10,
        [["a", "b"]] * 20,
        {"a": 1, "b": 1},
        lists_per_group=8,
        max_documents=5,
        max_words=9,
        seed=1,
    )
    first = Counter(i < 10 for i in mixed[0].lists)
    assert first == {True: 4, False: 4}


def test_the_seed_decides() -> None:
    assert groups() == groups()
    assert groups() != groups(seed=2)
