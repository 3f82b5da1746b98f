"""Admin pages for jobs and tags."""

from jobs.admin import jobs, tags  # noqa: F401  importing them registers the pages
