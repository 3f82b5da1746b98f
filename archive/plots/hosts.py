"""Statistics of each node of a job."""

import dataclasses
from collections.abc import Iterable

from archive.format.cluster_json import Cluster
from archive.format.data_document import StoredMetric
from archive.format.statistics import Statistics, series_statistics


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """A node, and for each metric its minimum, average and maximum, None where it has no samples."""

    name: str
    statistics: list[list[float] | None]


def statistics_of_series(metric: StoredMetric) -> list[Statistics | None]:
    """Return the statistics of each series, those in the file if there are any; None without samples.

    Raise one of DECODE_ERRORS.
    """
    found: list[Statistics | None] = []
    for series in metric.series:
        stored = series.stored_statistics()
        if stored.min is None or stored.avg is None or stored.max is None:
            found += series_statistics([series.samples()])
        else:
            found.append(Statistics(stored.min, stored.avg, stored.max))
    return found


def statistics_by_host(metric: StoredMetric, *, is_sum: bool) -> dict[str, Statistics]:
    """Return the statistics of each node that has samples of a metric.

    If a node has several series (of its sockets, say), the average is their sum, with `is_sum`, or else their mean, and
    minimum and maximum are those of a single series. Raise one of DECODE_ERRORS.
    """
    parts: dict[str, list[Statistics]] = {}
    for series, statistics in zip(metric.series, statistics_of_series(metric), strict=True):
        if statistics is not None:
            parts.setdefault(series.hostname, []).append(statistics)
    return {
        host: Statistics(
            min(part.min for part in each),
            sum(part.avg for part in each) / (1 if is_sum else len(each)),
            max(part.max for part in each),
        )
        for host, each in parts.items()
    }


def hosts(metrics: Iterable[tuple[str, str, StoredMetric]], cluster: Cluster | None) -> list[Host]:
    """Return the nodes of a job with their statistics, the one that was used least first.

    `metrics` are (name, scope, metric). How much a node was used is its mean share of the greatest node's average, over
    the metrics of which cluster.json says that more is better (`normal` above `alert`), or over all if there are none.
    Raise one of DECODE_ERRORS.
    """
    columns = []
    use: list[dict[str, Statistics]] = []
    for name, _, metric in metrics:
        config = cluster.metric(name) if cluster is not None else None
        column = statistics_by_host(metric, is_sum=config is not None and config.aggregation == "sum")
        columns.append(column)
        if config is not None and config.normal > config.alert:
            use.append(column)
    names = dict.fromkeys(host for column in columns for host in column)
    shares = {host: _share(host, use or columns) for host in names}
    ordered = sorted(names, key=lambda host: shares[host])
    return [Host(host, [list(column[host]) if host in column else None for column in columns]) for host in ordered]


def _share(host: str, columns: list[dict[str, Statistics]]) -> float:
    shares = []
    for column in columns:
        greatest = max((statistics.avg for statistics in column.values()), default=0.0)
        if greatest > 0:
            shares.append(column[host].avg / greatest if host in column else 0.0)
    return sum(shares) / len(shares) if shares else 0.0
