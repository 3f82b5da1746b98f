"""The data of the plots on a job page, as JSON."""

import re
from typing import TYPE_CHECKING, Any

import orjson
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET

from archive.format.cluster_json import SCOPES
from jobs.models import Job
from jobs.querysets import JobQuerySet
from jobs.rows.columns import STORED_COLUMNS, Row
from jobs.samples.plots import job_plots

if TYPE_CHECKING:
    JobModelAdmin = ModelAdmin[Job]
else:
    JobModelAdmin = ModelAdmin

# Not needed for plots, and large: a job script, and the figures of all metrics.
_UNREAD: dict[str, Any] = {"tags": None, "meta_data": None, "statistics": None}
_COLUMNS = tuple(column for column in STORED_COLUMNS if column not in _UNREAD)
_SECONDS = re.compile("[0-9]{1,12}")


def urls(model_admin: JobModelAdmin) -> list[URLPattern]:
    """Return the URL pattern of the plots."""

    @require_GET
    def plots_view(request: HttpRequest, row_id: int) -> HttpResponse:
        """Return the plots of a job, or the reason why there are none."""
        scope = request.GET.get("scope", "node")
        part = request.GET.get("from", ""), request.GET.get("to", "")
        if scope not in SCOPES:
            return _json({"reason": f"scope: expected one of {', '.join(SCOPES)}"}, status=400)
        if any(part) and not all(_SECONDS.fullmatch(word) for word in part):
            return _json({"reason": "from, to: expected both of them, in epoch seconds"}, status=400)
        jobs = model_admin.get_queryset(request)
        assert isinstance(jobs, JobQuerySet)
        visible = jobs.filter(pk=row_id) if model_admin.has_view_permission(request) else jobs.none()
        values = visible.values(*_COLUMNS).first()
        if values is None:
            return _json({"reason": "There is no such job, or you may not see it."}, status=404)
        row = Row(**values, **_UNREAD)
        return _json(job_plots(row=row, scope=scope, part=(int(part[0]), int(part[1])) if all(part) else None))

    return [path("<int:row_id>/plots/", model_admin.admin_site.admin_view(plots_view), name="jobs_job_plots")]


def _json(document: object, status: int = 200) -> HttpResponse:
    content = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return HttpResponse(content, content_type="application/json", status=status)
