"""What is found, held, and given up."""

import gc
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockrank_server.models.document_cache.document_cache import DocumentCache, Lease
from blockrank_server.models.document_cache.kept import PAGE_ROWS, Kept, NewDocument

PREFIX = b"prefix"


def new(name: int, num_rows: int = PAGE_ROWS, *, is_cut: bool = False) -> NewDocument:
    tokens = np.arange(num_rows, dtype=np.int32)
    return NewDocument(b"%d" % name, num_rows, tokens, (0, num_rows), is_cut)


def store(cache: DocumentCache, *documents: NewDocument) -> list[Kept]:
    """Keep documents, as far as there is room."""
    kept = [found for each in documents if (found := cache.reserve(each)) is not None]
    cache.commit(kept)
    return kept


def find(cache: DocumentCache, *names: int) -> Lease:
    return cache.find([PREFIX, *(b"%d" % name for name in names)])


def known(cache: DocumentCache, *names: int) -> list[bool]:
    return [kept is not None for kept in find(cache, *names).entries[1:]]


def used_pages(cache: DocumentCache) -> int:
    return cache.stats().used_bytes


def test_a_document_is_found_when_it_is_whole() -> None:
    cache = DocumentCache(10, 1)
    reserved = cache.reserve(new(1, 40))
    assert reserved is not None
    assert len(reserved.pages) == 3
    assert known(cache, 1) == [False]
    cache.commit([reserved])
    assert find(cache, 1).entries[1] is reserved


def test_what_fails_leaves_nothing() -> None:
    cache = DocumentCache(10, 1)
    reserved = cache.reserve(new(1, 40))
    assert reserved is not None
    cache.give_back([reserved])
    assert (used_pages(cache), known(cache, 1)) == (0, [False])


def test_a_document_computed_twice_is_kept_once() -> None:
    cache = DocumentCache(10, 1)
    twice = [cache.reserve(new(1, 40)) for _ in range(2)]
    assert twice[0] is not None
    assert twice[1] is not None
    assert not set(twice[0].pages) & set(twice[1].pages)
    cache.commit([twice[0]])
    cache.commit([twice[1]])
    assert (used_pages(cache), cache.stats().num_entries) == (3, 1)
    assert find(cache, 1).entries[1] is twice[0]
    assert cache.reserve(new(1, 40)) is None


def test_a_scan_washes_nothing_popular_out() -> None:
    cache = DocumentCache(10, 1)
    store(cache, *map(new, range(5)))
    assert all(known(cache, *range(5)))  # asked for again: protected
    for name in range(100, 200):
        store(cache, new(name))
    assert all(known(cache, *range(5)))
    assert cache.stats().evictions == 95


def test_what_is_asked_for_no_more_gives_way_in_the_end() -> None:
    cache = DocumentCache(10, 1)
    store(cache, *map(new, range(8)))
    known(cache, *range(8))
    for name in range(100, 140, 2):
        store(cache, new(name), new(name + 1))
        assert all(known(cache, name, name + 1))
    assert not any(known(cache, *range(8)))


def test_a_lease_holds_what_it_found_until_it_ends() -> None:
    cache = DocumentCache(4, 1)
    store(cache, *map(new, range(4)))
    lease = find(cache, 0, 1, 2)
    pages = np.concatenate([kept.pages for kept in lease.entries if kept is not None]).tolist()
    taken = store(cache, *map(new, range(10, 20)))
    assert not set(pages) & {int(page) for kept in taken for page in kept.pages}
    assert all(known(cache, 0, 1, 2))
    del lease
    gc.collect()
    assert store(cache, *map(new, range(30, 40)))


def test_nothing_is_evicted_for_a_document_that_finds_no_room() -> None:
    cache = DocumentCache(4, 1)
    store(cache, *map(new, range(4)))
    lease = find(cache, 0, 1)
    assert cache.reserve(new(9, 4 * PAGE_ROWS)) is None
    assert (cache.stats().evictions, cache.stats().num_entries) == (0, 4)
    assert lease.num_known_documents == 2


def test_a_renewed_lease_holds_what_was_kept_meanwhile() -> None:
    cache = DocumentCache(4, 1)
    lease = find(cache, 1, 2)
    store(cache, new(2, 20))
    lease.renew()
    assert [kept is not None for kept in lease.entries] == [False, False, True]
    assert lease.num_known_tokens == 20


def test_cut_documents_are_found_where_they_may_be() -> None:
    cache = DocumentCache(4, 1)
    store(cache, new(1, is_cut=True))
    assert cache.find([PREFIX, b"1"], accepts_cut=False).num_known_documents == 0
    assert cache.find([PREFIX, b"1"]).num_known_documents == 1


def test_ended_leases_do_not_pile_up_where_nothing_new_comes() -> None:
    cache = DocumentCache(4, 1)
    store(cache, new(1))
    for _ in range(50):
        find(cache, 1)
    assert len(cache._unpinned) <= 1


def test_hits_and_misses_are_those_of_documents() -> None:
    cache = DocumentCache(4, 1)
    store(cache, new(1), NewDocument(PREFIX, 3, np.arange(3, dtype=np.int32), (0, 0), False))
    find(cache, 1, 2, 3)
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.num_entries, stats.used_bytes) == (1, 2, 2, 2)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["store", "fail", "find", "drop"]),
            st.integers(0, 12),
            st.integers(0, 50),
        ),
        max_size=60,
    )
)
def test_no_page_is_anyones_twice_and_none_is_lost(steps: list[tuple[str, int, int]]) -> None:
    cache, leases = DocumentCache(12, 1), [find(DocumentCache(1, 1), 0)]
    for what, name, num_rows in steps:
        if what == "find":
            leases.append(find(cache, name, name + 1))
        elif what == "drop":
            del leases[: len(leases) // 2]
        elif (kept := cache.reserve(new(name, num_rows))) is not None:
            (cache.commit if what == "store" else cache.give_back)([kept])
        entries = {
            kept
            for lease in [*leases, find(cache, *range(13))]
            for kept in lease.entries
            if kept is not None
        }
        pages = [int(page) for kept in entries for page in kept.pages]
        assert len(pages) == len(set(pages)) == used_pages(cache) <= 12


def test_threads_find_while_one_stores() -> None:
    cache, faults = DocumentCache(30, 1), []

    def ask(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            names = rng.integers(0, 60, 5).tolist()
            lease = find(cache, *names)
            before = [None if kept is None else kept.pages.copy() for kept in lease.entries]
            lease.renew()
            for name, pages, kept in zip(names, before[1:], lease.entries[1:], strict=True):
                if kept is not None and kept.digest != b"%d" % name:
                    faults.append(name)
                if pages is not None and (kept is None or kept.pages.tolist() != pages.tolist()):
                    faults.append(name)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    rng = np.random.default_rng(9)
    while any(thread.is_alive() for thread in threads):
        store(cache, *(new(int(name), 20) for name in rng.integers(0, 60, 4)))
    for thread in threads:
        thread.join()
    assert not faults
    gc.collect()
    assert used_pages(cache) == 2 * cache.stats().num_entries


@pytest.mark.parametrize("num_rows", [0, 1, 16, 17])
def test_a_document_takes_whole_pages(num_rows: int) -> None:
    cache = DocumentCache(4, 1)
    assert [len(kept.pages) for kept in store(cache, new(1, num_rows))] == [-(-num_rows // 16)]
