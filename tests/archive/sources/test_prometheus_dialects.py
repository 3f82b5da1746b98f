"""The prometheus source and answers that say the same in another form, as servers with Prometheus' API give them."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from archive.sources import prometheus
from tests.archive.sources.test_prometheus_bounds import FakePrometheus
from tests.support.prometheus_source import CLUSTER, LOAD, START, job, source_of

NAN = np.nan


class Dialect(FakePrometheus):
    """Answers with the values of `values`, where a test sets it, for the start, end and step of each request."""

    values: Callable[[int, int, int], list[Any]] | None = None

    def _series(self) -> list[dict[str, Any]]:
        if self.values is None:
            return super()._series()
        start, end, step = (int(self.forms[-1][key]) for key in ("start", "end", "step"))
        return [{"metric": {"_host": "n01"}, "values": self.values(start, end, step)}]


@pytest.fixture(scope="module")
def listening() -> Iterator[Dialect]:
    """Return a server on loopback."""
    with Dialect() as server:
        yield server


@pytest.fixture
def fake(listening: Dialect) -> Dialect:
    """Return the server without what other tests have set."""
    listening.result, listening.values, listening.more = None, None, {}
    return listening


def loaded(fake: Dialect, *, start: int = START, duration: int = 600) -> list[float]:
    """Return the samples of a job on one host."""
    (series,) = source_of(fake.url, load=LOAD).load(job(start=start, duration=duration), CLUSTER)["load"]["node"].series
    return list(series.data)


def aligned(more: int = 0, off: float = 0.0) -> Callable[[int, int, int], list[Any]]:
    """Return the values of a server that evaluates at multiples of the step; a value is its number in the answer.

    As Thanos (query-range.align-range-with-step, true by default) and Mimir (align_queries_with_step) do, and
    VictoriaMetrics (AdjustStartEnd) from 50 points on: start and end are rounded down. `more`: points after the end, as
    where the end is rounded up; `off`: seconds.
    """
    return lambda start, end, step: [
        [when + off, str(number)]
        for number, when in enumerate(range(start // step * step, (end // step + more) * step + 1, step))
    ]


@pytest.mark.parametrize("off", [0, 0.001, -0.001])
@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("begin", [0, 1, 17, 37, 59])
@pytest.mark.parametrize("steps", [1, 60])
def test_a_range_that_is_aligned_to_the_step_is_whole(
    fake: Dialect, off: float, more: int, begin: int, steps: int
) -> None:
    fake.values = aligned(more, off)
    start = 1_699_999_980 + begin  # a multiple of the step, and something
    assert loaded(fake, start=start, duration=60 * steps) == list(range(steps))


def test_aligned_parts_of_a_range_are_joined(fake: Dialect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MAX_STEPS", 4)
    fake.values = aligned()
    assert loaded(fake, start=START + 17) == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def shifted(seconds: float) -> Callable[[int], list[Any]]:
    """Return the sample of a step, with the step's number as its value, at a time that is off."""
    return lambda step: [START + 60 * step + seconds, str(step)]


@pytest.mark.parametrize("seconds", [0.001, -0.001, 0.4, -25, 25])
def test_times_may_be_off(fake: Dialect, seconds: float) -> None:
    fake.result = [{"metric": {"_host": "n01"}, "values": list(map(shifted(seconds), range(1, 11)))}]
    assert loaded(fake) == list(range(1, 11))


@pytest.mark.parametrize("steps", [range(11), range(1, 12), range(12)])
def test_a_sample_too_many_at_an_end_is_left_out(fake: Dialect, steps: range) -> None:
    fake.result = [{"metric": {"_host": "n01"}, "values": list(map(shifted(0), steps))}]
    assert loaded(fake) == list(range(1, 11))


@pytest.mark.parametrize("value", ["NaN", "nan", "+Inf", "-Inf", "Inf", "1e999", None])
def test_a_value_that_is_no_number_is_a_missing_sample(fake: Dialect, value: Any) -> None:
    fake.result = [{"metric": {"_host": "n01"}, "values": [[START + 60, value], [START + 120, "2"]]}]
    np.testing.assert_array_equal(loaded(fake, duration=120), [NAN, 2])


@pytest.mark.parametrize("value", ["2", "2.0", "+2e0", 2, 2.0])
def test_values_may_be_texts_or_numbers(fake: Dialect, value: Any) -> None:
    fake.result = [{"metric": {"_host": "n01"}, "values": [[START + 60.0, value]]}]
    assert loaded(fake, duration=60) == [2]


def test_a_series_in_parts_is_one(fake: Dialect) -> None:
    parts = [[[START + 60, "1"]], None, [], [[START + 120, "2"]]]
    fake.result = [{"metric": {"_host": "n01"}, "values": values, "histograms": []} for values in parts]
    assert loaded(fake, duration=120) == [1, 2]


@pytest.mark.parametrize("result", [[], None, [{"metric": {"_host": "n01"}}]])
def test_a_metric_without_series_costs_that_metric_alone(
    fake: Dialect, result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fake._series

    def series() -> Any:
        return whole() if "node_load1" in fake.forms[-1]["query"] else result

    monkeypatch.setattr(fake, "_series", series)
    source = source_of(fake.url, user=LOAD.replace("node_load1", "other"), load=LOAD)
    assert list(source.load(job(), CLUSTER)) == ["load"]


@pytest.mark.parametrize(
    ("more", "warning"),
    [({"warnings": None}, ""), ({"infos": ["a hint"]}, ""), ({"isPartial": True, "warnings": []}, "partial")],
)
def test_what_else_an_answer_has_costs_nothing(
    fake: Dialect, caplog: pytest.LogCaptureFixture, more: dict[str, Any], warning: str
) -> None:
    fake.more = more
    with caplog.at_level(logging.WARNING):
        assert len(loaded(fake)) == 10
    assert warning in caplog.text
    assert bool(warning) == bool(caplog.records)
