"""The card of rank1, and its golden cases (tests/fixtures/README.md)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.checkpoint.card import BUILT_IN
from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard
from blockrank_server.models.prompt.tokenizer import TextTokenizer

_LIMITS = {"max_documents": 100, "max_document_tokens": 60, "max_query_tokens": 30}
# Of the tiny checkpoint's tokenizer.
END_OF_TEXT = 0

CaseCard = Callable[..., ReasoningCard]


@pytest.fixture
def rank1_fields() -> dict[str, Any]:
    """The built-in card of rank1-7b, with limits that the tiny checkpoint has room for."""
    fields: dict[str, Any] = json.loads((BUILT_IN / "jhu-clsp--rank1-7b.json").read_text())
    fields["chain"] |= {"max_tokens": 24, "max_context": 1024}
    return fields | {"limits": dict(_LIMITS)}


@pytest.fixture
def case_card(rank1_fields: dict[str, Any]) -> CaseCard:
    """Make the card that a golden case is for."""

    def make(case: dict[str, Any]) -> ReasoningCard:
        fields = rank1_fields
        fields["chain"] |= {
            "max_tokens": case["max_new_tokens"],
            "max_context": case["max_context"],
        }
        if case["max_context"] < 200:
            fields["limits"] |= {"max_document_tokens": 24, "max_query_tokens": 12}
        if template := case.get("query_template"):
            fields["prompt"] |= {
                "query_templates": {"case": template.replace("FILL_QUERY_HERE", "{query}")},
                "query_template": "case",
            }
        return ReasoningCard.model_validate(fields)

    return make


@pytest.fixture
def rank1_tokenizer(fixtures: Path) -> TextTokenizer:
    return TextTokenizer(fixtures / "rank1" / "tokenizer.json")
