"""Many calls in one: lines of JSON, each a start, stop, tags or states of nodes, carried out and answered in order.

A line is `{"operation": "stop_job", "id": 17, "body": {...}}`: the id where the path of the single call has one, the
body as the single call takes it. An answer is a line with its number, operation, status and body.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import msgspec
from django.conf import settings
from msgspec import UNSET

from jobs.api import calls
from jobs.api.decoding import decode
from jobs.api.limits import check_body
from jobs.exceptions import InvalidJobError, JobError
from jobs.history import Actor
from jobs.intake.events import MOST, Call, carry_out, is_away
from jobs.intake.nodes import record_nodestate
from jobs.intake.refused import Refusal, is_to_be_kept
from jobs.intake.services import start_job, started_row, stop_job
from jobs.messages import Event, NodeStates, StartJob, TagName
from jobs.rows.columns import Row
from jobs.rows.select import whole, without_large
from jobs.tags.services import tag_job
from jobs.text import clean_text

MOST_LINES = 100_000
"""Lines in one call."""

LINE = "events"
"""Stands for the operation of a line that does not say which one."""

MOST_UNPACKED = 256 << 20
"""Bytes of a body that was sent compressed."""

_PART = 1 << 16  # bytes
_BATCH_BYTES = 4 << 20  # of lines in one transaction
_ANSWER_BYTES = 1 << 20  # after which a part of the answer is sent
_SHOWN = 60  # characters of a wrong value
_EXPECTED = """{"operation": ..., "body": ...}, for some operations with an "id\""""
_decoder = msgspec.json.Decoder(Event)


class Outcome(NamedTuple):
    """How a line went: the status and the body of its answer, or the reason why it is refused."""

    number: int
    operation: str
    status: int = 0
    body: bytes = b""
    error: Exception | None = None


class _Valid(NamedTuple):
    """A call to carry out, and how it is answered."""

    call: Call
    status: int
    answer: Callable[[Any], bytes]


class _Read(NamedTuple):
    """A line, what is in it as far as it can be read, and its call or the reason why it is refused."""

    number: int
    line: bytes
    event: Event | None
    found: _Valid | Exception

    @property
    def operation(self) -> str:
        """Return the operation that the line names; empty if it cannot be read."""
        return self.event.operation if self.event else ""

    def outcome(self) -> Outcome:
        """Return how the line went."""
        result = self.found.call.result if isinstance(self.found, _Valid) else self.found
        if isinstance(result, Exception) or not isinstance(self.found, _Valid):
            return Outcome(self.number, self.operation, error=result)
        return Outcome(self.number, self.operation, self.found.status, self.found.answer(result))

    def refusal(self) -> Refusal | None:
        """Return what is to be kept of a line that was refused; None if nothing would be lost without it."""
        error = self.found.call.result if isinstance(self.found, _Valid) else self.found
        if not isinstance(error, JobError) or not is_to_be_kept(error):
            return None
        if self.event is None or self.event.operation not in _OPERATIONS:
            return Refusal(LINE, "", self.line, error)
        row_id = "" if self.event.id is None else str(self.event.id)
        return Refusal(self.event.operation, row_id, _body_of(self.event), error)


def process(
    parts: Iterable[bytes],
    *,
    actor: Actor,
    most_lines: int | None = None,
    clusters: frozenset[str] = frozenset(),
    keep: Callable[[list[Refusal]], None] = lambda refusals: None,
) -> Iterator[Outcome]:
    """Carry out the calls in lines of JSON, up to MOST in one transaction, and yield how each went, in order.

    Calls about other clusters than those in `clusters`, if there are any, are refused.
    After each transaction `keep` gets the calls that were refused. If `parts`, which make up the lines, cannot be read
    to the end, the last outcome says so. Raises InvalidJobError if they cannot be read at all, and what the database
    raises if it is locked or away and nothing was changed.
    """
    away: Exception | None = None
    is_first = True
    for batch in _batches(_lines(parts, most_lines), actor, clusters):
        events = [read.found.call for read in batch if isinstance(read.found, _Valid)]
        if away is None:
            carry_out(events)
            away = events[-1].result if events and is_away(events[-1].result) else None
            if away is not None and is_first and events[0].result is away:
                raise away
        else:  # what follows may depend on what could not be done
            for event in events:
                event.result = away
        is_first = False
        keep([refusal for read in batch if (refusal := read.refusal())])
        yield from (read.outcome() for read in batch)


def attempt(operation: str, row_id: str, body: bytes, *, actor: Actor) -> Outcome:
    """Carry out one call: `row_id` is the id in its path or empty; with the operation LINE the body is a line."""
    if operation == LINE:
        read = _read(1, body, actor)
    else:
        event = Event(operation=operation)
        try:
            event.id = calls.whole(row_id, "id") if row_id else None
            read = _Read(1, body, event, _OPERATIONS[operation](event, body, actor))
        except JobError as error:
            read = _Read(1, body, event, error)
    if isinstance(read.found, _Valid):
        carry_out([read.found.call])
    return read.outcome()


def answers(outcomes: Iterable[Outcome], refusal: Callable[[Exception], tuple[int, bytes]]) -> Iterator[bytes]:
    """Yield the answer in parts: a line of JSON for each outcome; `refusal` returns the status and body of an error."""
    lines, size = [], 0
    for number, operation, status, body, error in outcomes:
        status, body = (status, body) if error is None else refusal(error)
        name = msgspec.json.encode(shown(operation))
        lines.append(b'{"line":%d,"operation":%b,"status":%d,"body":%b}\n' % (number, name, status, body.rstrip(b"\n")))
        size += len(lines[-1])
        if len(lines) == MOST or size > _ANSWER_BYTES:
            yield b"".join(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines)


