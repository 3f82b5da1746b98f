"""The operations of the API on jobs and what belongs to them: each parses, calls a service, and answers."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from accounts.api.authentication import (
    MetricStoreAuthentication,
    SessionAuthentication,
    TokenAuthentication,
    caller,
    credential,
)
from accounts.api.base import ApiViewSet, json_response
from accounts.api.permissions import HasApiRole, IsMetricStoreOrHasApiRole
from accounts.credentials import Credential
from accounts.models import TokenScope
from archive import root
from jobs.api import calls, events, limits, parameters, schema
from jobs.api.calls import required, whole
from jobs.api.decoding import decode
from jobs.api.pages import PART, framed, select_json
from jobs.api.refusals import IntakeViewSet, sender
from jobs.curation import set_metadata
from jobs.deletion.services import delete_job
from jobs.deletion.steps import Plan, delete_jobs_before
from jobs.exceptions import InvalidJobError, JobNotFoundError, described
from jobs.history import Actor
from jobs.intake.nodes import record_nodestate
from jobs.intake.refused import keep
from jobs.intake.services import start_job, stop_job
from jobs.messages import (
    DeleteJob,
    EditMeta,
    EditMetaOfJob,
    Metrics,
    NodeStates,
    StartJob,
    TagName,
)
from jobs.models import Job
from jobs.overview.nodes import used_nodes
from jobs.overview.usage import usage_of
from jobs.rows import encoding
from jobs.rows.columns import Row
from jobs.rows.select import fetch_row
from jobs.samples.load import samples, samples_by_metric
from jobs.tags.services import delete_named_tags, tag_job, untag_job
from jobs.text import check_time

_LINES = "application/x-ndjson"
_REPORT, _READ = (TokenScope.REPORT.value,), (TokenScope.READ.value,)


class JobViewSet(IntakeViewSet):
    """Batch jobs, for schedulers and tools."""

    permission_classes = [HasApiRole]
    scopes = dict.fromkeys(("start_job", "stop_job", "stop_job_by_id", "tag_job", "untag_job", "events"), _REPORT)
    scopes |= dict.fromkeys(("get_job", "query_job", "get_job_metrics"), _READ) | {"list_jobs": _REPORT + _READ}
    for_persons = frozenset({"list_jobs", "get_job"})

    def limit_to(self, clusters: frozenset[str]) -> None:
        """Check what names a job; the views of lists and of many calls in one check the rest."""
        if self.action == "delete_job_before":
            super().limit_to(clusters)
        elif self.action not in ("list_jobs", "events"):
            row_id = whole(self.kwargs["id"], "id") if "id" in self.kwargs else None
            limits.check_body(clusters, row_id, self.request._request.body)

    @schema.list_jobs
    def list_jobs(self, request: Request) -> HttpResponseBase:
        """List jobs, newest start first."""
        given = parameters.read_query(request._request.META.get("QUERY_STRING", ""))
        token: Credential | None = request.auth  # type: ignore[assignment]  # of our own class
        if token is None or not token.is_limited:
            listing = parameters.parse(given)
        elif token.scope == TokenScope.REPORT and given.get("state") != ["running"]:
            raise PermissionDenied("this token has the scope report, which allows lists with state=running alone")
        else:
            listing = parameters.parse(given, limits.filters_of(token, caller(request)))
        parts = select_json(listing)
        first, rest = next(parts, (0, b"")), parts
        if first[0] < PART or listing.limit == PART:  # the only part, unless its jobs are large
            second = next(parts, None)
            if second is None:
                return json_response(b"".join(framed(first, (), listing.page)))
            rest = chain([second], parts)
        return StreamingHttpResponse(framed(first, rest, listing.page), content_type="application/json")

    @schema.start_job
    def start_job(self, request: Request) -> HttpResponse:
        """Store a job as running."""
        row_id = start_job(job=decode(request._request.body, StartJob))
        return json_response(calls.started(row_id), status=201)

    @schema.stop_job
    def stop_job(self, request: Request) -> HttpResponse:
        """Stop the job that the body names."""
        return json_response(calls.stopped(stop_job(**calls.stop_of(request._request.body))))

    @schema.events
    def events(self, request: Request) -> HttpResponseBase:
        """Carry out the calls in the lines of the body."""
        body = events.sent_parts(request._request.body, request._request.headers.get("Content-Encoding", ""))
        kept = partial(keep, sender(request))
        token = credential(request)
        clusters = token.clusters if token else frozenset()
        outcomes = events.process(
            body, actor=_actor(request), most_lines=events.MOST_LINES, clusters=clusters, keep=kept
        )
        parts = events.answers(outcomes, self._refusal)
        first, second = next(parts, b""), next(parts, None)
        if second is None:
            return HttpResponse(first, content_type=_LINES)
        return StreamingHttpResponse(chain([first, second], parts), content_type=_LINES)

    def _refusal(self, error: Exception) -> tuple[int, bytes]:
        """Return the status and the body of the answer to an exception, and log it."""
        response = self.get_exception_handler()(error, self.get_exception_handler_context())
        return response.status_code, response.content

    @schema.stop_job_by_id
    def stop_job_by_id(self, request: Request, id: str) -> HttpResponse:
        """Stop the job with this database id."""
        body = request._request.body
        return json_response(calls.stopped(stop_job(**calls.stop_by_id_of(whole(id, "id"), body))))

    @schema.get_job
    def get_job(self, request: Request, id: str) -> HttpResponse:
        """Return a job with the samples of all metrics; with all-metrics by name and scope, or without samples."""
        by_metric = parameters.parse_all_metrics(request.query_params)
        token = credential(request)
        if token is not None and token.is_limited:
            limits.check_job(token, caller(request), whole(id, "id"))
        row = _row(whole(id, "id"))
        if by_metric is None:
            return _with_samples(row, samples(row, None))
        return _with_samples(row, samples_by_metric(row) if by_metric else b"null")

    @schema.query_job
    def query_job(self, request: Request, id: str) -> HttpResponse:
        """Return a job with the samples of the metrics that the body names; null or no body is all."""
        row = _row(whole(id, "id"))
        return _with_samples(row, samples(row, _metrics(request._request.body)))

    @schema.get_job_metrics
    def get_job_metrics(self, request: Request, id: str) -> HttpResponse:
        """Return the samples of a job, of some metrics and in some scopes."""
        metrics, scopes = parameters.parse_metrics(dict(request._request.GET.lists()))
        data = samples(_row(whole(id, "id")), metrics, scopes)
        return json_response(b'{"data":{"jobMetrics":%b},"error":null}\n' % data)

    @schema.tag_job
    def tag_job(self, request: Request, id: str) -> HttpResponse:
        """Put tags on a job."""
        return _with_tags(request, id, tag_job)

    @schema.untag_job
    def untag_job(self, request: Request, id: str) -> HttpResponse:
        """Take tags from a job."""
        return _with_tags(request, id, untag_job)

    @schema.edit_meta
    def edit_meta(self, request: Request) -> HttpResponse:
        """Set a key of the metadata of the job that the body names."""
        body = decode(request._request.body, EditMetaOfJob)
        keys = {
            "job_id": required(body.job_id, "jobId"),
            "cluster": body.cluster or None,
            "start_time": body.start_time,
        }
        row_id = Job.objects.with_keys(**keys).values_list("pk", flat=True).first()
        if row_id is None:
            raise JobNotFoundError(f"finding job failed: {described(keys)}")
        return _edited(request, row_id, required(body.payload, "payload"))

    @schema.edit_meta_by_id
    def edit_meta_by_id(self, request: Request, id: str) -> HttpResponse:
        """Set a key of the metadata of the job with this database id."""
        number = whole(id, "id")
        return _edited(request, number, decode(request._request.body, EditMeta))

    @schema.delete_job
    def delete_job(self, request: Request) -> HttpResponse:
        """Delete the job that the body names from the database."""
        body = decode(request._request.body, DeleteJob)
        job_id = required(body.job_id, "jobId")
        row_id = delete_job(job_id=job_id, cluster=body.cluster, start_time=body.start_time, actor=_actor(request))
        return _deleted(row_id)

    @schema.delete_job_by_id
    def delete_job_by_id(self, request: Request, id: str) -> HttpResponse:
        """Delete the job with this database id from the database."""
        return _deleted(delete_job(row_id=whole(id, "id"), actor=_actor(request)))

    @schema.delete_job_before
    def delete_job_before(self, request: Request, ts: str) -> HttpResponse:
        """Delete all jobs that started before a time from the database."""
        before = whole(ts, "ts")
        check_time("ts", before)
        plan = Plan(before, omit_tagged=parameters.parse_omit_tagged(request.query_params))
        count = delete_jobs_before(plan=plan, actor=_actor(request))
        return json_response(encoding.encode({"msg": f"Successfully deleted {count} jobs"}))


class TagViewSet(ApiViewSet):
    """Tags, on whatever jobs."""

    permission_classes = [HasApiRole]

    @schema.delete_tags
    def delete_tags(self, request: Request) -> HttpResponse:
        """Delete tags, and take them from all jobs."""
        tags = decode(request._request.body, list[TagName])
        deleted = delete_named_tags(tags=tags)
        text = f"Deleted Tags from DB: {deleted} successfull of {len(tags)} requested\n"  # as cc-backend writes it
        return HttpResponse(text, content_type="text/plain; charset=utf-8")


class ClusterViewSet(ApiViewSet):
    """The configured clusters."""

    permission_classes = [HasApiRole]
    scopes = {"list_clusters": _READ}

    def limit_to(self, clusters: frozenset[str]) -> None:
        """Allow all: cluster.json says nothing about jobs."""

    @schema.list_clusters
    def list_clusters(self, request: Request) -> HttpResponse:
        """Return the cluster.json of each cluster, or of one."""
        registry, name = root.registry(), parameters.parse_cluster(request.query_params)
        if name is not None and registry.get(name) is None:
            raise InvalidJobError(f"unknown cluster: {name}")
        clusters = [registry.get(each) for each in (registry.names() if name is None else [name])]
        documents = [cluster.document.decode("utf-8", "replace").encode() for cluster in clusters if cluster]
        return json_response(b'{"clusters":[%b]}\n' % b",".join(documents))


class UsageViewSet(ApiViewSet):
    """What ended jobs used."""

    permission_classes = [HasApiRole]
    scopes = {"get_usage": _READ}
    for_persons = frozenset({"get_usage"})

    def limit_to(self, clusters: frozenset[str]) -> None:
        """Allow all: the view limits its answer to the token's clusters."""

    @schema.get_usage
    def get_usage(self, request: Request) -> HttpResponse:
        """Sum up what the jobs used that the caller may see."""
        token = credential(request)
        question = parameters.parse_usage(request.query_params)
        question = replace(question, clusters=token.clusters if token else ())
        return json_response(encoding.encode(usage_of(caller(request), question)))


