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


class Migration(migrations.Migration):
    """The ended jobs that are not booked yet; at first those are all."""

    atomic = False

    dependencies = [
        ('jobs', '0014_records_of_ended_jobs'),
    ]

    operations = [
        AddIndexBesideWrites(
            model_name='job',
            index=models.Index(condition=models.Q(models.Q(('job_state', 'running'), _negated=True), models.Q(('monitoring_status', 1), _negated=True), ('is_booked', False)), fields=['id'], name='jobs_to_book'),
        ),
    ]
