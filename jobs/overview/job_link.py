"""Addresses of jobs for mails and other programs: /job/CLUSTER/JOBID leads to the newest run that one may see."""

from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.shortcuts import redirect

from jobs.models import Job
from jobs.text import is_whole


def newest_run(request: HttpRequest, cluster: str, job_id: str) -> HttpResponseRedirect:
    """Lead to the page of a job; the answer is the same for one that is not there and one that one may not see."""
    seen = Job.objects.visible_to(request.user, by_index=False)
    job = seen.with_keys(cluster=cluster, job_id=int(job_id)).first() if is_whole(job_id) else None
    if job is None:
        raise Http404(f"there is no job {job_id[:40]} of cluster {cluster[:80]} that you may see")
    return redirect("admin:jobs_job_change", job.pk)