class NodeViewSet(IntakeViewSet):
    """Nodes, as schedulers report them."""

    permission_classes = [HasApiRole]
    scopes = {"nodestate": _REPORT}

    def limit_to(self, clusters: frozenset[str]) -> None:
        """Check the cluster that the body names."""
        limits.check_body(clusters, None, self.request._request.body)

    @schema.nodestate
    def nodestate(self, request: Request) -> HttpResponse:
        """Keep the state of each node that the body names."""
        body = decode(request._request.body, NodeStates)
        count = record_nodestate(cluster=body.cluster or "", nodes=body.nodes or [])
        return json_response(calls.stored(count))


class MetricStoreViewSet(ApiViewSet):
    """The question of a metric store."""

    authentication_classes = [TokenAuthentication, MetricStoreAuthentication, SessionAuthentication]
    permission_classes = [IsMetricStoreOrHasApiRole]
    scopes = {"used_nodes": _READ}

    @schema.used_nodes
    def used_nodes(self, request: Request) -> HttpResponse:
        """List the nodes that running jobs use, by cluster."""
        before = parameters.parse_ts(request.query_params)
        return json_response(encoding.encode(used_nodes(before=before)))


def _actor(request: Request) -> Actor:
    """Return the calling account and its token, for the history of jobs."""
    return Actor(caller(request).pk, f"API token {request.auth}" if request.auth else "the API")


