"""data.json as others write it: what is read, what is refused, and that all readers agree."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from archive.check.measure import measure
from archive.exceptions import DocumentError
from archive.format.data_document import BeforeVersion1Error, StoredStatistics, check_document, read_document
from archive.format.data_json import decode_data
from archive.plots.plots import PlotRequest, plots

SERIES: dict[str, Any] = {"hostname": "n01", "statistics": {"min": 1, "avg": 2, "max": 3}, "data": [1, 2, 3]}
METRIC: dict[str, Any] = {"unit": {"base": "B/s", "prefix": "G"}, "timestep": 60, "series": [SERIES]}
STEPS = {"min": [1], "mean": [2], "max": [3]}


def document(series: dict[str, Any] | None = None, **metric: Any) -> bytes:
    """Return a data.json of one series; `metric` replaces keys of the metric, `series` keys of its series."""
    return json.dumps({"m": {"node": METRIC | {"series": [SERIES | (series or {})]} | metric}}).encode()


GOOD = {
    "as we write it": document(),
    "no metric": b"{}",
    "keys in another case": document().replace(b"timestep", b"TimeStep").replace(b"hostname", b"HostName"),
    "parts in another case": document().replace(b"base", b"Base").replace(b"avg", b"AVG"),
    "unknown keys": document({"x": [1]}, footprint="avg"),
    "a scope and metric that are null": b'{"x":null,"y":{"node":null},' + document()[1:],
    "null for absent": document({"id": None, "statistics": None}, statisticsSeries=None, scope=None),
    "null in a unit": document(unit={"base": None, "prefix": None}),
    "null for a unit": document(unit=None),
    "a whole float": document(timestep=60.0),
    "a numbered unit": document({"id": 0}),
    "percentiles": document(statisticsSeries=STEPS | {"percentiles": {"25": [1]}}),
    "the median of version 2": document(statisticsSeries=STEPS | {"mean": None, "median": [2]}),
    "steps in another case": document(statisticsSeries={"Min": [1], "Median": [2], "MAX": [3], "x": 1}),
}
BAD = {
    "nothing": b"",
    "a list": b"[]",
    "cut": document()[:-1],
    "no object for a metric": b'{"m": 1}',
    "no scopes": b'{"m": {"unit": {"base": ""}, "timestep": 60, "series": []}}',
    "an empty metric": b'{"m": {"node": {}}}',
    "no series": b'{"m":{"node":{"timestep":60,"series":null}}}',
    "a timestep of zero": document(timestep=0),
    "a timestep that is no whole number": document(timestep=1.5),
    "a number beyond all doubles": document().replace(b"[1, 2, 3]", b"[1e400, 2, 3]"),
    "a text among samples": document({"data": [1, "2"]}),
    "a list among samples": document({"data": [1, [2]]}),
    "no samples": document({"data": None}),
    "no host": document({"hostname": None}),
    "null for a series": document().replace(b'"series": [', b'"series": [null, '),
    "a list for a series": document().replace(b'"series": [', b'"series": [[], '),
    "statistics with a text": document({"statistics": {"min": "low"}}),
    "steps without a middle": document(statisticsSeries={"min": [1], "max": [2]}),
    "steps that are texts": document(statisticsSeries={"min": ["1"], "mean": [], "max": []}),
    "not UTF-8": document().replace(b"n01", b"n\xff1"),
    "not UTF-8 where nobody looks": document({"x": "?"}).replace(b'"?"', b'"\xff"'),
    "nested too deeply": document({"data": []}).replace(b"[]", b"[" * 100_000 + b"]" * 100_000),
    "nested too deeply where nobody looks": document({"x": []}).replace(b"[]", b"[" * 100_000 + b"]" * 100_000),
    "nested too deeply from the start": b"[" * 100_000,
}
READERS: dict[str, Callable[[bytes], object]] = {
    "import": check_document,
    "check": measure,
    "archive": decode_data,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("variant", GOOD)
def test_what_the_decoder_of_go_reads_is_read_by_all(reader: str, variant: str) -> None:
    READERS[reader](GOOD[variant])
    plots(GOOD[variant], PlotRequest())


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("variant", [name for name in BAD if not name.startswith("steps")])
def test_what_is_wrong_for_one_reader_is_wrong_for_all(reader: str, variant: str) -> None:
    with pytest.raises(DocumentError):
        READERS[reader](BAD[variant])
    if not variant.startswith("statistics"):  # which plots do not read where they draw each series
        with pytest.raises(DocumentError):
            plots(BAD[variant], PlotRequest())


@pytest.mark.parametrize("variant", [name for name in BAD if name.startswith("steps")])
def test_wrong_statistics_per_step_are_wrong_for_import_and_check(variant: str) -> None:
    for reader in (check_document, measure):
        with pytest.raises(DocumentError, match=r"m\.node\.statisticsSeries: .*expected min, max, and mean or median"):
            reader(BAD[variant])


def test_depth_is_the_reason_and_not_python() -> None:
    with pytest.raises(DocumentError, match="nested too deeply; expected metric"):
        measure(BAD["nested too deeply"])


def test_values_are_those_of_the_exact_form() -> None:
    for name in ("as we write it", "parts in another case", "keys in another case", "unknown keys"):
        metric = read_document(GOOD[name])["m"]["node"]
        assert metric.unit is not None
        assert (metric.unit.base, metric.unit.prefix, metric.timestep) == ("B/s", "G", 60)
        assert metric.series[0].stored_statistics() == StoredStatistics(1, 2, 3)
        assert metric.series[0].hostname == "n01"
        np.testing.assert_array_equal(metric.series[0].samples(), [1, 2, 3])
    steps = read_document(GOOD["steps in another case"])["m"]["node"].steps()
    assert steps is not None
    assert (steps.min, steps.middle, steps.max) == ([1], [2], [3])
    assert list(read_document(GOOD["a scope and metric that are null"])) == ["x", "y", "m"]


def test_a_document_from_before_version_1_is_told_as_such() -> None:
    for reader in (*READERS.values(), read_document):
        with pytest.raises(DocumentError, match=r"m\.node\.unit is a text: the form of archives from before version 1"):
            reader(document(unit="GB/s", scope="node"))
    with pytest.raises(BeforeVersion1Error):
        check_document(document(unit="load"))