def shown(operation: str) -> str:
    """Return the name of an operation, shortened if it is none."""
    return clean_text(operation)[:_SHOWN]


def _batches(lines: Iterable[tuple[int, bytes]], actor: Actor, clusters: frozenset[str]) -> Iterator[list[_Read]]:
    """Yield the lines of one transaction after the other."""
    batch: list[_Read] = []
    size = number = 0
    try:
        for number, line in lines:
            batch.append(_read(number, line, actor, clusters))
            size += len(line)
            if len(batch) == MOST or size > _BATCH_BYTES:
                yield batch
                batch, size = [], 0
    except InvalidJobError as error:
        if not number:
            raise
        batch.append(_Read(number + 1, b"", None, error))
    if batch:
        yield batch


def _lines(parts: Iterable[bytes], most: int | None) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers; of one that is too long a little more than the limit."""
    number, begun = 0, bytearray()
    for part in parts:
        *ends, rest = part.split(b"\n")
        for end in ends:
            number += 1
            if most is not None and number > most:
                raise InvalidJobError(f"too many lines: expected at most {most:,}")
            line = bytes(begun + end) if begun else end
            begun.clear()
            if line and not line.isspace():
                yield number, line
        if len(begun) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            begun += rest
    if begun and not begun.isspace():
        yield number + 1, bytes(begun)


def _read(number: int, line: bytes, actor: Actor, clusters: frozenset[str] = frozenset()) -> _Read:
    event = None
    try:
        if len(line) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise InvalidJobError(f"line too long: expected at most {settings.DATA_UPLOAD_MAX_MEMORY_SIZE >> 20} MB")
        event = _decode(line)
        prepare = _OPERATIONS.get(event.operation)
        if prepare is None:
            raise InvalidJobError(
                f"field 'operation': expected one of {', '.join(_OPERATIONS)}, got {shown(event.operation)!r}"
            )
        if clusters:
            check_body(clusters, event.id, _body_of(event))
        return _Read(number, line, event, prepare(event, _body_of(event), actor))
    except JobError as error:
        return _Read(number, line, event, error)


def _body_of(event: Event) -> bytes:
    return b"" if event.body is UNSET else bytes(event.body)


def _decode(line: bytes) -> Event:
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJobError(f"expected {_EXPECTED}: {str(error).replace('`', '')}") from None


def _start(event: Event, body: bytes, actor: Actor) -> _Valid:
    _refuse_id(event)
    job = decode(body, StartJob)
    return _Valid(Call(job.job_id, partial(start_job, job=job) if job.tags else started_row(job)), 201, calls.started)


def _stop(event: Event, body: bytes, actor: Actor) -> _Valid:
    if event.id is not None:
        arguments = calls.stop_by_id_of(event.id, body)
        return _Valid(Call(None, lambda: without_large(stop_job(**arguments))), 200, _stopped)
    stop = calls.named_stop_of(body)
    return _Valid(Call(stop.job_id, stop), 200, _stopped)


def _stopped(row: Row) -> bytes:
    return calls.stopped(whole(row))


def _tag(event: Event, body: bytes, actor: Actor) -> _Valid:
    row_id = calls.required(event.id, "id")
    tag = partial(tag_job, row_id=row_id, tags=decode(body, list[TagName]), actor=actor, in_background=True)
    return _Valid(Call(None, lambda: without_large(tag())), 200, lambda row: calls.tagged(whole(row)))


def _nodestate(event: Event, body: bytes, actor: Actor) -> _Valid:
    _refuse_id(event)
    report = decode(body, NodeStates)
    cluster = report.cluster or ""
    record = partial(record_nodestate, cluster=cluster, nodes=report.nodes or [])
    return _Valid(Call(("nodes of", cluster), record), 200, calls.stored)


_OPERATIONS: dict[str, Callable[[Event, bytes, Actor], _Valid]] = {
    "start_job": _start,
    "stop_job": _stop,
    "tag_job": _tag,
    "nodestate": _nodestate,
}


def _refuse_id(event: Event) -> None:
    if event.id is not None:
        raise InvalidJobError(f"field 'id': expected none for {event.operation}, got {event.id}")


def sent_parts(body: bytes, encoding: str) -> Iterator[bytes]:
    """Yield the body of a call in small parts, unpacked if its Content-Encoding is gzip. Raises InvalidJobError."""
    parts = (body[begin : begin + _PART] for begin in range(0, len(body), _PART))
    if encoding.strip().lower() in ("", "identity"):
        return parts
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        raise InvalidJobError(f"Content-Encoding: expected gzip or none, got {encoding[:60]!r}")
    return unpacked(parts, most=MOST_UNPACKED)


def unpacked(parts: Iterable[bytes], *, most: int | None = None) -> Iterator[bytes]:
    """Yield what was packed by gzip, in small parts. Raises InvalidJobError, also for more than `most` bytes."""
    size, unpacker = 0, zlib.decompressobj(31)
    try:
        for packed in parts:
            while packed:
                if unpacker.eof:  # files that were packed one by one
                    unpacker = zlib.decompressobj(31)
                part = unpacker.decompress(packed, _PART)
                packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
                size += len(part)
                if most is not None and size > most:
                    raise InvalidJobError(f"the unpacked body is too large: expected at most {most >> 20} MB")
                yield part
        while part := unpacker.decompress(b"", _PART):
            yield part
    except zlib.error as error:
        raise InvalidJobError(f"the body is not gzip: {error}") from None
    if not unpacker.eof:
        raise InvalidJobError("the body is not whole: its gzip data ends too early")
