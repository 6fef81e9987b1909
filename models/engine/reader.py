"""Names what reads scores off a batch on its way through the decoder."""

from blockrank_server.models.engine.attention_reader import AttentionReader
from blockrank_server.models.engine.verdict_reader import VerdictReader

Reader = AttentionReader | VerdictReader
