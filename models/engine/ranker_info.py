"""What an opened ranker says of itself."""

from dataclasses import dataclass
from typing import Literal

from blockrank_server.models.quantization.names import Quantization


@dataclass(frozen=True, slots=True)
class RankerInfo:
    """What was opened, and how it runs.

    Attributes:
        name: of the card.
        revision: commit or checksum of the weights, and of an adapter merged into them; None for a
            local folder.
        device: as torch spells it.
        dtype: of the weights and activations.
        attention: which implementation runs.
        num_layers_kept: layers in memory, the last of them in part.
        num_layers: layers of the checkpoint.
        load_seconds: from the call of open to a ranker that can score.
        weight_bytes: of the layers kept, on the device, as quantized.
        max_batch_tokens: the most tokens of one batch that fit the device's memory, an estimate;
            None on the CPU, which is not checked. A larger request may fail.
        quantization: of the linear layers below the read layer.
    """

    name: str
    revision: str | None
    device: str
    dtype: str
    attention: Literal["torch", "triton"]
    num_layers_kept: int
    num_layers: int
    load_seconds: float
    weight_bytes: int
    max_batch_tokens: int | None
    quantization: Quantization
