"""Admin pages for clusters: their configuration in cluster.json, and the current state of their nodes."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from accounts.formatting import quantity
from archive import root
from archive.format.cluster_json import Cluster, MetricConfig, SubCluster, Topology
from jobs.overview.nodes import MOST_HOSTS, Node, loads_of, nodes_of

MOST_ROWS = 1000  # nodes in the table of one page
MOST_LINKS = 10  # jobs of one node

_LINK = '<span class="job-link"><a href="{}{}/change/">{}</a> {}</span>'


@dataclass(frozen=True)
class Unit:
    """A socket, or the whole node if there are no sockets: the numbers of its cores, hwthreads, memory domains."""

    name: str
    cores: list[int]
    hwthreads: tuple[int, ...]
    memory_domains: list[int]


@dataclass(frozen=True)
class Section:
    """A subcluster, its number of nodes (None: any), and its sockets."""

    subcluster: SubCluster
    nodes: int | None
    units: list[Unit]


@dataclass(frozen=True)
class Metric:
    """A metric and its overrides per subcluster, None if the subcluster does not have the metric."""

    config: MetricConfig
    overrides: list[tuple[str, MetricConfig | None]]


@dataclass(frozen=True)
class NodeFilter:
    """The filter of the table of nodes; an empty text matches all nodes."""

    subcluster: str = ""
    state: str = ""
    host: str = ""

    def matches(self, node: Node) -> bool:
        """Return whether the node matches."""
        return (
            (not self.subcluster or node.subcluster == self.subcluster)
            and (not self.state or self.state in node.marks)
            and self.host in node.hostname
        )


@require_safe
def cluster_list(request: HttpRequest) -> HttpResponse:
    """Show all clusters with their load."""
    registry = root.registry()
    errors = registry.errors
    names = sorted({*registry.names(), *errors})
    loads = loads_of(names=names, user=request.user) if names else {}
    rows = []
    for name in names:
        cluster = registry.get(name)
        counts = list(_node_counts(cluster).values()) if cluster else []
        nodes = None if None in counts else sum(count or 0 for count in counts)
        rows.append({"name": name, "cluster": cluster, "nodes": nodes, "load": loads[name], "error": name in errors})
    return _page(request, "list", {"title": "Clusters", "rows": rows})


@require_safe
def cluster_page(request: HttpRequest, name: str) -> HttpResponse:
    """Show a cluster: configuration, and nodes with the running jobs that the user may see."""
    registry = root.registry()
    cluster, error = registry.get(name), registry.errors.get(name)
    if cluster is None and error is None:
        raise Http404(f"no cluster {name}")
    choice = NodeFilter(*(request.GET.get(key, "").strip() for key in ("subcluster", "state", "host")))
    nodes = nodes_of(name=name, cluster=cluster, user=request.user)
    chosen = [node for node in nodes if choice.matches(node)]
    context = {
        "title": f"Cluster {name}",
        "name": name,
        "cluster": cluster,
        "error": error,
        "choice": choice,
        "sections": _sections(cluster) if cluster else [],
        "metrics": _metrics(cluster),
        "states": sorted(Counter(mark for node in nodes for mark in node.marks).items()),
        "total": len(nodes),
        "chosen": len(chosen),
        "rows": _with_links(chosen[:MOST_ROWS]),
        "seen": len({job.row_id for node in nodes for job in node.jobs}),
        "has_others": any(node.others for node in nodes),
    }
    return _page(request, "cluster", context)


def _page(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    common = admin.site.each_context(request)
    return TemplateResponse(request, f"admin/clusters/{template}.html", {**common, **context})


def _node_counts(cluster: Cluster) -> dict[str, int | None]:
    """Return the number of nodes of each subcluster; None if its list matches any host."""
    hosts = cluster.hosts_of(MOST_HOSTS)
    return {name: None if found is None else len(found) for name, found in hosts.items()}


def _sections(cluster: Cluster) -> list[Section]:
    counts = _node_counts(cluster)
    return [Section(part, counts[part.name], _units(part.topology)) for part in cluster.subclusters]


def _units(topology: Topology) -> list[Unit]:
    """Return the sockets, or the whole node if there are none."""
    sockets = [(f"Socket {number}", hwthreads) for number, hwthreads in enumerate(topology.socket)]
    whole = [("Node", topology.node)] if topology.node else []
    return [
        Unit(name, topology.cores_of(hwthreads), hwthreads, topology.memory_domains_of(hwthreads))
        for name, hwthreads in sockets or whole
    ]


def _metrics(cluster: Cluster | None) -> list[Metric]:
    return [Metric(config, list(config.overrides.items())) for config in (cluster.metrics if cluster else ())]


def _with_links(nodes: Iterable[Node]) -> list[tuple[Node, SafeString]]:
    """Return the nodes with links to their jobs; build the link of a job once for all its nodes."""
    pages = reverse("admin:jobs_job_changelist")
    links: dict[int, SafeString] = {}
    rows = []
    for node in nodes:
        shown = node.jobs[:MOST_LINKS]
        for job in shown:
            if job.row_id not in links:
                links[job.row_id] = format_html(_LINK, pages, job.row_id, job.job_id, job.user)
        parts = [links[job.row_id] for job in shown]
        unnamed = node.others + len(node.jobs) - len(shown)
        if unnamed:
            noun = "other job" if shown else "job"
            parts.append(format_html("{}{}", "and " if shown else "", quantity(unnamed, noun)))
        rows.append((node, SafeString(" ".join(parts))))  # the parts are safe
    return rows
