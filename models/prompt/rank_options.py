"""Names the options that are the same wherever a list is ranked."""

from typing import TypedDict

from blockrank_server.models.prompt.document_parts import ExplainOption


class RankOptions(TypedDict, total=False):
    """Names what a list may be ranked with besides query and documents: see Ranker.encode."""

    summary: str
    instruction: str
    cache_salt: str


class ExplainOptions(RankOptions, total=False):
    """Adds how finely scores are explained."""

    explain: ExplainOption
