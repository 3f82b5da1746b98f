"""Convert documents of archives from before version 1: units are texts, accelerators numbers, rates plain numbers."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from archive.exceptions import DECODE_ERRORS, DocumentError, reason
from archive.format.keys import with_known_keys

_OUTLINE = msgspec.json.Decoder(dict[str, dict[str, dict[str, msgspec.Raw]]])
_SERIES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_STATISTICS = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]])
_METRIC_KEYS = dict.fromkeys(("unit", "timestep", "series", "statisticsSeries"))
_SERIES_KEYS = dict.fromkeys(("hostname", "id", "statistics", "data"))

_UNIT = re.compile(
    r"(?P<prefix>[KMGTPE]i?|[kmun])?(?P<base>B|bytes?|F|flops?|W|watts?|J|joules?|Hz|s|packets|requests|events|cycles)"
    r"(?P<rate>/s)?",
    re.IGNORECASE,
)
_BASES = {"b": "B", "byte": "B", "f": "F", "flop": "F", "w": "W", "watt": "W", "j": "J", "joule": "J", "hz": "Hz"}
_WHOLE = ("packets", "requests", "events", "cycles", "s")
_PREFIXES = frozenset("KMGTPEkmun") | {f"{letter}i" for letter in "KMGTPE"}


def unit_of(text: str) -> dict[str, str]:
    """Return the unit that a text such as `GB/s` stands for; a text of another form becomes the base as it is."""
    found = _UNIT.fullmatch(text.strip())
    prefix = found["prefix"] if found else None
    if found is None or (prefix is not None and prefix not in _PREFIXES):
        return {"base": text.strip()}
    word = found["base"].lower()
    base = word if word in _WHOLE else _BASES[word if word in _BASES else word.removesuffix("s")]
    unit = {"base": f"{base}{found['rate'] or ''}"}
    return unit if prefix is None else unit | {"prefix": prefix}


def convert_data(raw: bytes, accelerators: Sequence[str]) -> bytes:
    """Return a data.json (plain JSON) in the form of version 1; raise DocumentError.

    `accelerators` are the ids of a node's accelerators, which the series of their scope name by number.
    """
    try:
        document = {
            name: {scope: _metric(scope, metric, accelerators) for scope, metric in scopes.items()}
            for name, scopes in _OUTLINE.decode(raw).items()
        }
    except DECODE_ERRORS as error:
        raise DocumentError(f"{reason(error)}; expected the form of an archive from before version 1") from error
    return msgspec.json.encode(document)


def _metric(scope: str, raw: dict[str, msgspec.Raw], accelerators: Sequence[str]) -> dict[str, Any]:
    metric: dict[str, Any] = with_known_keys(raw, _METRIC_KEYS)
    if "unit" in metric:
        metric["unit"] = _unit(metric["unit"])
    names = accelerators if scope == "accelerator" else ()
    series = _SERIES.decode(metric.get("series", b"[]"))
    return metric | {"series": [_one_series(each, names) for each in series]}


def _one_series(raw: dict[str, msgspec.Raw], names: Sequence[str]) -> dict[str, Any]:
    series: dict[str, Any] = with_known_keys(raw, _SERIES_KEYS)
    if "id" in series:
        number = msgspec.json.decode(series["id"])
        known = isinstance(number, int) and 0 <= number < len(names)
        series["id"] = names[number] if known else str(number)
    return series


def _unit(raw: msgspec.Raw) -> Any:
    return unit_of(msgspec.json.decode(raw)) if bytes(memoryview(raw)[:1]) == b'"' else raw


def convert_statistics(text: str) -> str:
    """Return the statistics of a meta.json (compact JSON) with their units as objects; numbers keep each digit."""
    if '"unit":"' not in text:
        return text
    statistics: dict[str, Any] = _STATISTICS.decode(text)
    for numbers in statistics.values():
        numbers |= {"unit": _unit(numbers["unit"])} if "unit" in numbers else {}
    return msgspec.json.encode(statistics).decode()


def convert_cluster(raw: bytes) -> bytes:
    """Return a cluster.json, which `decode_cluster` can read, in the form of version 1; unchanged if it has that."""
    document = msgspec.json.decode(raw)
    changed = False
    for metric in document.get("metricConfig") or []:
        if isinstance(metric, dict) and isinstance(metric.get("unit"), str):
            metric["unit"], changed = unit_of(metric["unit"]), True
    for part in document.get("subClusters") or []:
        for key, base in RATES.items():
            if isinstance(part.get(key), int | float):
                part[key], changed = rate_of(part[key], base), True
    return msgspec.json.format(msgspec.json.encode(document)) if changed else raw


RATES = {"flopRateScalar": "F/s", "flopRateSimd": "F/s", "memoryBandwidth": "B/s"}
"""The rates of a subcluster in cluster.json, with their base units."""


def rate_of(value: float, base: str) -> dict[str, Any]:
    """Return a rate with its unit; before version 1, it is a plain number, in units of 10^9."""
    return {"unit": {"base": base, "prefix": "G"}, "value": value}
