"""Fill the database of DATABASE_URL for a benchmark: `python -m benchmarks.prepare JOBS` prints an API token.

A database or an archive that holds anything is refused.
"""

import json
import sys

import django

from benchmarks import guard


def main() -> None:
    """Migrate, write the demo cluster, create finished jobs and a user with a token."""
    django.setup()

    from django.core.management import call_command

    from accounts.models import ApiToken, Role
    from accounts.services import create_user
    from archive import root
    from jobs import demo
    from jobs.models import Job

    guard.require_empty()
    call_command("migrate", verbosity=0)
    demo.write_cluster(root.store())
    resources = json.dumps([{"hostname": f"n{node:02}", "hwthreads": [0, 1, 2, 3]} for node in range(1, 5)])
    script = json.dumps({"jobName": "benchmark", "jobScript": "#SBATCH --nodes=4\n" * 114})
    Job.objects.bulk_create(
        (
            Job(
                job_id=number,
                cluster=demo.CLUSTER,
                sub_cluster="main",
                partition="main",
                user=f"user{number % 500:03}",
                project=f"proj{number % 100:02}",
                num_nodes=4,
                num_hwthreads=16,
                monitoring_status=0,
                job_state="completed",
                start_time=1_795_000_000 + number,
                duration=3600,
                walltime=86_400,
                resources=resources,
                meta_data=script,
            )
            for number in range(1, int(sys.argv[1]) + 1)
        ),
        batch_size=500,
    )
    _, token = ApiToken.issue(user=create_user(username="benchmark", roles=[Role.API], password=""))
    print(token)


if __name__ == "__main__":
    main()
