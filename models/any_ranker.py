"""Names what can be opened and served: a ranker of whichever kind of card."""

from blockrank_server.models.ranker import Ranker
from blockrank_server.models.reasoning_ranker import ReasoningRanker
from blockrank_server.models.remote_ranker import RemoteRanker

AnyRanker = Ranker | ReasoningRanker | RemoteRanker
