"""Decides which callers may learn of one another's documents that they are known."""

from blockrank_server.service.middleware.request_record import RequestRecord


def document_salt(record: RequestRecord, cache_salt: str) -> str:
    """Join the salt of a caller's API key, where keys salt, and the one its request gives.

    No two pairs give the same salt, because a digest has no colon in it.
    """
    parts = record.key_salt, cache_salt
    return ":".join(parts) if any(parts) else ""
