"""The source of clusters without samples: jobs are archived with meta.json alone."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from archive.format.cluster_json import Cluster
from archive.format.data_json import JobData
from archive.sources.base import JobInfo, unknown_keys


class NoneSource:
    """Has no samples for any job."""

    kind: ClassVar[str] = "none"
    archives_data: ClassVar[bool] = False

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """Make the source; there is nothing to configure."""
        return cls()

    @classmethod
    def config_errors(cls, options: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with an entry: any key but `kind`."""
        return unknown_keys(options)

    def load(self, job: JobInfo, cluster: Cluster | None, metrics: Sequence[str] | None = None) -> JobData:
        """Return no samples."""
        return {}
