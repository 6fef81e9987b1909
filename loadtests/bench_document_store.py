"""Measures the first request after a restart whose documents are on disk, against a cold one.

    python loadtests/bench_document_store.py          (nothing else may run)

A server computes lists of documents that are new to it, and ends. The next one with the same folder
is asked the same with other queries; times are the client's. "page cache" says whether the files
were still in the system's memory, or had been thrown out of it.
"""

import os
import tempfile
from pathlib import Path
from statistics import median

import httpx

from bench_document_reuse import Row, arguments, ask, marked, titled
from bench_single_request import HERE, server, write
from blockrank_server.models.data.shortlists import read_shortlists


def times_ms(client: httpx.Client, num_documents: int, repeats: int, known: int) -> list[float]:
    """Ask for each of some lists once, of which so many documents must be known."""
    lists = read_shortlists(HERE / "data", "squad-sample")
    found = []
    for turn in range(repeats):
        documents = marked(lists[turn].first(num_documents).documents, str(turn))
        query = lists[(turn + 1 + bool(known)) % len(lists)].query
        took_ms, told = ask(client, query, documents)
        if told != f"{known}/{num_documents}":
            raise SystemExit(f"{told} documents were known, {known} expected")
        found.append(took_ms)
    return found


def forget_pages(folder: Path) -> None:
    """Have the system read these files from the disk the next time."""
    os.sync()
    for path in folder.glob("*/*/*"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measure(dtype: str, num_documents: int, repeats: int) -> Row:
    """Measure one line of the table, in milliseconds."""
    with tempfile.TemporaryDirectory() as temporary:
        store = Path(temporary) / "store"
        options = {"DOCUMENT_CACHE_BYTES": "auto", "DTYPE": dtype, "DOCUMENT_STORE": str(store)}
        with server(**options) as client:
            cold = times_ms(client, num_documents, repeats, 0)
        with server(**options) as client:
            warm = times_ms(client, num_documents, repeats, num_documents)
            memory = times_ms(client, num_documents, repeats, num_documents)
        forget_pages(store)
        with server(**options) as client:
            disk = times_ms(client, num_documents, repeats, num_documents)
        num_bytes = sum(path.stat().st_size for path in store.glob("*/*/*"))
    return {
        "dtype": dtype,
        "documents": num_documents,
        "megabytes": num_bytes / repeats / 1e6,
        "cold": median(cold),
        "first_in_page_cache": warm[0],
        "in_page_cache": median(warm),
        "first_on_disk": disk[0],
        "on_disk": median(disk),
        "in_memory": median(memory),
        "ratio": median(cold) / warm[0],
    }


def report(rows: list[Row], title: str) -> str:
    """Write Markdown."""
    lines = [
        f"# {title}\n",
        "| dtype | documents | MB | cold, ms | first after a restart, ms | all after a restart, ms "
        "| first, page cache empty, ms | all, page cache empty, ms | in memory, ms "
        "| cold / first |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['dtype']} | {r['documents']} | {r['megabytes']:.0f} | {r['cold']:.0f} "
        f"| {r['first_in_page_cache']:.0f} | {r['in_page_cache']:.0f} | {r['first_on_disk']:.0f} "
        f"| {r['on_disk']:.0f} | {r['in_memory']:.0f} | {r['ratio']:.0f} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    args = arguments(__doc__.splitlines()[0])
    rows = [measure(dtype, n, args.repeats) for dtype in args.dtypes for n in args.documents]
    title = titled("after a restart with documents on disk")
    write(args.out, "document_store_cpu", report(rows, title), {"title": title, "rows": rows})


if __name__ == "__main__":
    main()
