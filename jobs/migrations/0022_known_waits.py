from django.db import migrations, models


class Migration(migrations.Migration):
    """How many jobs of a row of usage have a known wait; a wait of 0 is an unknown one."""

    dependencies = [
        ('jobs', '0021_jobs_ended'),
    ]

    operations = [
        migrations.AddField(
            model_name='usage',
            name='waited',
            field=models.BigIntegerField(db_default=0, default=0, help_text='Of these jobs, those with a known wait.'),
        ),
        migrations.AlterField(
            model_name='jobfootprint',
            name='waiting',
            field=models.BigIntegerField(help_text='Seconds from submission to start, at least 1; 0 if unknown.'),
        ),
        migrations.AlterField(
            model_name='deletedjob',
            name='waiting',
            field=models.BigIntegerField(help_text='As in JobFootprint.'),
        ),
    ]
