"""The kinds of metric sources, and the source of a cluster according to METRIC_SOURCES."""

import functools
from collections.abc import Mapping
from typing import Any

import orjson

from archive.exceptions import SourceError
from archive.format.layout import is_valid_cluster_name
from archive.sources.base import MetricSource
from archive.sources.cc_metric_store import CcMetricStoreSource
from archive.sources.none import NoneSource
from archive.sources.prometheus import PrometheusSource
from archive.sources.synthetic import SyntheticSource

ANY_CLUSTER = "*"

KINDS: dict[str, type[MetricSource]] = {
    source.kind: source for source in (CcMetricStoreSource, NoneSource, PrometheusSource, SyntheticSource)
}
"""To add a kind, list a class with the methods of MetricSource here."""


def get_source(cluster: str, config: Mapping[str, Mapping[str, Any]]) -> MetricSource:
    """Return the source of a cluster: its own entry, or `*`, or none; raise SourceError if the entry is invalid."""
    options = config.get(cluster, config.get(ANY_CLUSTER))
    if options is None:
        options = {"kind": NoneSource.kind}
    try:
        return _source(orjson.dumps(options, option=orjson.OPT_SORT_KEYS))
    except (TypeError, ValueError) as error:
        raise SourceError(f"METRIC_SOURCES, cluster {cluster!r}: {error}", transient=False) from error


def validate_config(config: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a message for each error in METRIC_SOURCES."""
    if not isinstance(config, Mapping):
        return [f"{_kind_of(config)}: expected an object, cluster name or '*' -> {{\"kind\": ...}}"]
    messages: list[str] = []
    for name, options in config.items():
        if name != ANY_CLUSTER and not is_valid_cluster_name(str(name)):
            messages.append(f"{name!r}: expected a cluster name or '*'")
        messages.extend(f"{name!r}: {message}" for message in _entry_errors(options))
    return messages


def _entry_errors(options: object) -> list[str]:
    """Return a message for each error in an entry."""
    if not isinstance(options, Mapping):
        return [f'{_kind_of(options)}: expected an object such as {{"kind": "{NoneSource.kind}"}}']
    kind = options.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        shown = repr(kind) if isinstance(kind, str) else _kind_of(kind)
        return [f"kind {shown}: expected one of {', '.join(sorted(KINDS))}"]
    return KINDS[kind].config_errors(options)


def _kind_of(value: object) -> str:
    """Return the type of a JSON value; the value itself may have a token in it."""
    return {dict: "an object", list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")


@functools.lru_cache(maxsize=256)
def _source(entry: bytes) -> MetricSource:
    """Return the source of an entry, given as JSON; raise ValueError if it is invalid."""
    options = orjson.loads(entry)
    messages = _entry_errors(options)
    if messages:
        raise ValueError("; ".join(messages))
    return KINDS[options["kind"]].from_config(options)
