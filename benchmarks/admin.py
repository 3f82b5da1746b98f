"""Time pages of the admin site: `python -m benchmarks.admin [--rounds 15] [--page NAME]`.

The database of DATABASE_URL is one that `python -m benchmarks.many` filled. Prints, for each page and for a person of
each kind, the time of the first view with nothing cached, the median of the following views and their number of
queries. The time is that of the whole Django request in this process, without HTTP.
"""

import argparse
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta

import django

_JOBS = "/admin/jobs/job/"
_OF_USER001 = "JOB"  # stands for the row id of a job that all three people see
_DAY = (datetime.now(UTC) - timedelta(days=2)).date()

# Name to path: what is timed.
PAGES = {
    "dashboard": "/admin/",
    "dashboard, 90 days": "/admin/?days=90",
    "jobs": _JOBS,
    "jobs, page 100": f"{_JOBS}?p=100",
    "failed": f"{_JOBS}?state=failed",
    "running": f"{_JOBS}?state=running",
    "cluster, failed, 7 days": f"{_JOBS}?cluster=demo&state=failed&started=7d",
    "user": f"{_JOBS}?user=user001",
    "user, failed": f"{_JOBS}?user=user001&state=failed",
    "project, timeout": f"{_JOBS}?project=proj01&state=timeout",
    "tag on 20,000": f"{_JOBS}?q=tag:perf:bad",
    "partition": f"{_JOBS}?partition=gpu",
    "duration": f"{_JOBS}?ran_to=2m",
    "nodes": f"{_JOBS}?nodes_from=9",
    "archiving failed": f"{_JOBS}?archiving=failed",
    "two days, failed": f"{_JOBS}?from={_DAY}&to={_DAY}&state=failed",
    "search job id": f"{_JOBS}?q=job:1050000",
    "search project": f"{_JOBS}?q=project:proj99",
    "search host": f"{_JOBS}?q=host:n0123",
    "search name": f"{_JOBS}?q=name:gromacs-12",
    "search user and host": f"{_JOBS}?q=user:user001+host:n0123",
    "search host, failed, 7 days": f"{_JOBS}?q=host:n0123+state:failed&started=7d",
    "search hosts by beginning": f"{_JOBS}?q=host:n012*",
    "search users by beginning": f"{_JOBS}?q=user:user00*",
    "search two states": f"{_JOBS}?q=state:failed,timeout",
    "search large jobs, none": f"{_JOBS}?q=nodes:>64",
    "search low flops": f"{_JOBS}?q=flops_any:<5%25",
    "project, low flops, 7 days": f"{_JOBS}?q=project:proj01+flops_any:<5%25&started=7d",
    "search share of limit": f"{_JOBS}?q=limit:>95%25",
    "search excluded": f"{_JOBS}?q=-user:user001+-state:completed",
    "search any name, none": f"{_JOBS}?q=nothing-at-all",
    "user, sorted by duration": f"{_JOBS}?q=user:user100&sort=-elapsed",
    "beside a job": f"{_JOBS}?beside={_OF_USER001}",
    "statistics": f"{_JOBS}statistics/",
    "statistics, 7 days": f"{_JOBS}statistics/?started=7d",
    "statistics, user": f"{_JOBS}statistics/?user=user001",
    "statistics, failed": f"{_JOBS}statistics/?state=failed",
    "statistics, host": f"{_JOBS}statistics/?q=host:n0123",
    "statistics, low flops": f"{_JOBS}statistics/?q=flops_any:<5%25",
    "job page": f"{_JOBS}{_OF_USER001}/change/",
    "history of a job": f"{_JOBS}{_OF_USER001}/history/",
    "clusters": "/admin/clusters/",
    "cluster": "/admin/clusters/demo/",
    "node": "/admin/clusters/demo/n0123/",
    "node, 30 days": "/admin/clusters/demo/n0123/?days=30",
    "my jobs": "/admin/my-jobs/",
    "usage by user": "/admin/usage/?by=user",
    "usage by project": "/admin/usage/?by=project",
}
PEOPLE = ("benchmark-admin", "benchmark-manager", "user001")


def main() -> None:
    """Log in as each person, view each page, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="views per page after the first")
    parser.add_argument("--page", choices=PAGES, action="append", help="time only this page; may be repeated")
    options = parser.parse_args()
    django.setup()

    from django.core.cache import cache
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from accounts.models import User
    from jobs.models import Job

    seen_by_all = Job.objects.filter(user="user001", project="proj01").exclude(job_state="running").order_by("-pk")
    row_id = seen_by_all.values_list("pk", flat=True).first()

    def view(client: Client, path: str) -> tuple[float, int]:
        """Return the milliseconds and the number of queries of one view."""
        connection.queries_log.clear()  # it holds so many and no more
        with CaptureQueriesContext(connection) as queries:
            begin = time.perf_counter()
            response = client.get(path.replace(_OF_USER001, str(row_id)))
            took = (time.perf_counter() - begin) * 1000
        if response.status_code != 200:
            sys.exit(f"{path}: {response.status_code}")
        return took, len(queries)

    print(f"{connection.vendor:<20}{'page':<28}{'first':>10}{'median':>10}{'slowest':>10}{'queries':>9}")
    for person in PEOPLE:
        client = Client(headers={"host": "localhost"})
        user = User.objects.filter(username=person).first()
        if user is None:
            sys.exit(f"there is no {person}: fill the database with python -m benchmarks.many")
        client.force_login(user)
        view(client, "/admin/password_change/")  # templates and modules are loaded then
        for name in options.page or PAGES:
            cache.clear()
            first, cold = view(client, PAGES[name])
            later = [view(client, PAGES[name]) for _ in range(options.rounds)]
            times = (first, statistics.median(took for took, _ in later), max(took for took, _ in later))
            queries = f"{cold}, {max(count for _, count in later)}"
            print(f"{person:<20}{name:<28}" + "".join(f"{ms:>7.0f} ms" for ms in times) + f"{queries:>9}")


if __name__ == "__main__":
    main()
