"""The admin site as a whole: its title, its first page, and the pages that belong to no model."""

from typing import Any

from django.contrib.admin import AdminSite
from django.urls import path

from jobs import clusterpages


class JobControlSite(AdminSite):
    """Django's admin site with a first page for a computing centre."""

    site_header = site_title = "Job control"
    index_title = "Overview"
    enable_nav_sidebar = False  # the header has the sections; the lists need the width

    def get_urls(self) -> list[Any]:
        """Add the pages that belong to no model."""
        pages = [
            path("clusters/", self.admin_view(clusterpages.cluster_list), name="clusters"),
            path("clusters/<str:name>/", self.admin_view(clusterpages.cluster_page), name="cluster"),
        ]
        return [*pages, *super().get_urls()]
