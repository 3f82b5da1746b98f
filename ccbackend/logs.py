"""What enters a log line or an error answer: escaped and bounded, since clients choose parts of it."""

import logging

MOST = 2_000
"""Characters of a log line or an error message."""

_MOST_LINES = 200  # of a traceback


def shown(text: str, most: int = MOST) -> str:
    """Return a text as one line: unprintable characters as `\\n`, `\\x1b`; of a longer one, begin and end.

    The end of a message usually has the reason, after a name that may be long.
    """
    if len(text) > most:
        end = most // 4
        text = f"{text[: most - end]}… ({len(text):,} characters) …{text[len(text) - end :]}"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class LineFormatter(logging.Formatter):
    """A formatter whose records are one line each; tracebacks follow indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line."""
        record.message = shown(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:
        """Return a traceback, of which no line can be taken for one of the log."""
        lines = super().formatException(ei).splitlines()  # type: ignore[arg-type]  # typeshed's name is private
        if len(lines) > _MOST_LINES:
            lines[_MOST_LINES // 2 : -_MOST_LINES // 2] = ["..."]
        return "\n".join(f"    {shown(line)}" for line in lines)
