"""Measuring a data.json: what is wrong is refused with its place, and both ways of reading agree."""

import json
import random
from typing import Any

import numpy as np
import pytest

from archive.check import measure
from archive.check.measure import MeasuredData
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


def assert_same(quick: MeasuredData, slow: MeasuredData) -> None:
    """Check that both ways have found the same."""
    assert [metric[:-1] for metric in quick.metrics] == [metric[:-1] for metric in slow.metrics]
    assert quick.hosts == slow.hosts
    for ours, theirs in zip(quick.metrics, slow.metrics, strict=True):
        assert ours.overall == (theirs.overall and pytest.approx(theirs.overall, rel=1e-12, abs=1e-9))
    np.testing.assert_array_equal(quick.length, slow.length)
    for one, other in zip((*quick.measured, *quick.stored), (*slow.measured, *slow.stored), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert [quick.series_at(number) for number in range(quick.length.size)] == [
        slow.series_at(number) for number in range(slow.length.size)
    ]


def test_both_ways_of_measuring_agree_about_any_document() -> None:
    dice = random.Random(7)
    short = 0
    for turn in range(600):
        raw = some_document(dice)
        if turn % 2:
            place = dice.randrange(len(raw))
            raw = (
                raw[:place] + dice.choice([b"", b",", b"]", b"u", b"-", b"9e99,", b'"data":[', b" "]) + raw[place + 1 :]
            )
        quick = measure._short_way(raw)
        if quick is None:
            continue
        short += 1
        slow = measure._long_way(raw)
        assert_same(quick, slow)
    assert short > 100


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
    assert measure._short_way(raw) is not None
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
def test_what_is_plainly_well_formed_is_measured_without_an_object_per_sample(numbers: str) -> None:
    raw = f'{{"m":{{"node":{{"timestep":60,"series":[{{"hostname":"n01","data" : [{numbers}]}}]}}}}}}'.encode()
    quick, slow = measure._short_way(raw), measure._long_way(raw)
    assert quick is not None
    assert_same(quick, slow)


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
def test_what_is_no_list_of_numbers_is_left_to_the_judge(numbers: str) -> None:
    raw = f'{{"m":{{"node":{{"timestep":60,"series":[{{"hostname":"n01","data":[3.25,{numbers}]}}]}}}}}}'.encode()
    assert measure._short_way(raw) is None
    with pytest.raises(DocumentError):
        measure.measure(raw)
    alone = raw.replace(b"3.25,", b"")
    assert measure._short_way(alone) is None
    with pytest.raises(DocumentError):
        measure.measure(alone)


@pytest.mark.parametrize(
    "change",
    [
        ('"data":[1]}', '"data":[1],"data":[2]}'),
        ('"hostname"', '"max":[1],"hostname"'),
        ('"hostname":"a"', '"hostname":"\xff"'),
        ('"series"', '"statisticsSeries":{"min":[1],"mean":[1],"min":[1],"max":[1]},"series"'),
    ],
)
def test_keys_in_unusual_places_are_left_to_the_judge(change: tuple[str, str]) -> None:
    text = '{"m":{"node":{"timestep":60,"series":[{"hostname":"a","data":[1]},{"hostname":"b","data":[2]}]}}}'
    assert measure._short_way(text.encode()) is not None
    assert measure._short_way(text.replace(*change).encode("latin-1")) is None


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
    quick = measure._short_way(raw)
    assert quick is not None
    assert_same(quick, measure._long_way(raw))
    assert measure._short_way(raw.replace(b"1.5", b"1.5" + space.encode() + b"7" if space else b"1.5x")) is None
