"""Paths of the operations on jobs, tags, clusters, usage and nodes, each with and without its trailing slash."""

from django.urls import re_path

from jobs.api.views import ClusterViewSet, JobViewSet, MetricStoreViewSet, NodeViewSet, TagViewSet, UsageViewSet

_ID = "(?P<id>[^/]+)"

urlpatterns = [
    re_path(r"^jobs/?$", JobViewSet.as_view({"get": "list_jobs"})),
    re_path(r"^jobs/start_job/?$", JobViewSet.as_view({"post": "start_job", "put": "start_job"})),
    re_path(r"^jobs/stop_job/?$", JobViewSet.as_view({"post": "stop_job", "put": "stop_job"})),
    re_path(rf"^jobs/stop_job/{_ID}/?$", JobViewSet.as_view({"post": "stop_job_by_id", "put": "stop_job_by_id"})),
    re_path(
        rf"^jobs/tag_job/{_ID}/?$", JobViewSet.as_view({"post": "tag_job", "patch": "tag_job", "delete": "untag_job"})
    ),
    re_path(r"^jobs/events/?$", JobViewSet.as_view({"post": "events"})),
    re_path(r"^jobs/edit_meta/?$", JobViewSet.as_view({"patch": "edit_meta", "post": "edit_meta"})),
    re_path(rf"^jobs/edit_meta/{_ID}/?$", JobViewSet.as_view({"patch": "edit_meta_by_id", "post": "edit_meta_by_id"})),
    re_path(rf"^jobs/metrics/{_ID}/?$", JobViewSet.as_view({"get": "get_job_metrics"})),
    re_path(r"^jobs/delete_job/?$", JobViewSet.as_view({"delete": "delete_job"})),
    re_path(rf"^jobs/delete_job/{_ID}/?$", JobViewSet.as_view({"delete": "delete_job_by_id"})),
    re_path(r"^jobs/delete_job_before/(?P<ts>[^/]+)/?$", JobViewSet.as_view({"delete": "delete_job_before"})),
    re_path(r"^tags/?$", TagViewSet.as_view({"delete": "delete_tags"})),
    re_path(r"^clusters/?$", ClusterViewSet.as_view({"get": "list_clusters"})),
    re_path(r"^usage/?$", UsageViewSet.as_view({"get": "get_usage"})),
    re_path(r"^nodestate/?$", NodeViewSet.as_view({"post": "nodestate", "put": "nodestate"})),
    re_path(r"^jobs/used_nodes/?$", MetricStoreViewSet.as_view({"get": "used_nodes"})),
    re_path(rf"^jobs/{_ID}/?$", JobViewSet.as_view({"get": "get_job", "post": "query_job"})),
]
