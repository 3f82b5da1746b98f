"""ISO dates and 24 hours, as in logs, commands and the list of jobs."""

DATE_FORMAT = "Y-m-d"
TIME_FORMAT = "H:i"
DATETIME_FORMAT = "Y-m-d H:i"
