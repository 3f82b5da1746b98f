"""Benchmarks; docs/performance.md says what they showed."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ccbackend.settings")
os.environ.setdefault("SECRET_KEY", "benchmark")
