"""The source of clusters without samples, whose jobs are archived with meta.json only."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from archive.format.cluster_json import Cluster
from archive.format.data_json import JobData
from archive.sources.base import JobInfo, unknown_keys


class NoneSource:
    """A source without samples."""

    kind: ClassVar[str] = "none"
    archives_data: ClassVar[bool] = False

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """Return the source, which has no options."""
        return cls()

    @classmethod
    def config_errors(cls, options: Mapping[str, Any]) -> list[str]:
        """Return a message for each key but `kind`."""
        return unknown_keys(options)

    def load(self, job: JobInfo, cluster: Cluster | None, metrics: Sequence[str] | None = None) -> JobData:
        """Return no samples."""
        return {}
