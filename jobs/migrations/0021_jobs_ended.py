from importlib import import_module

from django.db import migrations, models

AddIndexBesideWrites = import_module('jobs.migrations.0015_jobs_to_book').AddIndexBesideWrites


class Migration(migrations.Migration):
    """The ended jobs, newest first, without the running ones before them."""

    atomic = False

    dependencies = [
        ('jobs', '0020_tag_rules'),
    ]

    operations = [
        AddIndexBesideWrites(
            model_name='job',
            index=models.Index(condition=models.Q(('job_state__in', ('completed', 'failed', 'cancelled', 'stopped', 'timeout', 'preempted', 'out_of_memory'))), fields=['start_time', 'id', 'cluster'], name='jobs_ended'),
        ),
    ]
