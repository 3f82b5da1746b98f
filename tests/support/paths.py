"""Where the project and its test data lie, and the real jobs of other centres, which are no part of the project."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DATA = PROJECT / "tests/data"
SHARED = PROJECT.parent / "shared"  # only tests about real jobs read it, and skip where it is not there
