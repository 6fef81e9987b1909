"""Draws the row about the device and the process."""

from rerank_dashboard.panels import (
    BYTES,
    COUNT,
    LIMIT,
    SECONDS,
    SHARE,
    Panels,
    PanelText,
    Query,
    Row,
    lines,
)
from rerank_dashboard.queries import of


def row() -> Row:
    """Show memory first, then the process."""
    return Row("Device and process", [*_memory(), *_process()])


def _memory() -> Panels:
    used = of("rerank_device_memory_bytes", 'kind="used"')
    total = of("rerank_device_memory_bytes", 'kind="total"')
    return [
        lines(
            PanelText(
                "Device memory",
                "On CUDA: of the whole device, whoever uses it. On a CPU: of this process and of "
                "the machine.",
                "Near the total: see the share beside it.",
            ),
            BYTES,
            Query(used, "{{instance}}"),
            Query(f"max({total})", "limit"),
            colors=LIMIT,
        ),
        lines(
            PanelText(
                "Device memory, share",
                "Memory used over all there is. It stays at its highest: the allocator keeps what "
                "it once had.",
                "Over 90 %: RerankDeviceMemoryHigh. Lower max_batch_tokens, use fp8, or move what "
                "else runs on the device.",
            ),
            SHARE,
            Query(f"{used} / on (job, instance) {total}", "{{instance}}"),
            red_above=0.9,
        ),
        lines(
            PanelText(
                "Ready",
                "1 while a server takes requests; 0 while it loads, drains, or has lost its model.",
                "0 for longer than a load takes: RerankNotReady, RerankModelDead.",
            ),
            COUNT,
            Query(of("rerank_ready"), "{{instance}}"),
        ),
    ]


def _process() -> Panels:
    return [
        lines(
            PanelText(
                "Process CPU",
                "Cores in use by each server. On a GPU: HTTP, tokenising and kernel launches.",
                "On a GPU near the number of cores: the CPU holds the GPU back; give it more.",
            ),
            COUNT,
            Query(f"rate({of('process_cpu_seconds_total')}[$__rate_interval])", "{{instance}}"),
        ),
        lines(
            PanelText(
                "Process memory",
                "Resident memory of each server.",
                "Growing without end at even load: report it; restart the server meanwhile.",
            ),
            BYTES,
            Query(of("process_resident_memory_bytes"), "{{instance}}"),
        ),
        lines(
            PanelText(
                "Uptime",
                "Time since each server's process began.",
                "A saw: it crashes or is killed; see RerankRestarting.",
            ),
            SECONDS,
            Query(f"time() - {of('process_start_time_seconds')}", "{{instance}}"),
        ),
    ]
