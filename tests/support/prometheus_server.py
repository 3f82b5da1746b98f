"""Debian's Prometheus as a process of a test, with known samples."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.prometheus_source import GPUS, START

ODD_HOST = "a\"b\\n.*|(ü)'$hosts"

GPU_LABELS = [f'9400",pci_bus_id="{gpu}"' for gpu in GPUS]
ETHERNET = [f'9100",device="{name}"' for name in ("lo", "eth0", "eth1", "ib0")]
GROWING = range(0, 3_000_000_000, 300_000_000)
EXPORTED: list[tuple[str, list[str], Sequence[float]]] = [
    ("node_memory_MemTotal_bytes", ['9100"'], [256e9] * 10),
    ("node_memory_MemAvailable_bytes", ['9100"'], [56e9] * 10),
    ("node_network_receive_bytes", ETHERNET, GROWING),
    ("node_network_transmit_bytes", ETHERNET, GROWING),
    ("node_infiniband_port_data_received_bytes", ['9100",device="mlx5_0",port="1"'], GROWING),
    ("node_infiniband_port_data_transmitted_bytes", ['9100",device="mlx5_0",port="1"'], GROWING),
    ("DCGM_FI_DEV_FB_USED", GPU_LABELS, [1000] * 10),
    ("DCGM_FI_DEV_POWER_USAGE", GPU_LABELS, [300] * 10),
]
"""Other families that exporters have: the labels of each host's series from the port on, and their values."""


def seconds(begin: int, end: int, every: int) -> Iterator[int]:
    """Yield times relative to START."""
    yield from range(begin, end, every)


def openmetrics() -> Iterator[str]:
    """Yield the samples that the server knows, a family at a time."""
    yield "# TYPE node_load1 gauge"
    for number, host in enumerate(["n01", "n02", "n010", "n01.example.org", "n01xexamplexorg", ODD_HOST]):
        quoted = host.replace("\\", "\\\\").replace('"', '\\"')
        for at in seconds(-300, 4000, 30):
            if not (host == "n02" and 570 < at < 1800):
                yield f'node_load1{{instance="{quoted}:9100",job="node"}} {1000 * number + at} {START + at}'
    yield "# TYPE node_cpu_seconds counter"
    for host in ("n01", "n02"):
        for cpu in range(4):
            for at in seconds(-300, 900, 30):
                spent = (at + 300) * (cpu + 1) / 10
                yield f'node_cpu_seconds_total{{cpu="{cpu}",mode="user",instance="{host}:9100"}} {spent} {START + at}'
    yield "# TYPE DCGM_FI_DEV_GPU_UTIL gauge"
    for host in ("n01", "n02"):
        for gpu, bus in enumerate(GPUS):
            for at in seconds(-300, 900, 30):
                labels = f'gpu="{gpu}",pci_bus_id="{bus}",instance="{host}:9400"'
                yield f"DCGM_FI_DEV_GPU_UTIL{{{labels}}} {10 * (gpu + 1)} {START + at}"
    for family, series, values in EXPORTED:
        kind, suffix = ("counter", "_total") if len(set(values)) > 1 else ("gauge", "")
        yield f"# TYPE {family} {kind}"
        for host in ("n01", "n02"):
            for rest in series:
                for at, exported in zip(seconds(0, 300, 30), values, strict=True):
                    yield f'{family}{suffix}{{instance="{host}:{rest}}} {exported} {START + at}'
    yield "# TYPE odd gauge"
    for at, value in ((30, "1"), (90, "NaN"), (150, "+Inf"), (210, "-Inf"), (270, "5")):
        yield f'odd{{instance="n01:9100"}} {value} {START + at}'
    yield "# TYPE second gauge"
    for at in seconds(0, 25_001, 1):
        yield f'second{{instance="n01:9100"}} {at} {START + at}'
    yield "# EOF\n"


def program(name: str) -> str:
    """Return the path of a program of Debian's prometheus; skip the test where there is none."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip("Debian's prometheus is not installed (apt-get install prometheus, or make prometheus)")
    return found


@contextlib.contextmanager
def running_prometheus(folder: Path) -> Iterator[str]:
    """Give the address of a Prometheus that knows some samples and scrapes nothing; skip where there is none."""
    (folder / "samples").write_text("\n".join(openmetrics()))
    (folder / "prometheus.yml").write_text("")
    blocks = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", folder / "samples", folder / "data"]
    subprocess.run([str(part) for part in blocks], check=True, capture_output=True)
    with configured_prometheus(folder) as address:
        yield address


@contextlib.contextmanager
def configured_prometheus(folder: Path) -> Iterator[str]:
    """Give the address of a Prometheus with the prometheus.yml of a folder; skip where there is none."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        program("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_until_ready(f"http://{address}/-/ready", process, folder / "log")
            yield f"http://{address}"
        finally:
            process.send_signal(signal.SIGTERM)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"Prometheus did not start: {log.read_text()[-2000:]}")
