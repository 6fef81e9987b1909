"""Opens what the settings name: a ranker, or only the card and files of its checkpoint."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from blockrank_server.models.engine.cpu_quota import cpu_quota, num_cores, num_threads
from blockrank_server.models.remote.engine_settings import EngineSettings
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.any_ranker import AnyRanker
    from blockrank_server.models.checkpoint.checkpoint import Checkpoint

OpenRanker = Callable[[Settings], "AnyRanker"]
_SPINS = "5000"  # about 50 us: the next operation of a forward pass comes sooner


def open_ranker(settings: Settings) -> "AnyRanker":
    """Open the ranker the settings name, of the kind that its card says.

    Raises:
        CardError, CheckpointError: it cannot be opened.
        EngineError: the server of completions that is set does not fit, or is out of reach.
    """
    if settings.engine_url is not None:
        return _connect(settings)
    set_num_threads(settings)
    # Here and not on top: it imports torch.
    from blockrank_server.models.checkpoint.checkpoint import is_reasoning  # noqa: PLC0415
    from blockrank_server.models.ranker import Ranker  # noqa: PLC0415
    from blockrank_server.models.reasoning_ranker import ReasoningRanker  # noqa: PLC0415

    options = _place(settings) | {
        name: getattr(settings, name)
        for name in (
            *("adapter", "device", "dtype", "max_batch_tokens", "quantization"),
            "document_cache_bytes",
        )
    }
    if is_reasoning(settings.model, **_place(settings)):
        return ReasoningRanker.open(settings.model, **options)
    return Ranker.open(
        settings.model,
        **options,
        cuda_graphs=settings.cuda_graphs,
        document_store=settings.document_store,
        document_store_bytes=settings.document_store_bytes,
    )


def _connect(settings: Settings, on_wait: Callable[[str], None] | None = None) -> "AnyRanker":
    # Here and not on top, since few need it.
    from blockrank_server.models.remote_ranker import RemoteRanker  # noqa: PLC0415

    key = settings.engine_api_key
    assert settings.engine_url is not None
    engine = EngineSettings(
        url=settings.engine_url,
        api_key=None if key is None else key.get_secret_value(),
        model=settings.engine_model,
        max_streams=settings.engine_max_streams,
    )
    return RemoteRanker.connect(
        settings.model,
        engine,
        **_place(settings),
        adapter=settings.adapter,
        quantization=settings.quantization,
        document_cache_bytes=settings.document_cache_bytes,
        on_wait=on_wait,
    )


def _place(settings: Settings) -> dict[str, Any]:
    """Say where a checkpoint of a name is looked for."""
    return {name: getattr(settings, name) for name in ("card", "revision", "offline", "cache_dir")}


def open_served_ranker(settings: Settings) -> "AnyRanker":
    """Open the ranker the settings name, and log what part of the CPU it has.

    A server of completions that is not ready yet is waited for: it may start beside this one.

    Raises:
        CardError, CheckpointError: it cannot be opened.
        EngineError: the server of completions that is set does not fit.
    """
    if settings.engine_url is not None:
        log = structlog.get_logger(__name__)
        return _connect(settings, lambda why: log.warning("waiting for the engine", reason=why))
    structlog.get_logger(__name__).info(
        "threads",
        num_torch_threads=set_num_threads(settings),
        num_cores=num_cores(),
        cpu_quota=cpu_quota(),
    )
    return open_ranker(settings)


def set_num_threads(settings: Settings) -> int:
    """Import torch, and set the number of its threads for a forward pass on the CPU.

    Where it is not set, torch's own choice stands, or the cgroup's CPU quota if that is less: more
    threads would use the quota up early and all stand still until the next period.

    Returns:
        The number of threads.
    """
    # OpenMP reads them when torch is loaded. Its default, to spin at barriers for milliseconds,
    # starves the event loop and the tokenisers; to sleep at once makes each of the small operations
    # between products wait for a thread to wake up (loadtests/results/LOG.md has both).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    # Here and not on top: torch takes seconds to import, and the server answers probes meanwhile.
    import torch  # noqa: PLC0415

    if settings.num_torch_threads is not None:
        torch.set_num_threads(settings.num_torch_threads)
    elif (quota := cpu_quota()) is not None:
        torch.set_num_threads(min(torch.get_num_threads(), num_threads(quota, num_cores())))
    return torch.get_num_threads()


def checkpoint_of(settings: Settings) -> "Checkpoint":
    """Find the checkpoint that the settings name, without its weights.

    Raises:
        CardError, CheckpointError: it cannot be found, or its card is not valid.
    """
    # Here and not on top, as above.
    from blockrank_server.models.checkpoint.checkpoint import find_checkpoint  # noqa: PLC0415

    return find_checkpoint(settings.model, **_place(settings))
