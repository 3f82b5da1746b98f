from django.db import migrations, transaction

_KIND = ', '.join(f'"{name}"' for name in ('cluster', 'sub_cluster', 'partition', 'project', 'user', 'job_state'))
# The day of the end, within the bounds of jobs.ledger.usage: the latest start, and the longest run that counts.
_DAY = """
    (CASE WHEN "start_time" < 32535215999 THEN "start_time" ELSE 32535215999 END
        + CASE WHEN "duration" < 86400000 THEN "duration" ELSE 86400000 END) / 86400
"""
# What takes long only reads, and writes into a table of the connection alone.
_COUNT = f"""
    CREATE TEMPORARY TABLE known_waits AS
    SELECT {_DAY} AS "day", {_KIND}, COUNT(*) AS "waited", SUM(CASE WHEN "waiting" = 0 THEN 1 ELSE 0 END) AS "at_once"
    FROM (
        SELECT {_KIND}, f."start_time", f."duration", "waiting"
        FROM "jobs_jobfootprint" f JOIN "jobs_job" j ON j."id" = f."job_id"
        WHERE "waiting" > 0 OR "submit_time" > 0
        UNION ALL
        SELECT {_KIND}, "start_time", "duration", "waiting" FROM "jobs_deletedjob" WHERE "waiting" > 0
    ) AS known
    GROUP BY 1, {_KIND}
"""
_MARK = """
    UPDATE "jobs_jobfootprint" SET "waiting" = 1
    WHERE "waiting" = 0 AND "job_id" IN (SELECT "id" FROM "jobs_job" WHERE "submit_time" > 0)
"""
_FILL = f"""
    UPDATE "jobs_usage" SET "waited" = k."waited", "waiting_seconds" = "waiting_seconds" + k."at_once"
    FROM known_waits k
    WHERE {' AND '.join(f'k.{name} = "jobs_usage".{name}' for name in ('"day"', *_KIND.split(', ')))}
"""


def count(apps, schema_editor):
    """Fill in the new column, and let a job that started at once have waited a second."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        cursor.execute('DROP TABLE IF EXISTS known_waits')
        cursor.execute(_COUNT)
        with transaction.atomic(connection.alias):
            cursor.execute(_MARK)
            if connection.vendor == 'postgresql':  # as a worker does: footprints first, and no deadlock about usage
                cursor.execute('LOCK TABLE "jobs_usage" IN SHARE ROW EXCLUSIVE MODE')
            cursor.execute(_FILL)
        cursor.execute('DROP TABLE known_waits')


class Migration(migrations.Migration):
    """The known waits of what was booked before there was a column for their number."""

    atomic = False

    dependencies = [
        ('jobs', '0022_known_waits'),
    ]

    operations = [
        migrations.RunPython(count, migrations.RunPython.noop),
    ]
