"""Templates of PromQL queries: what is taken, what is refused by name, and that values stay in their group."""

from typing import Any

import pytest

from archive.sources import validate_config
from archive.sources.promql import PromqlTemplate
from tests.support.prometheus_source import ACC, LOAD, USER


def test_values_cannot_leave_their_group() -> None:
    query = PromqlTemplate(LOAD).query(['"})|', "n-.1"], [], "demo", 7)
    assert query.count('"(?P<hosts>' + r"\\x{22}\\x{7d}\\x{29}\\x{7c}|n-\\x{2e}1" + '):9100"') == 2


GOOD: dict[str, Any] = {"kind": "prometheus", "url": "http://h:9090", "queries": {"load": LOAD}}


@pytest.mark.parametrize(
    "query",
    [
        LOAD,
        {"node": LOAD},
        {"accelerator": ACC},
        {"node": LOAD, "hwthread": USER},
        f"{LOAD} / on (instance) x{{instance =~ '${{hosts}}:9100'}}",
        f'label_replace({LOAD}, "a", "$$1", "b", "(.*)")',
    ],
)
def test_a_good_template_is_taken(query: Any) -> None:
    assert validate_config({"*": GOOD | {"queries": {"load": query}}}) == []


@pytest.mark.parametrize(
    ("query", "word"),
    [
        (3, "3: expected a PromQL query"),
        (None, "None: expected a PromQL query"),
        ("", "$hosts: expected in a matcher"),
        ("node_load1", "$hosts: expected in a matcher"),
        ('node_load1{instance="$hosts:9100"}', "$hosts: expected in a matcher"),
        (f'{LOAD} + x{{instance!~"$hosts"}}', "$hosts: expected in a matcher"),
        (LOAD.replace("$hosts", "$host"), "$host is unknown"),
        (LOAD.replace("$hosts", "$Hosts"), "$Hosts is unknown"),
        (f'label_replace({LOAD}, "a", "$1", "b", "(.*)")', '\'$1", "b", \': expected a name after the $, or $$'),
        (ACC, "$ids: expected in scopes below node only"),
        ({}, "scopes none"),
        ({"core": USER, "hwthread": USER}, "scopes core, hwthread"),
        ({"gpu": ACC}, "scope 'gpu'"),
        ({"accelerator": LOAD}, "accelerator: $ids: expected in a matcher"),
        ({"accelerator": [ACC]}, "accelerator: ["),
    ],
)
def test_a_bad_template_is_named(query: Any, word: str) -> None:
    messages = validate_config({"*": GOOD | {"queries": {"load": LOAD, "bad": query}}})
    assert [message for message in messages if word in message and "queries, 'bad': " in message]
    assert not [message for message in messages if "'load'" in message]


@pytest.mark.parametrize("queries", [None, {}, [], LOAD])
def test_queries_are_required(queries: Any) -> None:
    (message,) = validate_config({"*": GOOD | {"queries": queries}})
    assert f"queries {queries!r}: expected an object" in message
