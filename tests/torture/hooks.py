"""The load: hooks that start and stop jobs and, like the production adapter, repeat each call until it is settled."""

import contextlib
import http.client
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.clients import Answer, WireClient
from tests.support.server import Server

CLIENTS = 6
RAN = 120  # seconds
_BEGIN = int(time.time()) - 20_000
_SPAN = 10_000  # seconds; samples of running jobs reach until now, so their start must not lie far back
CLUSTER = "demo"
_AHEAD = 8  # jobs of a client that run before it stops the oldest
_BETWEEN = 0.12  # seconds between two calls of a client
_AGAIN = 0.1  # seconds until a call is repeated
_TIMEOUT = 40.0  # seconds; the server's own bound is 20
_READ = {200, 500, 503}  # 500: the metric source failed, as documented


def start_time(job: int) -> int:
    """Return when a job starts (epoch seconds)."""
    return _BEGIN + job % _SPAN


@dataclass
class Settled:
    """A call that was answered: from its first attempt to the answer, in monotonic seconds."""

    begun: float
    ended: float


@dataclass
class Hooks:
    """Starts and stops from several clients, and readers beside them; what came of them."""

    server: Server
    started: set[int] = field(default_factory=set)
    stopped: set[int] = field(default_factory=set)
    sent: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)
    read: Counter[int] = field(default_factory=Counter)
    settled: list[Settled] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    leaving: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        """Start the clients and a reader."""
        self._threads = [threading.Thread(target=self._noted, args=(self._start_and_stop, n)) for n in range(CLIENTS)]
        self._threads.append(threading.Thread(target=self._noted, args=(self._read_along, 0)))
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let the clients stop what they started, and wait for them."""
        self.leaving.set()
        for thread in self._threads:
            thread.join()

    def longest(self, begun: float, ended: float) -> float:
        """Return how long the slowest call took that was open at some moment of a span (seconds)."""
        return max(
            (one.ended - one.begun for one in self.settled if one.ended > begun and one.begun < ended), default=0
        )

    def _noted(self, work: Callable[[int], None], number: int) -> None:
        try:
            work(number)
        except Exception as error:
            self.faults.append(f"{type(error).__name__}: {error}")

    def _start_and_stop(self, number: int) -> None:
        running: deque[int] = deque()
        job = number
        with contextlib.closing(self.server.client()) as client:
            client.connection.timeout = _TIMEOUT
            while not self.leaving.is_set() or running:
                if self.leaving.is_set() or len(running) > _AHEAD:
                    self._stop(client, running.popleft())
                else:
                    job += CLIENTS
                    self._start(client, job)
                    running.append(job)
                time.sleep(_BETWEEN)

    def _start(self, client: WireClient, job: int) -> None:
        hosts = [f"n{1 + job % 99:02}", f"n{1 + (job + 1) % 99:02}"][: 1 + job % 2]
        resources = [{"hostname": host} for host in hosts]
        self._settle(
            client,
            "start",
            lambda: client.start(
                jobId=job, cluster=CLUSTER, startTime=start_time(job), numNodes=len(hosts), resources=resources
            ),
            lambda answer: answer.error.endswith(f"jobid: {job}"),
        )
        self.started.add(job)

    def _stop(self, client: WireClient, job: int) -> None:
        body = {"jobId": job, "cluster": CLUSTER, "startTime": start_time(job), "stopTime": start_time(job) + RAN}
        self._settle(
            client,
            "stop",
            lambda: client.stop(**body, jobState="completed"),
            lambda answer: "completed" in answer.error,
        )
        self.stopped.add(job)

    def _settle(
        self, client: WireClient, name: str, call: Callable[[], Answer], was_done: Callable[[Answer], bool]
    ) -> None:
        """Repeat a call until it succeeds, or is refused because an attempt whose answer was lost has done it."""
        begun = time.monotonic()
        self.sent[name] += 1
        attempts = 0
        while True:
            attempts += 1
            try:
                answer = call()
            except (OSError, http.client.HTTPException):
                self.repeated["no answer"] += 1
                client.close()
            else:
                if answer.status < 300 or (answer.status == 422 and attempts > 1 and was_done(answer)):
                    break
                self.repeated[str(answer.status)] += 1
                if answer.status != 503:
                    self.faults.append(f"{name}, attempt {attempts}: {answer.status} {answer.text}")
            time.sleep(_AGAIN)
        self.settled.append(Settled(begun, time.monotonic()))

    def _read_along(self, _: int) -> None:
        """Ask for lists, and for samples of jobs that the archive does not have yet."""
        with contextlib.closing(self.server.client()) as client:
            client.connection.timeout = _TIMEOUT
            while not self.leaving.is_set():
                try:
                    answer = client.get("/api/jobs/?items-per-page=5")
                    self.read[answer.status] += 1
                    jobs = answer.json["jobs"] if answer.status == 200 else []
                    for job in jobs[:1]:
                        answer = client.get(f"/api/jobs/{job['id']}")
                        self.read[answer.status] += 1
                        if answer.status not in _READ:
                            self.faults.append(f"GET jobs/{job['id']}: {answer.status} {answer.text}")
                except (OSError, http.client.HTTPException):
                    client.close()
                time.sleep(_AGAIN)
