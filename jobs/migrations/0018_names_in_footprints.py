from importlib import import_module

from django.db import migrations, models

AddIndexBesideWrites = import_module('jobs.migrations.0015_jobs_to_book').AddIndexBesideWrites


class Migration(migrations.Migration):
    """The names of ended jobs, in the index of their footprints."""

    atomic = False

    dependencies = [
        ('jobs', '0017_node_changes'),
    ]

    operations = [
        migrations.AddField(
            model_name='jobfootprint',
            name='name',
            field=models.TextField(help_text='Of the job; empty without one, NULL if only its metadata says it.', null=True),
        ),
        migrations.RemoveIndex(
            model_name='jobfootprint',
            name='jobs_footprints_by_start',
        ),
        AddIndexBesideWrites(
            model_name='jobfootprint',
            index=models.Index(fields=['start_time', 'job', 'name'], name='jobs_footprints_by_start'),
        ),
    ]
