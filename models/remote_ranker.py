"""Ranks documents by a checkpoint of reasoning whose chains a server of completions writes."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from blockrank_server.models.checkpoint.reasoning_card import check_settings
from blockrank_server.models.checkpoint.tokens_only import TokensOnly, find_tokens
from blockrank_server.models.engine.host_memory import process_and_machine_bytes
from blockrank_server.models.engine.ranker_info import RankerInfo
from blockrank_server.models.files.paths import expand_user
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.prompt.tokenizer import TextTokenizer
from blockrank_server.models.reasoning.chain_pace import ChainPace
from blockrank_server.models.reasoning.chain_rules import ChainRules
from blockrank_server.models.reasoning.pair_encoder import PairEncoder
from blockrank_server.models.reasoning_ranker import ReasoningRanker, chains_of
from blockrank_server.models.remote.client import CompletionsClient
from blockrank_server.models.remote.engine_settings import EngineSettings
from blockrank_server.models.remote.handshake import Agreement, agree, wait_for
from blockrank_server.models.remote.loop_thread import LoopThread
from blockrank_server.models.remote.pending_chains import PendingChains
from blockrank_server.models.remote.remote_engine import RemoteEngine


class RemoteRanker(ReasoningRanker):
    """Does as ReasoningRanker does; batches are written at once. RemoteRanker.connect makes one.

    The weights are elsewhere, and torch is not needed here.
    """

    _engine: RemoteEngine

    @classmethod
    def connect(  # noqa: PLR0913 - one name for each thing an operator can set
        cls,
        path_or_name: str | Path,
        engine: EngineSettings,
        *,
        card: str | Path | None = None,
        adapter: str | Path | None = None,
        revision: str | None = None,
        offline: bool = False,
        cache_dir: str | Path | None = None,
        quantization: str = "auto",
        document_cache_bytes: int | str = 0,
        on_wait: Callable[[str], None] | None = None,
    ) -> Self:
        """Read card and tokenizer, and compare them with what a server says of its model.

        Args:
            path_or_name: of the checkpoint, whose weights are not fetched; further arguments are
                those of ReasoningRanker.open.
            on_wait: has a server waited for that is out of reach or not ready yet, and is told why;
                None waits for none.

        Raises:
            CardError, CheckpointError: as ReasoningRanker.open.
            EngineError: the server does not fit; in one sentence.
            EngineUnavailableError: it is out of reach, and not to be waited for.
        """
        started = time.perf_counter()
        check_settings(
            adapter=adapter, quantization=quantization, document_cache_bytes=document_cache_bytes
        )
        found = find_tokens(
            str(path_or_name),
            card=card,
            revision=revision,
            offline=offline,
            cache_dir=expand_user(cache_dir) if cache_dir else None,
        )
        tokenizer = TextTokenizer(found.folder / "tokenizer.json")
        encoder = PairEncoder(found.card, tokenizer, found.max_positions)
        rules = ChainRules.of(found.card, tokenizer, found.ends_of_text)
        pace = ChainPace()
        loop = LoopThread("engine")
        try:
            remote, agreed = loop.start(
                _connect(loop, engine, tokenizer, encoder, rules, pace, on_wait)
            ).result()
        except BaseException:
            loop.close()
            raise
        info = _info(found, agreed, time.perf_counter() - started)
        return cls(encoder, rules, remote, pace, info, process_and_machine_bytes)

    @property
    def fault(self) -> str | None:
        """Say why nothing can be ranked at present; None while it can."""
        return self._engine.fault

    @property
    def has_room(self) -> bool:
        """Say whether a request that comes now need not wait for others."""
        return self._engine.has_room

    def start(
        self, batch: Sequence[EncodedRequest], between_steps: Callable[[], None] | None = None
    ) -> PendingChains:
        """Begin to bring the chains of a batch to their scores, beside those of other batches.

        Args:
            between_steps: is not called: callers are asked whether they wait.
        """
        del between_steps
        requests, rows = chains_of(batch, self._rules)
        chains = [each for row in rows for each in row]
        return PendingChains(requests, rows, self._engine.start(chains))

    def close(self) -> None:
        """End all streams."""
        self._engine.close()


async def _connect(
    loop: LoopThread,
    settings: EngineSettings,
    tokenizer: TextTokenizer,
    encoder: PairEncoder,
    rules: ChainRules,
    pace: ChainPace,
    on_wait: Callable[[str], None] | None,
) -> tuple[RemoteEngine, Agreement]:
    client = CompletionsClient(settings.url, settings.api_key)
    try:
        if on_wait is not None:
            await wait_for(client, on_wait)
        [prompt_ids] = encoder.encode("a query", ["a document"]).prompts()
        agreed = await agree(client, settings.model, tokenizer, rules, prompt_ids)
    except BaseException:
        await client.close()
        raise
    remote = RemoteEngine(loop, client, agreed, pace, tokenizer.num_tokens, settings.max_streams)
    return remote, agreed


def _info(found: TokensOnly, agreed: Agreement, seconds: float) -> RankerInfo:
    return RankerInfo(
        name=found.card.name,
        revision=found.revision,
        device="remote",
        dtype="remote",
        attention="remote",
        num_layers_kept=found.num_layers,
        num_layers=found.num_layers,
        load_seconds=seconds,
        weight_bytes=0,
        max_batch_tokens=None,
        quantization="remote",
        engine="remote",
        readings=agreed.readings,
    )
