"""Formats of dates and times in the admin site, by language; see FORMAT_MODULE_PATH."""
