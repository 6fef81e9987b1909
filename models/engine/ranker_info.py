"""Describes an opened ranker: what /info and the metrics say of it."""

from dataclasses import dataclass
from typing import Literal

from blockrank_server.models.quantization.names import Quantization


@dataclass(frozen=True, slots=True)
class RankerInfo:
    """Says what was opened, and how it runs.

    What a server of completions keeps to itself is "remote", and its weights take 0 bytes here.

    Attributes:
        name: the name that the card gives.
        revision: commit or checksum of the weights, and of an adapter merged into them; None for a
            local folder.
        device: the name that torch gives it.
        dtype: that of weights and activations.
        attention: the implementation that runs.
        num_layers_kept: counts the layers in memory, the last of them in part.
        num_layers: counts the layers of the checkpoint.
        load_seconds: the time from the call of open to a ranker that can score.
        weight_bytes: taken by the layers kept, on the device, as quantized.
        max_batch_tokens: the most tokens of one batch that fit the device's memory, an estimate;
            None on the CPU, which is not checked. A larger request may fail.
        quantization: that of the linear layers below the read layer; awq where a checkpoint of
            reasoning is packed so.
        engine: where a card of reasoning has its chains written: in this process, or by a server of
            completions.
        readings: whether the log-probabilities of a verdict's words are told whatever their rank,
            or only among the 20 likeliest tokens.
        document_cache_bytes: the bound on the kept keys and values of documents; 0: none are kept.
        cuda_graph_bytes: taken by the graphs as which small batches run; 0: none do.
    """

    name: str
    revision: str | None
    device: str
    dtype: str
    attention: Literal["torch", "triton", "remote"]
    num_layers_kept: int
    num_layers: int
    load_seconds: float
    weight_bytes: int
    max_batch_tokens: int | None
    quantization: Quantization | Literal["awq", "remote"]
    engine: Literal["local", "remote"] = "local"
    readings: Literal["exact", "top20"] = "exact"
    document_cache_bytes: int = 0
    cuda_graph_bytes: int = 0

    def numbers(self) -> tuple[str, ...]:
        """List what sets the numbers of one opened ranker apart from those of another."""
        return str(self.revision), self.dtype, self.attention, self.quantization
