import django.db.models.deletion
from django.db import migrations, models

import jobs.records


class CreateModelWithoutRowid(migrations.CreateModel):
    """Creates a table which SQLite keeps in the index of its key alone: half the bytes and half the work."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        model = to_state.apps.get_model(app_label, self.name)
        if schema_editor.connection.vendor != 'sqlite':
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        elif self.allow_migrate_model(schema_editor.connection.alias, model):
            sql, parameters = schema_editor.table_sql(model)
            schema_editor.execute(f'{sql} WITHOUT ROWID', parameters)
            schema_editor.deferred_sql.extend(schema_editor._model_indexes_sql(model))


class AddColumn(migrations.AddField):
    """Adds a column that has a default in the database; on SQLite without copying the whole table."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        model = to_state.apps.get_model(app_label, self.model_name)
        if schema_editor.connection.vendor != 'sqlite':
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        elif self.allow_migrate_model(schema_editor.connection.alias, model):
            field = model._meta.get_field(self.name)
            kind = field.db_type(schema_editor.connection)
            schema_editor.execute(
                f'ALTER TABLE "{model._meta.db_table}" ADD COLUMN "{field.column}" {kind} NOT NULL '
                f'DEFAULT {int(field.db_default)}'
            )


def _figures():
    """Return the fields of the slots as they are at this migration."""
    for slot in range(1, 13):
        for figure in ('avg', 'max'):
            yield f'{figure}_{slot}', jobs.records.RealField(null=True)
        for figure in ('avg_share', 'max_share', 'imbalance', 'idle'):
            yield f'{figure}_{slot}', models.SmallIntegerField(null=True)


class Migration(migrations.Migration):
    """Tables of what is written down when a job has ended, when it was submitted, and whether it is booked."""

    dependencies = [
        ('jobs', '0013_free_space'),
    ]

    operations = [
        migrations.CreateModel(
            name='Node',
            fields=[
                ('id', models.AutoField(primary_key=True, serialize=False)),
                ('cluster', models.CharField(max_length=255)),
                ('hostname', models.CharField(max_length=255)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('cluster', 'hostname'), name='jobs_host_once')],
            },
        ),
        CreateModelWithoutRowid(
            name='JobNode',
            fields=[
                ('pk', models.CompositePrimaryKey('node', 'start_time', 'end_time', 'job', blank=True, editable=False, primary_key=True, serialize=False)),
                ('start_time', models.BigIntegerField()),
                ('end_time', models.BigIntegerField()),
                ('node', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='jobs.node')),
                ('job', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='jobs.job')),
            ],
        ),
        migrations.CreateModel(
            name='FootprintMetric',
            fields=[
                ('slot', models.SmallIntegerField(primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=255, unique=True)),
            ],
        ),
        CreateModelWithoutRowid(
            name='JobFootprint',
            fields=[
                ('job', models.OneToOneField(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='footprint', serialize=False, to='jobs.job')),
                ('start_time', models.BigIntegerField(help_text='Epoch seconds.')),
                ('duration', models.BigIntegerField(help_text='Seconds.')),
                ('num_nodes', models.IntegerField()),
                ('cores', models.IntegerField(help_text='Cores that the job had; 0 if unknown.')),
                ('accelerators', models.IntegerField()),
                ('waiting', models.BigIntegerField(help_text='Seconds from submission to start; 0 if unknown.')),
                ('power', models.BigIntegerField(help_text='Average power of all nodes in milliwatts; 0 if it was not measured.')),
                ('energy', jobs.records.RealField(help_text='Kilowatt hours; NULL if power was not measured.', null=True)),
                ('walltime_share', models.SmallIntegerField(help_text='Of the walltime, per mille; NULL without one.', null=True)),
                *_figures(),
            ],
            options={
                'indexes': [models.Index(fields=['start_time', 'job'], name='jobs_footprints_by_start')],
            },
        ),
        migrations.CreateModel(
            name='Usage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('started', models.BigIntegerField(default=0, help_text='Jobs that started on this day, and have ended since.')),
                ('jobs', models.BigIntegerField(default=0, help_text='Jobs that ended on this day.')),
                ('waiting_seconds', models.BigIntegerField(default=0, help_text='Of these jobs, from submission to start.')),
                ('node_seconds', models.BigIntegerField(default=0)),
                ('core_seconds', models.BigIntegerField(default=0)),
                ('acc_seconds', models.BigIntegerField(default=0, verbose_name='accelerator seconds')),
                ('energy', models.BigIntegerField(default=0, help_text='Joules.')),
                ('day', models.IntegerField(help_text='Days since the epoch, UTC.')),
                ('cluster', models.CharField(max_length=255)),
                ('sub_cluster', models.CharField(max_length=255)),
                ('partition', models.CharField(max_length=255)),
                ('project', models.CharField(max_length=255)),
                ('user', models.CharField(max_length=255)),
                ('job_state', models.CharField(max_length=16)),
            ],
            options={
                'indexes': [
                    models.Index(fields=['user', 'day'], name='jobs_usage_by_user'),
                    models.Index(fields=['project', 'day'], name='jobs_usage_by_project'),
                ],
                'constraints': [models.UniqueConstraint(fields=('day', 'cluster', 'sub_cluster', 'partition', 'project', 'user', 'job_state'), name='jobs_usage_once')],
            },
        ),
        migrations.CreateModel(
            name='DeletedJob',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('job_id', models.BigIntegerField(verbose_name='job id')),
                ('cluster', models.CharField(max_length=255)),
                ('start_time', models.BigIntegerField(help_text='Epoch seconds.')),
                ('duration', models.BigIntegerField(help_text='Seconds.')),
                ('sub_cluster', models.CharField(max_length=255)),
                ('partition', models.CharField(max_length=255)),
                ('project', models.CharField(max_length=255)),
                ('user', models.CharField(max_length=255)),
                ('job_state', models.CharField(max_length=16)),
                ('num_nodes', models.IntegerField()),
                ('cores', models.IntegerField()),
                ('accelerators', models.IntegerField()),
                ('waiting', models.BigIntegerField(help_text='Seconds.')),
                ('power', models.BigIntegerField(help_text='Milliwatts.')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('job_id', 'cluster', 'start_time'), name='jobs_deleted_run_once')],
            },
        ),
        AddColumn(
            model_name='job',
            name='submit_time',
            field=models.BigIntegerField(db_default=0, default=0, help_text='Epoch seconds.'),
        ),
        AddColumn(
            model_name='job',
            name='is_booked',
            field=models.BooleanField(db_default=False, default=False, help_text='Whether nodes, footprint and usage of the ended job are booked.'),
        ),
    ]
