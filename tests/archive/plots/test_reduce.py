"""Fewer points for a screen: what is seen of the samples stays."""

import numpy as np
import pytest

from archive.format.statistics import Samples
from archive.plots.reduce import Band, reduce_band, reduce_line

NAN = np.nan


def noise(size: int) -> Samples:
    """Return samples without any order."""
    return np.random.Generator(np.random.PCG64(1)).normal(50, 10, size)


def points(samples: Samples, count: int) -> dict[int, float]:
    """Return the points of a reduced line by their place."""
    at, values = reduce_line(samples, count)
    places = range(samples.size) if at is None else at.astype(int).tolist()
    return dict(zip(places, values.tolist(), strict=True))


@pytest.mark.parametrize("size", [0, 1, 2, 599, 600])
def test_a_line_that_fits_stays_as_it_is(size: int) -> None:
    samples = noise(size)
    at, values = reduce_line(samples)
    assert at is None
    np.testing.assert_array_equal(values, samples)


@pytest.mark.parametrize("size", [601, 1440, 1441, 100_003])
def test_a_long_line_has_no_more_points_than_asked_for_and_its_ends(size: int) -> None:
    at, values = reduce_line(noise(size))
    assert at is not None
    assert 300 <= values.size <= 602
    assert at.size == values.size
    assert (at[0], at[-1]) == (0, size - 1)
    assert (np.diff(at) > 0).all()


def test_each_point_is_a_sample_where_it_was() -> None:
    samples = noise(10_000)
    assert all(samples[place] == value for place, value in points(samples, 600).items())


@pytest.mark.parametrize("place", [0, 1, 777, 1439])
@pytest.mark.parametrize("peak", [1e6, -1e6])
def test_a_peak_of_one_sample_stays(place: int, peak: float) -> None:
    samples = noise(1440)
    samples[place] = peak
    assert points(samples, 600)[place] == peak


@pytest.mark.parametrize("begin", [100, 101, 102, 103, 104])
def test_a_gap_as_long_as_a_part_breaks_the_line_wherever_it_begins(begin: int) -> None:
    samples = noise(1500)  # 300 parts of 5
    samples[begin : begin + 5] = NAN
    found = points(samples, 600)
    assert np.isnan(found[begin])
    assert any(np.isfinite(value) for place, value in found.items() if place < begin)
    assert not [place for place, value in found.items() if begin <= place < begin + 5 and np.isfinite(value)]


def test_a_shorter_gap_is_not_seen() -> None:
    samples = noise(1500)
    samples[100:104] = NAN
    assert np.isfinite(list(points(samples, 600).values())).all()


def test_infinite_samples_are_missing() -> None:
    samples = noise(1500)
    samples[7] = np.inf
    samples[100:110] = -np.inf
    found = points(samples, 600)
    assert not np.isinf(list(found.values())).any()
    assert np.isnan(found[100])
    assert np.isnan(reduce_line(np.array([1.0, np.inf]))[1][1])


def test_a_line_without_any_sample_stays_without() -> None:
    assert np.isnan(list(points(np.full(2000, NAN), 600).values())).all()


@pytest.mark.parametrize("size", [0, 1, 600])
def test_a_band_that_fits_stays_as_it_is(size: int) -> None:
    band = Band(noise(size), noise(size), noise(size))
    assert reduce_band(band) == (None, band)


def test_a_band_keeps_its_extremes_and_averages_its_means() -> None:
    low, mean, high = np.arange(0.0, 10), np.arange(10.0, 20), np.arange(20.0, 30)
    at, reduced = reduce_band(Band(low, mean, high), points=4)
    assert at is not None
    assert at.tolist() == [1, 4, 7, 9]
    assert reduced.min.tolist() == [0, 3, 6, 9]
    assert reduced.mean.tolist() == [11, 14, 17, 19]
    assert reduced.max.tolist() == [22, 25, 28, 29]


def test_a_band_is_empty_where_a_whole_part_is() -> None:
    values = np.array([1, NAN, NAN, NAN, 5, 6, NAN])
    _, reduced = reduce_band(Band(values, values, values), points=4)
    for part in reduced:
        np.testing.assert_array_equal(np.isnan(part), [False, True, False, True])
    assert reduced.min.tolist()[:3:2] == [1, 5]
    assert reduced.max.tolist()[:3:2] == [1, 6]
