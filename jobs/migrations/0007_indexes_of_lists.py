import django.db.models.deletion
from django.db import migrations, models


class AddIndexBesideWrites(migrations.AddIndex):
    """Builds an index, on PostgreSQL while others write; begins anew if it was interrupted before."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        concurrently = {'concurrently': True} if schema_editor.connection.vendor == 'postgresql' else {}
        schema_editor.execute(
            f'DROP INDEX {"CONCURRENTLY" if concurrently else ""} IF EXISTS "{self.index.name}"'  # an invalid one
        )
        schema_editor.add_index(model, self.index, **concurrently)


# The index of the constraint on (job_id, tag_id) serves as well.
LINKS_BY_JOB = 'jobs_jobtag_job_id_50be51fb'


class Migration(migrations.Migration):
    """Filters of GET jobs/ that read the whole table to find few jobs or none."""

    atomic = False

    dependencies = [
        ('jobs', '0006_purpose_of_claims'),
    ]

    operations = [
        AddIndexBesideWrites(
            model_name='job',
            index=models.Index(condition=models.Q(('job_state__in', ('running', 'completed')), _negated=True), fields=['job_state', 'start_time', 'id'], name='jobs_by_rare_state'),
        ),
        AddIndexBesideWrites(
            model_name='job',
            index=models.Index(fields=['partition', 'start_time'], name='jobs_by_partition'),
        ),
        AddIndexBesideWrites(
            model_name='job',
            index=models.Index(fields=['sub_cluster', 'start_time'], name='jobs_by_sub_cluster'),
        ),
        migrations.SeparateDatabaseAndState(
            # Not by AlterField: SQLite would copy the table, PostgreSQL would check all links anew.
            database_operations=[
                migrations.RunSQL(
                    f'DROP INDEX IF EXISTS "{LINKS_BY_JOB}"',
                    f'CREATE INDEX IF NOT EXISTS "{LINKS_BY_JOB}" ON "jobs_jobtag" ("job_id")',
                ),
            ],
            state_operations=[
                migrations.AlterField(
                    model_name='jobtag',
                    name='job',
                    field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='tag_links', to='jobs.job'),
                ),
            ],
        ),
    ]
