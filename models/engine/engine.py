"""Runs the forward pass of a batch: encoded requests in, raw scores out. Owned by one thread."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blockrank_server.kernels.backend import Backend
from blockrank_server.kernels.upload import upload
from blockrank_server.models.checkpoint.any_card import PackedCard
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.engine.attention_reader import AttentionReader
from blockrank_server.models.engine.batch_rows import BatchRows
from blockrank_server.models.engine.cuda_graphs import Capture
from blockrank_server.models.engine.document_memory import DocumentMemory
from blockrank_server.models.engine.fused_network import FusedNetwork
from blockrank_server.models.engine.graph_capture import capture_graphs
from blockrank_server.models.engine.network import Network
from blockrank_server.models.engine.packing import PackedBatch, pack
from blockrank_server.models.engine.pending_scores import LaunchedPass, PendingScores
from blockrank_server.models.engine.reader import Reader
from blockrank_server.models.engine.verdict_reader import VerdictReader
from blockrank_server.models.errors import DeviceLostError, DeviceMemoryError
from blockrank_server.models.prompt.request import EncodedRequest


class Engine:
    """Scores batches on one device.

    Args:
        network: has its weights on the device; in training it may be a whole decoder, called alike.
        card: must be of the same checkpoint.
        device: must be that of the network.
        backend: computes block attention and what is read of it.
        memory: keeps the keys and values of documents; None keeps nothing.
        capture: makes the graphs that capture_graphs asks for, of a FusedNetwork; None makes none.
    """

    def __init__(
        self,
        network: Network,
        card: PackedCard,
        device: torch.device,
        backend: Backend,
        memory: DocumentMemory | None = None,
        capture: Capture | None = None,
    ) -> None:
        self._network = network
        self._capture = capture
        self._card = card
        self._device = device
        self._backend = backend
        self._memory = memory

    @property
    def document_memory(self) -> DocumentMemory | None:
        """Return what keeps documents, if any are kept."""
        return self._memory

    @property
    def num_layers(self) -> int:
        """Count the layers of the whole checkpoint."""
        return self._network.num_layers

    @property
    def num_layers_kept(self) -> int:
        """Count the layers in memory, the last of them in part where attention is read."""
        return len(self._network.layers)

    @property
    def max_score(self) -> float:
        """Return the largest score a document can have."""
        if not isinstance(self._card, Card) or self._card.reduce_heads == "mean":
            return 1.0
        return float(self._card.num_read_heads(self._network.config.num_attention_heads))

    def capture_graphs(self) -> bool:
        """Capture the graphs of small batches, if there are to be any; until then none runs as one.

        Raises:
            CheckpointError: they could not be captured.
        """
        if self._capture is None:
            return False
        assert isinstance(self._network, FusedNetwork)
        with self._on_device():
            capture_graphs(self._network, self._capture)
        return True

    def score(self, requests: Sequence[EncodedRequest]) -> list[list[float]]:
        """Return the raw score of every document of every request, in input order, by one pass.

        Raises:
            DeviceMemoryError: neither the batch nor its halves fit the device.
        """
        return self.start(requests).result()

    def start(
        self,
        requests: Sequence[EncodedRequest],
        between_steps: Callable[[], None] | None = None,
    ) -> PendingScores:
        """Pack a batch and launch its forward pass; the result is waited for elsewhere.

        On CUDA this returns while the device works, so that the next batch can be packed and
        started meanwhile; batches run in the order they are started. A batch that does not fit the
        device's memory is split once, into halves.

        Args:
            requests: holds at least one.
            between_steps: called on this thread after every step, a few in each layer; may start
                other batches, which then preempt this one. What it raises ends the pass there.

        Raises:
            DeviceLostError: the device failed, now or in a batch before.
            DeviceMemoryError: neither the batch nor its halves fit the device.
        """
        if (launched := self._try_launch(requests, between_steps)) is not None:
            return PendingScores([launched])
        passes = []
        for half in _halves(requests):
            torch.cuda.empty_cache()  # the halves need blocks of other sizes
            if (launched := self._try_launch(half, between_steps)) is None:
                break
            passes.append(launched)
        else:
            if passes:
                return PendingScores(passes)
        torch.cuda.empty_cache()
        num_tokens = sum(request.num_tokens for request in requests)
        raise DeviceMemoryError(
            f"{len(requests)} requests with {num_tokens} tokens do not fit the memory of "
            f"{self._device}"
        )

    def forward(
        self, batch: PackedBatch, between_steps: Callable[[], None] | None = None
    ) -> Reader:
        """Return what was read of a batch. Differentiable outside inference mode."""
        return self.run(batch, between_steps)[0]

    def run(
        self, batch: PackedBatch, between_steps: Callable[[], None] | None = None
    ) -> tuple[Reader, torch.Tensor | None]:
        """Do as forward does, and return what the network returns, too.

        That is the last hidden states of a whole decoder, and None where it is cut at the last read
        layer.
        """
        reader, backend = self._reader(batch), self._backend
        plan = backend.plan_block_attention(
            batch.segments, batch.num_tokens, self._device, batch.key_rows
        )
        attend: Callable[..., Any] = (
            backend.block_attention_fp8 if self._network.takes_fp8 else backend.block_attention
        )
        token_ids, position_ids = upload(
            np.stack([batch.token_ids, batch.position_ids]), self._device
        )
        with self._rows(batch) as rows:
            # In training the network may be a whole decoder, which keeps nothing.
            network = self._network if rows is None else partial(self._network, rows=rows)
            hidden_TC = network(
                token_ids,
                position_ids,
                lambda q_THD, k_UKD, v_UKD, scale: attend(q_THD, k_UKD, v_UKD, plan, scale),
                reader,
                between_steps,
            )
        return reader, hidden_TC

    def head_masses(self, requests: Sequence[EncodedRequest]) -> list[NDArray[np.float32]]:
        """Return the [H, N] mass of each head read of every request, lowest layer first.

        It is the mean over signal tokens.
        """
        with torch.inference_mode(), self._on_device():
            reader = self.forward(self._pack(requests))
            assert isinstance(reader, AttentionReader)
            masses = reader.masses()
            rows = [torch.cat([mass_HrN.mean(1) for mass_HrN in layers]) for layers in masses]
            return [row.float().cpu().numpy() for row in rows]

    def _try_launch(
        self, requests: Sequence[EncodedRequest], between_steps: Callable[[], None] | None
    ) -> LaunchedPass | None:
        """Launch a pass; return None where the device's memory ran out.

        The error is not passed on: its traceback holds the tensors that filled the memory.
        """
        try:
            batch = self._pack(requests)
            with torch.inference_mode(), self._on_device():
                reader = self.forward(batch, between_steps)
                joined = reader.joined_scores()
                if (shares := reader.joined_part_shares()) is not None:
                    joined = torch.cat([joined, shares])
                num_shares = [request.num_part_shares for request in requests]
                return LaunchedPass(joined, batch.num_documents, num_shares)
        except torch.OutOfMemoryError:
            return None
        except torch.AcceleratorError as error:
            raise DeviceLostError(f"{self._device} failed: {error}") from error

    def _pack(self, requests: Sequence[EncodedRequest]) -> PackedBatch:
        for request in requests:
            if request.lease is not None:
                request.lease.renew()  # batches since then may have computed more
        return pack(requests, self._card)

    def _reader(self, batch: PackedBatch) -> Reader:
        if not isinstance(self._card, Card):
            return VerdictReader(batch, self._device)
        config = self._network.config
        return AttentionReader(
            self._card,
            batch,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            device=self._device,
            backend=self._backend,
        )

    def _rows(self, batch: PackedBatch) -> AbstractContextManager[BatchRows | None]:
        return nullcontext() if self._memory is None else self._memory.rows(batch)

    def _on_device(self) -> AbstractContextManager[object]:
        """Triton launches on the current device, wherever the tensors are."""
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()


def _halves(requests: Sequence[EncodedRequest]) -> list[Sequence[EncodedRequest]]:
    """Split into two parts of about as many tokens, in order; one request gives none."""
    if len(requests) < 2:
        return []
    before = list(accumulate((request.num_tokens for request in requests), initial=0))
    middle = min(range(1, len(requests)), key=lambda i: abs(2 * before[i] - before[-1]))
    return [requests[:middle], requests[middle:]]
