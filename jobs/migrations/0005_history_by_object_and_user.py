from django.conf import settings
from django.db import migrations

INDEXES = {
    # The history of a job, on its page.
    "jobs_history_of_object": '("content_type_id", "object_id")',
    # What somebody did last, on the first page.
    "jobs_history_of_user": '("user_id", "action_time")',
}


class Migration(migrations.Migration):
    """Django's log of actions is the history of jobs: with millions of entries it needs indexes of its own."""

    dependencies = [
        ('jobs', '0004_indexes_of_the_admin'),
        ('admin', '0003_logentry_add_action_flag_choices'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunSQL(
            f'CREATE INDEX "{name}" ON "django_admin_log" {columns}', f'DROP INDEX IF EXISTS "{name}"'
        )
        for name, columns in INDEXES.items()
    ]
