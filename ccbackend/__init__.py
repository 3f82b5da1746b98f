"""Settings, URLs and other parts of the project as a whole."""

__version__ = "0.2.0"
