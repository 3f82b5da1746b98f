"""What the database extracts from a job's JSON: its name, and the scheduler's own word for its state."""

from typing import Any

from django.db.models import Func, TextField

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
