"""What `manage.py setup` does, before there are settings: a module per thing that it makes."""


class SetupError(Exception):
    """A step cannot be done; the message says why, and what would make it possible."""
