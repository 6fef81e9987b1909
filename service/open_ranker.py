"""Opens what the settings name: a ranker, or only the card and files of its checkpoint."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.checkpoint.checkpoint import Checkpoint
    from blockrank_server.models.ranker import Ranker

OpenRanker = Callable[[Settings], "Ranker"]


def open_ranker(settings: Settings) -> "Ranker":
    """Open the ranker the settings name.

    Raises:
        CardError, CheckpointError: it cannot be opened.
    """
    # OpenMP reads it when torch is loaded. Its default, to spin at barriers, starves the event loop
    # and the tokenisers: measured 4x slower with a busy neighbour (loadtests/results/LOG.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Here and not on top: torch takes seconds to import, and the server answers probes meanwhile.
    import torch  # noqa: PLC0415

    from blockrank_server.models.ranker import Ranker  # noqa: PLC0415

    if settings.num_torch_threads is not None:
        torch.set_num_threads(settings.num_torch_threads)
    return Ranker.open(
        settings.model,
        card=settings.card,
        adapter=settings.adapter,
        device=settings.device,
        dtype=settings.dtype,
        revision=settings.revision,
        offline=settings.offline,
        cache_dir=settings.cache_dir,
        max_batch_tokens=settings.max_batch_tokens,
        quantization=settings.quantization,
    )


def checkpoint_of(settings: Settings) -> "Checkpoint":
    """The checkpoint the settings name, without its weights.

    Raises:
        CardError, CheckpointError: it cannot be found, or its card is not valid.
    """
    # Here and not on top, as above.
    from blockrank_server.models.checkpoint.checkpoint import find_checkpoint  # noqa: PLC0415

    return find_checkpoint(
        settings.model,
        card=settings.card,
        revision=settings.revision,
        offline=settings.offline,
        cache_dir=settings.cache_dir,
    )
