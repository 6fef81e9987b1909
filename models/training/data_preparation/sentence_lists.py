"""Write training lists again with sentences in place of passages.

    python -m blockrank_server.models.training.data_preparation.sentence_lists FOLDER/NAME OUT

It reads NAME.lists.jsonl.gz and NAME.passages.jsonl.gz and writes the set OUT/NAME-sentences, which
`blockrank-server group-lists` takes. Every passage becomes its sentences, each a document with the
passage's title. All sentences of a relevant passage are answers: the contrastive loss then asks for
any of them, and a teacher's scores say which.
"""

import argparse
import re
from pathlib import Path

from blockrank_server.models.data.shortlists import documents_by_id, read_shortlists, write_rows

# White space after a sentence's end and before what may begin another.
_BOUNDARY = re.compile(r"(?<=[.!?])\s+(?=[\"'(\[]?[A-Z0-9])")
_LEAST_CHARACTERS = 40  # of a sentence; with a shorter one beside it, two stay together


def sentences(text: str) -> list[str]:
    """Split a text into its sentences; nothing is left out, and "J. R. Smith" is not split."""
    found: list[str] = []
    for part in _BOUNDARY.split(text.strip()):
        if found and min(len(part), len(found[-1])) < _LEAST_CHARACTERS:
            found[-1] = f"{found[-1]} {part}"
        else:
            found.append(part)
    return found


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path, help="FOLDER/NAME of NAME.lists.jsonl.gz and its fellows")
    parser.add_argument("out", type=Path, help="folder for NAME-sentences")
    args = parser.parse_args()
    lists = read_shortlists(args.set.parent, args.set.name)
    parts = {
        doc_id: {
            f"{doc_id}-{i}": {"title": document["title"], "text": text}
            for i, text in enumerate(sentences(document["text"]))
        }
        for doc_id, document in documents_by_id(lists).items()
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{args.set.name}-sentences"
    write_rows(
        path,
        ".passages",
        ({"doc_id": i, **part} for found in parts.values() for i, part in found.items()),
    )
    write_rows(
        path,
        ".lists",
        (
            {
                "query_id": x.query_id,
                "query": x.query,
                "doc_ids": [i for doc_id in x.doc_ids for i in parts[doc_id]],
                "answer_ids": [i for doc_id in x.answer_ids for i in parts[doc_id]],
            }
            for x in lists
        ),
    )
    print(f"{path}: {len(lists)} lists, {sum(map(len, parts.values()))} sentences")


if __name__ == "__main__":
    main()
