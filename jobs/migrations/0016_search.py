from importlib import import_module

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

AddIndexBesideWrites = import_module('jobs.migrations.0015_jobs_to_book').AddIndexBesideWrites


class Migration(migrations.Migration):
    """The jobs of an array, and the columns of the job list that somebody has chosen."""

    atomic = False

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ('jobs', '0015_jobs_to_book'),
    ]

    operations = [
        migrations.CreateModel(
            name='ListColumns',
            fields=[
                ('owner', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='list_columns', serialize=False, to=settings.AUTH_USER_MODEL)),
                ('names', models.TextField(help_text='Names of columns, separated by commas.')),
            ],
        ),
        AddIndexBesideWrites(
            model_name='job',
            index=models.Index(condition=models.Q(('array_job_id__gt', 0)), fields=['array_job_id'], name='jobs_by_array'),
        ),
    ]
