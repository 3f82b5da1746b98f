"""Measuring a data.json: a wrong one is refused with the place, and the numbers are those of the samples."""

import json
import math
import random
from typing import Any

import numpy as np
import pytest

from archive.check import measure
from archive.exceptions import DocumentError
from archive.format.data_json import MetricData, Series, encode_data


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "truncated"),
        ("[]", "object"),
        ("{", "truncated"),
        ('{"m":[]}', "`$[...]`"),
        ('{"m":{"node":{"series":[]}}}', "timestep"),
        ('{"m":{"node":{"timestep":0,"series":[]}}}', "timestep"),
        ('{"m":{"node":{"timestep":60}}}', "series"),
        ('{"m":{"node":{"timestep":60,"series":[{"data":[1]}]}}}', "hostname"),
        ('{"m":{"node":{"timestep":60,"series":[{"hostname":"n01"}]}}}', "data"),
        ('{"m":{"node":{"timestep":60,"series":[{"hostname":"n01","data":[1,"2x"]}]}}}', "data"),
        ('{"m":{"node":{"timestep":60,"series":[{"hostname":"n01","data":[[1]]}]}}}', "data"),
        ('{"m":{"node":{"timestep":60,"series":[{"hostname":"n01","data":[1,]}]}}}', "malformed"),
        ('{"m":{"node":{"timestep":60,"series":[{"hostname":"n01","data":[NaN]}]}}}', "malformed"),
        ('{"m":{"node":{"timestep":60,"series":[{"hostname":"n01","data":[-null]}]}}}', "malformed"),
        ('{"m":{"node":{"timestep":60,"series":[{"hostname":"n01","data":[1null]}]}}}', "malformed"),
        ('{"m":{"node":{"timestep":60,"series":[{"hostname":"n01","data":[1],"statistics":{"min":"a"}}]}}}', "min"),
        ('{"m":{"node":{"timestep":60,"series":[],"statisticsSeries":{"min":[1],"max":[1]}}}}', "mean"),
        ('{"m":{"node":{"timestep":60,"series":[],"statisticsSeries":{"min":1,"mean":[],"max":[]}}}}', "min"),
        ('{"m":{"node":{"timestep":60,"series":[{"hostname":"\\udc00\xff","data":[1]}]}}}', ""),
        ("[" * 100_000, ""),
    ],
)
def test_data_of_another_structure_is_an_error_that_names_the_place(text: str, place: str) -> None:
    with pytest.raises(DocumentError) as raised:
        measure.measure(text.encode("latin-1"))
    assert place in str(raised.value)
    assert "expected" in str(raised.value)


def some_document(dice: random.Random) -> bytes:
    """Return a data.json with gaps, empty series, whole numbers, exponents, in one of several spellings."""

    def number() -> float | int | None:
        return dice.choice([None, dice.randint(-9, 9), dice.uniform(-1e3, 1e3), dice.uniform(0, 1e-9), 1e80])

    def series(host: int) -> dict[str, Any]:
        found: dict[str, Any] = {"hostname": f"n{host % 7}", "data": [number() for _ in range(length())]}
        if dice.random() < 0.5:
            found["id"] = dice.choice(["0", "00:1f"] if dice.random() < 0.97 else [None, 3])
        if dice.random() < 0.5:
            numbers = dice.sample(["min", "avg", "max"], dice.randint(1, 3))
            found["statistics"] = {name: number() or 0 for name in numbers}
        return dict(dice.sample(list(found.items()), len(found)))

    def length() -> int:
        return dice.choice([0, 1, 2, 50])

    def metric() -> dict[str, Any]:
        found: dict[str, Any] = {"unit": {"base": "W"}, "timestep": 60, "series": [series(n) for n in range(length())]}
        if dice.random() < 0.5:
            found["statisticsSeries"] = {name: [number() for _ in range(3)] for name in ("min", "mean", "max")}
        return found

    document = {name: {scope: metric() for scope in ("node", "core")} for name in ("a", "data", "null")}
    spelling: Any = dice.choice([{"separators": (",", ":")}, {"indent": 2}, {}])
    return json.dumps(document, **spelling).encode()


