"""How a job ended, in one sentence, and measured values as people read them."""

import pytest

from accounts.formatting import figure, scaled, share
from jobs.samples.ending import ending
from tests.support.factories import JobFactory


@pytest.mark.parametrize(
    ("state", "duration", "walltime", "metadata", "sentence"),
    [
        ("completed", 7200, 86_400, None, "Completed after 2:00:00, 8 % of the 1 d 00:00:00 asked for."),
        ("timeout", 3600, 3600, None, "Reached its time limit after 1:00:00 of 1:00:00."),
        ("out_of_memory", 60, 0, None, "Ran out of memory after 1:00."),
        ("cancelled", 0, 3600, None, "Cancelled after 0 s, 0 % of the 1:00:00 asked for."),
        ("failed", 10, 0, '{"schedulerState": "NODE_FAIL"}', "Failed after 10 s; the scheduler says NODE_FAIL."),
        ("failed", 10, 0, "no json", "Failed after 10 s."),
    ],
)
def test_an_ending_is_one_sentence(
    state: str, duration: int, walltime: int, metadata: str | None, sentence: str
) -> None:
    job = JobFactory.build(job_state=state, duration=duration, walltime=walltime, meta_data=metadata)
    assert ending(job) == sentence


QUANTITIES = [
    (0, "G", "B", "0 GB"),
    (249.04, "G", "B", "249 GB"),
    (1234.5, "G", "F/s", "1.23 TF/s"),
    (0.000_02, "G", "B/s", "20 kB/s"),
    (999.6, "M", "B", "1 GB"),
    (1e30, "G", "B", "1.00e+21 EB"),
    (0.25, "", "B/s", "0.25 B/s"),
    (12_345.6, "", "", "12,346"),
    (55.52, "", "%", "55.5 %"),
    (1500, "", "W", "1.5 kW"),
    (3.25, "x", "thing", "3.25 xthing"),
]


@pytest.mark.parametrize(("value", "prefix", "base", "text"), QUANTITIES)
def test_a_value_has_the_prefix_that_leaves_up_to_three_digits(value: float, prefix: str, base: str, text: str) -> None:
    assert scaled(value, prefix=prefix, base=base) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0004, "4.00e-04"), (0.0123, "0.012"), (-1.5, "-1.5"), (1e15, "1.00e+15")]
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0 %"), (0.004, "0.4 %"), (0.08, "8 %"), (1.5, "150 %")])
def test_shares_are_per_cent(value: float, text: str) -> None:
    assert share(value) == text
