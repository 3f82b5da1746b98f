"""What the database makes of a job's row: how long it ran, and of its JSON name, hosts and the scheduler's state."""

from typing import Any

from django.db.models import Aggregate, BigIntegerField, Case, F, Func, TextField, Value, When
from django.db.models.functions import Greatest

from jobs.states import JobState

FIRST_WORD_OF_STATE = {
    "sqlite": (
        "(SELECT substr(text, 1, instr(text, ' ') - 1)"
        " FROM (SELECT lower(JSON_EXTRACT(%(expressions)s, '$.schedulerState')) || ' ' AS text))"
    ),
    "postgresql": "split_part(lower(%(expressions)s::json ->> 'schedulerState'), ' ', 1)",
}
"""The SQL of the first word of the scheduler's own text for the state; null if the metadata has none."""


class FirstWordOfState(Func):
    """The first word of the scheduler's own text for the state, in lower case, extracted by the database."""

    output_field = TextField()
    template = FIRST_WORD_OF_STATE["sqlite"]
    arity = 1

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return the SQL for PostgreSQL."""
        return self.as_sql(compiler, connection, template=FIRST_WORD_OF_STATE["postgresql"], **context)


class JobName(Func):
    """The job name in the metadata, extracted by the database; null if there is none."""

    output_field = TextField()
    template = "JSON_EXTRACT(%(expressions)s, '$.jobName')"
    arity = 1

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return the SQL for PostgreSQL."""
        return self.as_sql(compiler, connection, template="(%(expressions)s::json ->> 'jobName')", **context)


class SchedulerState(Func):
    """The scheduler's own text for the state in the metadata, extracted by the database; null if there is none."""

    output_field = TextField()
    template = "JSON_EXTRACT(%(expressions)s, '$.schedulerState')"
    arity = 1

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return the SQL for PostgreSQL."""
        return self.as_sql(compiler, connection, template="(%(expressions)s::json ->> 'schedulerState')", **context)


class Hosts(Func):
    """The hosts of the resources, separated by blanks, extracted by the database; null if there are none."""

    output_field = TextField()
    template = "(SELECT group_concat(JSON_EXTRACT(value, '$.hostname'), ' ') FROM json_each(%(expressions)s))"
    arity = 1

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return the SQL for PostgreSQL."""
        names = "(SELECT string_agg(node ->> 'hostname', ' ') FROM json_array_elements(%(expressions)s::json) node)"
        return self.as_sql(compiler, connection, template=names, **context)


def elapsed_until(now: int) -> Case:
    """Return how long a job ran, or has been running until a time (epoch seconds), in seconds."""
    number = BigIntegerField()
    so_far = Greatest(Value(now, output_field=number) - F("start_time"), Value(0, output_field=number))
    return Case(When(job_state=JobState.RUNNING, then=so_far), default=F("duration"), output_field=number)


class Joined(Aggregate):
    """The values of all rows but nulls, separated by commas; null if there are none.

    A row for each of many jobs would take Python several times as long. All of a statement are in the same order.
    """

    function = "GROUP_CONCAT"
    template = "%(function)s(%(expressions)s)"
    output_field = TextField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return the SQL for PostgreSQL."""
        return self.as_sql(compiler, connection, template="STRING_AGG((%(expressions)s)::text, ',')", **context)
