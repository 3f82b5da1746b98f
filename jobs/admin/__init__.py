"""Admin pages for jobs, tags and refused calls."""

from jobs.admin import jobs, refused_calls, tag_rules, tags  # noqa: F401  importing them registers the pages
