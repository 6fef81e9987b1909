"""Keeps a teacher's vectors on disk, so that texts are encoded once over several programs."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from blockrank_server.models.files.output_file import replacing

_TEXTS_AT_ONCE = 4096  # between two savings


class TeacherVectors:
    """Encodes texts, each once.

    Args:
        encoder: its vectors are scaled to length 1.
        file: keeps the vectors, by the text's hash; it belongs to this one encoder.
    """

    def __init__(self, encoder: SentenceTransformer, file: Path) -> None:
        self._encoder = encoder
        self._file = file
        self._vectors: dict[bytes, NDArray[np.float16]] = {}
        if file.exists():
            with np.load(file) as saved:
                self._vectors = dict(zip(map(bytes, saved["keys"]), saved["vectors"], strict=True))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return [texts, dimensions] vectors of length 1."""
        keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
        missing = {
            key: text for key, text in zip(keys, texts, strict=True) if key not in self._vectors
        }
        # The longest first, as the library does: little padding, and the time left is no surprise.
        todo = sorted(missing, key=lambda key: -len(missing[key]))
        for start in range(0, len(todo), _TEXTS_AT_ONCE):
            part = todo[start : start + _TEXTS_AT_ONCE]
            found = self._encoder.encode(
                [missing[key] for key in part], normalize_embeddings=True, batch_size=64
            )
            self._vectors |= zip(part, found.astype(np.float16), strict=True)
            self._save()
            print(f"{self._file}: {start + len(part)} of {len(todo)} texts encoded", flush=True)
        return np.stack([self._vectors[key] for key in keys]).astype(np.float32)

    def _save(self) -> None:
        keys = np.frombuffer(b"".join(self._vectors), np.uint8).reshape(-1, 16)
        with replacing(self._file) as scratch, scratch.open("wb") as file:
            np.savez(file, keys=keys, vectors=np.stack(list(self._vectors.values())))
