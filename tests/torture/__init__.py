"""Break a running server for real, under load, and count whether anything was lost: `python -m tests.torture`."""
