"""The clusters that jobs and nodes may belong to."""

from archive import root
from archive.format.cluster_json import Cluster
from archive.format.layout import is_valid_cluster_name
from jobs.exceptions import InvalidJobError


def known_cluster(name: str) -> Cluster | None:
    """Return the configured cluster of this name; None if no cluster is configured, when any valid name is accepted.

    Raises InvalidJobError for an unknown cluster if others are configured, for a cluster whose cluster.json has never
    been readable, and for a name that is not valid.
    """
    registry = root.registry()
    if not registry.configured:
        if not is_valid_cluster_name(name):
            raise InvalidJobError(f"field 'cluster': expected letters, digits, '_', '-' and '.', got {name!r}")
        return None
    cluster = registry.get(name)
    if cluster is None:
        if reason := registry.failure(name):
            raise InvalidJobError(f"cluster {name}: its cluster.json cannot be read: {reason}")
        raise InvalidJobError(f"no such cluster: {name}")
    return cluster
