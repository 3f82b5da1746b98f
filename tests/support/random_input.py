"""Random input for Hypothesis: JSON values, and valid documents with some of their parts replaced by others.

FUZZ_EXAMPLES sets the number of examples; by default they are few, and the same ones in each run.
"""

import json
import os
from typing import Any

import hypothesis
from hypothesis import HealthCheck, strategies
from hypothesis.strategies import SearchStrategy

STEADY = "FUZZ_EXAMPLES" not in os.environ


def examples(number: int, **more: Any) -> hypothesis.settings:
    """Return the settings of a test with this number of examples by default."""
    return hypothesis.settings(
        max_examples=number if STEADY else int(os.environ["FUZZ_EXAMPLES"]),
        derandomize=STEADY,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )


SCALARS = (
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats(allow_nan=False, allow_infinity=False)
    | strategies.text(max_size=20)
    | strategies.sampled_from(
        ["", "0", "node", "NaN", 2**63, -(2**63) - 1, 10**400, 1e308, -0.0, "\ud800", "\0", "n[1-"]
    )
)
JSON = strategies.recursive(
    SCALARS,
    lambda inner: (
        strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@strategies.composite
def changed(draw: strategies.DrawFn, document: Any) -> Any:
    """Draw a JSON document of which up to three parts were replaced, left out or named otherwise."""
    document = json.loads(json.dumps(document))
    for _ in range(draw(strategies.integers(1, 3))):
        document = _with_change(draw, document)
    return document


def _with_change(draw: strategies.DrawFn, part: Any) -> Any:
    keys: list[Any] = list(part) if isinstance(part, dict) else list(range(len(part))) if isinstance(part, list) else []
    if not keys or draw(strategies.integers(0, 5)) == 0:
        return draw(JSON)
    key = draw(strategies.sampled_from(keys))
    if draw(strategies.integers(0, 7)) == 0:
        del part[key]
    elif isinstance(part, dict) and draw(strategies.integers(0, 7)) == 0:
        part[draw(strategies.sampled_from([key.upper(), key + "x", ""]))] = part.pop(key)
    else:
        part[key] = _with_change(draw, part[key])
    return part


def as_json(document: Any) -> bytes:
    """Return a document as JSON; NaN and lone surrogates become what JSON has no words for."""
    return json.dumps(document, ensure_ascii=False).encode(errors="surrogatepass")


def documents(valid: Any) -> SearchStrategy[bytes]:
    """Return files: a valid document that was changed, cut off, or some bytes of it overwritten, or any bytes."""
    whole = changed(valid).map(as_json)
    cut = strategies.tuples(whole, strategies.integers(0, 400)).map(lambda pair: pair[0][: -pair[1] - 1])
    overwritten = strategies.tuples(whole, strategies.integers(0, 2000), strategies.binary(max_size=4)).map(
        lambda three: three[0][: three[1]] + three[2] + three[0][three[1] + len(three[2]) :]
    )
    return whole | whole | cut | overwritten | strategies.binary(max_size=30)
