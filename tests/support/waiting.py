"""How long a test waits: for a condition, and longer the more other work the machine has."""

import os
import time
from collections.abc import Callable


def patience(seconds: float) -> float:
    """Return a time limit of an idle machine (seconds) as it is for this one now: four times the load per CPU."""
    return seconds * max(1.0, 4 * os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_for(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait until a condition holds."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < patience(seconds), "waited in vain"
        time.sleep(0.05)
