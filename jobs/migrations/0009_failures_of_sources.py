from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0008_worker_heartbeat'),
    ]

    operations = [
        migrations.AddField(
            model_name='archivetask',
            name='of_source',
            field=models.BooleanField(db_default=False, default=False, help_text='Whether the last attempt failed because of the metric source.'),
        ),
    ]