def test_numbers_are_those_of_the_samples_of_any_document() -> None:
    dice = random.Random(7)
    for _ in range(150):
        raw = some_document(dice)
        measured, document = measure.measure(raw), json.loads(raw)
        metrics = [(name, scope, metric) for name, scopes in document.items() for scope, metric in scopes.items()]
        every = [series for _, _, metric in metrics for series in metric["series"]]
        assert [(metric.name, metric.scope) for metric in measured.metrics] == [metric[:2] for metric in metrics]
        assert [(each.hostname, each.id) for each in measured.series] == [(s["hostname"], s.get("id")) for s in every]
        assert measured.length.tolist() == [len(series["data"]) for series in every]
        for place, series in enumerate(every):
            samples = [sample for sample in series["data"] if sample is not None]
            expected = (min(samples), math.fsum(samples) / len(samples), max(samples)) if samples else (math.nan,) * 3
            assert [column[place] for column in measured.measured] == pytest.approx(expected, nan_ok=True, rel=1e-9)
            stored = series.get("statistics", {})
            expected = tuple(stored.get(name, math.nan) for name in ("min", "avg", "max"))
            assert [column[place] for column in measured.stored] == pytest.approx(expected, nan_ok=True, rel=1e-15)
        for found, (_, _, metric) in zip(measured.metrics, metrics, strict=True):
            steps = metric.get("statisticsSeries", {})
            assert found.statistics_lengths == tuple(len(steps[name]) for name in ("min", "mean", "max") if steps)
            assert found.end - found.begin == len(metric["series"])
            present = [column[found.begin : found.end] for column in measured.measured]
            if np.isnan(present[0]).all():
                assert found.overall is None
            else:
                combined = np.nanmin(present[0]), np.nanmean(present[1]), np.nanmax(present[2])
                assert found.overall == pytest.approx(combined, rel=1e-12, abs=1e-9)


def test_a_document_that_a_changed_character_makes_no_json_is_refused() -> None:
    dice = random.Random(8)
    refused = 0
    for _ in range(450):
        raw = some_document(dice)
        place = dice.randrange(len(raw))
        wrong = raw[:place] + dice.choice([b"", b",", b"]", b"u", b"-", b"9e99,", b'"data":[', b" "]) + raw[place + 1 :]
        try:
            json.loads(wrong)
        except ValueError:
            refused += 1
            with pytest.raises(DocumentError):
                measure.measure(wrong)
    assert refused > 100


@pytest.mark.parametrize("value", [9e99, 8e88, 1e300, -1e-300, 2.0**64, 123456789.01234567])
def test_great_and_small_numbers_are_samples_like_others(value: float) -> None:
    data = {"m": {"node": MetricData({"base": ""}, 60, [Series("n01", None, np.array([value, value, np.nan]))])}}
    measured = measure.measure(encode_data(data))
    assert measured.measured.max.tolist() == pytest.approx([value], rel=1e-15)
    assert measured.length.tolist() == [3]


def test_measures_are_those_that_a_writer_stores() -> None:
    dice = np.random.Generator(np.random.PCG64(3))
    samples = [np.where(dice.random(500) < 0.1, np.nan, dice.normal(50, 20, 500)) for _ in range(300)]
    series = [Series(f"n{number}", None, values) for number, values in enumerate(samples)]
    raw = encode_data({"m": {"node": MetricData({"base": ""}, 60, series)}})
    measured = measure.measure(raw)
    for name in ("min", "avg", "max"):
        np.testing.assert_allclose(getattr(measured.measured, name), getattr(measured.stored, name), rtol=1e-12)
    assert measured.metrics[0].statistics_lengths == (500, 500, 500)