def _metrics(body: bytes) -> list[str] | None:
    """Return the names of metrics in a body; None, for all, if the body is empty or null."""
    return None if body.strip() in (b"", b"null") else decode(body, Metrics)


def _row(row_id: int) -> Row:
    row = fetch_row(row_id)
    if row is None:
        raise JobNotFoundError(f"finding job failed: no job with database id {row_id}")
    return row


def _with_samples(row: Row, data: bytes) -> HttpResponse:
    return json_response(b'{"meta":%b,"data":%b}\n' % (encoding.encode(encoding.job(row)), data))


def _with_tags(request: Request, id: str, change: Callable[..., Row]) -> HttpResponse:
    """Change the tags of a job by those that the body names, and return the job."""
    number = whole(id, "id")
    tags = decode(request._request.body, list[TagName])
    return json_response(calls.tagged(change(row_id=number, tags=tags, actor=_actor(request))))


def _edited(request: Request, row_id: int, change: EditMeta) -> HttpResponse:
    key, value = required(change.key, "key"), required(change.value, "value")
    row = set_metadata(row_id=row_id, key=key, value=value, actor=_actor(request))
    return json_response(encoding.encode(encoding.job(row)))


def _deleted(row_id: int) -> HttpResponse:
    return json_response(encoding.encode({"msg": f"Successfully deleted job {row_id}"}))
