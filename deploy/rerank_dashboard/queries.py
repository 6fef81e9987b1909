"""Writes the PromQL of every panel. `$job` and `$instance` are variables of the dashboard."""

_JOB = 'job=~"$job"'
_SERVER = f'{_JOB}, instance=~"$instance"'
_BUCKET = f'{_SERVER}, documents=~"$documents"'
# A day without traffic divides 0 by 0; comparing drops such lines instead of drawing them as gaps.
_KNOWN = ">= 0"


def of(metric: str, matchers: str = "") -> str:
    """Select the series of the servers chosen.

    Args:
        metric: name, as scraped.
        matchers: more of them, as PromQL writes them.
    """
    return f"{metric}{{{', '.join(filter(None, (_SERVER, matchers)))}}}"


def of_bucket(metric: str) -> str:
    """Select the series of the servers and the buckets of documents chosen."""
    return f"{metric}{{{_BUCKET}}}"


def recorded(rule: str, matchers: str = "") -> str:
    """Select the series of a recording rule, which knows jobs and no servers."""
    return f"{rule}{{{', '.join(filter(None, (_JOB, matchers)))}}}"


def per_second(series: str, by: str = "") -> str:
    """Add up the rates of counters over the servers.

    Args:
        series: what of, of_bucket or recorded gave.
        by: labels to keep.
    """
    kept = f" by ({by})" if by else ""
    return f"sum{kept} (rate({series}[$__rate_interval]))"


def share(part: str, whole: str) -> str:
    """Divide the rate of some counters by the rate of all."""
    return f"{per_second(part)} / {per_second(whole)} {_KNOWN}"


def mean(histogram: str) -> str:
    """Return the mean of what a histogram observed."""
    return share(of(f"{histogram}_sum"), of(f"{histogram}_count"))


def quantile(q: float, histogram: str) -> str:
    """Return a quantile of what a histogram without labels observed."""
    return f"histogram_quantile({q}, {per_second(of(f'{histogram}_bucket'), 'le')}) {_KNOWN}"


def whole_quantile(q: float, histogram: str) -> str:
    """Return a quantile of a histogram of counts, where interpolation would give half a request."""
    return f"ceil({quantile(q, histogram)})"


def quantile_by(label: str, q: float, histogram: str) -> str:
    """Return a quantile for each value of a label, over the buckets of documents chosen."""
    series = of_bucket(f"{histogram}_bucket")
    return f"histogram_quantile({q}, {per_second(series, f'{label}, le')}) {_KNOWN}"
