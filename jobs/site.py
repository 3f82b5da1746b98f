"""The admin site as a whole: its title, its first page, and the pages that belong to no model."""

from django.contrib.admin import AdminSite


class JobControlSite(AdminSite):
    """Django's admin site with a first page for a computing centre."""

    site_header = site_title = "Job control"
    index_title = "Overview"
    enable_nav_sidebar = False  # the header has the sections; the lists need the width
