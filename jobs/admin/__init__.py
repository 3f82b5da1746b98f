"""The admin site's pages of jobs and tags; importing this registers them."""

from jobs.admin.jobs import JobAdmin
from jobs.admin.tags import TagAdmin

__all__ = ["JobAdmin", "TagAdmin"]
