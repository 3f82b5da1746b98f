"""Settings, URLs and whatever belongs to the project as a whole."""

__version__ = "0.2.0"