@pytest.mark.parametrize(
    "numbers",
    [
        "1,2,3",
        "0.5,-0.5,0,-0,12345678,1234567.8,123456.78,12345678.12345678",
        "1e3,1E+3,2.5e-3,1e-99,1e99",
        "null,null",
        "null, 1 ,\n\t2.25\r\n,null ",
        " ",
        "0.1234567890123456789,9999999999999999999",
    ],
)
def test_each_spelling_of_a_number_is_read(numbers: str) -> None:
    raw = f'{{"m":{{"node":{{"timestep":60,"series":[{{"hostname":"n01","data" : [{numbers}]}}]}}}}}}'.encode()
    expected = json.loads(f"[{numbers}]")
    present = [number for number in expected if number is not None]
    measured = measure.measure(raw)
    assert measured.length.tolist() == [len(expected)]
    if present:
        average = math.fsum(present) / len(present)
        assert [column[0] for column in measured.measured] == pytest.approx((min(present), average, max(present)))
    else:
        assert all(np.isnan(column[0]) for column in measured.measured)


@pytest.mark.parametrize(
    "numbers",
    [
        "01",
        "-",
        "-null",
        "1.",
        ".5",
        "1.e3",
        "1e",
        "1e+",
        "+1",
        "nul",
        "nulll",
        "1\t2",
        "1,,2",
        ",1",
        "1,",
        "0x1",
        "1_0",
        "1,true",
        "[1]",
        "00.5",
        "1.2.3",
        "--1",
        "NaN",
        "Infinity",
        "1;2",
        "1/2",
        "1:2",
        "\x0b1",
        "1\u00a0",
    ],
)
def test_a_list_of_anything_but_numbers_is_refused(numbers: str) -> None:
    raw = f'{{"m":{{"node":{{"timestep":60,"series":[{{"hostname":"n01","data":[3.25,{numbers}]}}]}}}}}}'.encode()
    with pytest.raises(DocumentError):
        measure.measure(raw)
    with pytest.raises(DocumentError):
        measure.measure(raw.replace(b"3.25,", b""))


def test_a_key_that_comes_twice_counts_once_and_unknown_keys_do_not_matter() -> None:
    text = '{"m":{"node":{"timestep":60,"series":[{"hostname":"a","data":[1]},{"hostname":"b","data":[2]}]}}}'
    for old, new in (
        ('"data":[1]}', '"data":[2],"data":[1]}'),
        ('"hostname":"a"', '"max":[1],"hostname":"a"'),
        ('"series"', '"statisticsSeries":{"min":[1],"mean":[1],"min":[1],"max":[1]},"series"'),
    ):
        measured = measure.measure(text.replace(old, new).encode())
        assert measured.measured.max.tolist() == [1, 2]
        assert [each.hostname for each in measured.series] == ["a", "b"]
    with pytest.raises(DocumentError):
        measure.measure(text.replace('"hostname":"a"', '"hostname":"\xff"').encode("latin-1"))


def test_a_wrong_sample_is_told_with_metric_host_and_place() -> None:
    text = '{"m":{"core":{"timestep":60,"series":[{"hostname":"n01","data":[1]},{"hostname":"n02","data":[1,[]]}]}}}'
    with pytest.raises(DocumentError, match=r"m\.core n02: data: .*\[1\].*expected numbers and nulls"):
        measure.measure(text.encode())


def test_every_beginning_of_a_document_is_an_error_without_reading_beyond_it() -> None:
    raw = some_document(random.Random(3))[:3000]
    for length in range(len(raw)):
        with pytest.raises(DocumentError):
            measure.measure(raw[:length])


@pytest.mark.parametrize("space", ["", " ", "\n", *("\n" + " " * width for width in (1, 7, 8, 9, 24, 25)), "\r\n\t\t"])
def test_white_space_between_numbers_is_passed_over_however_much_there_is(space: str) -> None:
    numbers = f",{space}".join(["1.5", "null", "-2", "1234567.25", "3"] * 5)
    data = f'"data":{space}[{space}{numbers}{space}]'
    raw = f'{{"m":{{"node":{{"timestep":60,"series":[{{"hostname":"n01",{data}}}]}}}}}}'.encode()
    measured = measure.measure(raw)
    assert measured.length.tolist() == [25]
    assert [column[0] for column in measured.measured] == pytest.approx((-2, 1234569.75 / 4, 1234567.25))
    with pytest.raises(DocumentError):
        measure.measure(raw.replace(b"1.5", b"1.5" + space.encode() + b"7" if space else b"1.5x"))
