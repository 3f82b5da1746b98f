"""deploy/slurm: the examples of configuration of cc-slurm-adapter and cc-slurm-sync.

Their keys are those that the programs read (cc-slurm-adapter's internal/config, cc-slurm-sync's config.json.example).
"""

import json
import re
from typing import Any

from tests.support.paths import PROJECT


def example(name: str) -> dict[str, Any]:
    """Return an example."""
    return dict(json.loads((PROJECT / "deploy" / "slurm" / name).read_text()))


def test_cc_slurm_adapter_gets_an_address_without_a_slash_at_its_end_and_no_real_token() -> None:
    configuration = example("cc-slurm-adapter.json")
    assert configuration.keys() == {"ccRestUrl", "ccRestJwt", "gpuPciAddrs"}
    assert (configuration["ccRestUrl"], configuration["ccRestJwt"]) == ("https://jobs.example.org", "ccb_...")
    assert all(re.fullmatch(pattern, "g01") for pattern in configuration["gpuPciAddrs"])


def test_cc_slurm_sync_gets_all_that_it_requires() -> None:
    configuration = example("cc-slurm-sync.json")
    assert configuration.keys() == {"clustername", "slurm", "cc-backend", "accelerators", "node_regex"}
    assert configuration["slurm"].keys() == {"squeue", "sacct", "scontrol", "state_save_location"}
    assert configuration["cc-backend"] == {"host": "https://jobs.example.org", "apikey": "ccb_..."}
    pattern = re.compile(configuration["node_regex"])
    assert all(pattern.search(nodes) for nodes in ("n01", "n[01-04,07]", "gpu-node12"))
