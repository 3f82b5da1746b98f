"""The one shape of a job's row: what is derived from it, and that the other places with a job's fields know each."""

import json
from typing import Any

import msgspec

from archive.format.meta_json import JobMeta, decode_meta
from jobs.api import schema
from jobs.archiving.writing import meta_document
from jobs.maintenance.restore import archived_job
from jobs.messages import StartJob
from jobs.models import Job
from jobs.rows import encoding
from jobs.rows.columns import COLUMNS, STORED_COLUMNS, Row

STATISTICS = '{"cpu_load":{"unit":{"base":""},"avg":3.5,"min":1,"max":4}}'
FULL: dict[str, Any] = {
    "job_state": "completed",
    "exclusive": 2,
    "monitoring_status": 3,
    "tags": '[{"id":7,"type":"class","name":"io"}]',
    "resources": '[{"hostname":"n01","hwthreads":[0,1]}]',
    "meta_data": '{"jobName":"a job"}',
    "statistics": STATISTICS,
}


def row(**values: Any) -> Row:
    """Return a row with a different value in each column."""
    numbers = {column.name: place for place, column in enumerate(COLUMNS, 1) if column.type is int}
    texts = {column.name: column.name for column in COLUMNS if column.type is str}
    return Row(**(numbers | texts | FULL | values))


def test_a_row_has_the_columns_of_the_table_and_the_tags() -> None:
    assert set(STORED_COLUMNS) == {field.column for field in Job._meta.concrete_fields} - {"is_booked"}
    assert set(Row._fields) - set(STORED_COLUMNS) == {"tags"}


def test_a_start_and_a_meta_json_have_a_place_for_each_column() -> None:
    assert set(Row._fields) == set(JobMeta.__struct_fields__)
    assert set(Row._fields) <= set(StartJob.__struct_fields__)


def test_each_key_has_the_value_of_its_column() -> None:
    full = row()
    document = json.loads(encoding.encode(encoding.job_meta(full)))
    assert tuple(document) == encoding.KEYS
    for column in COLUMNS:
        value = getattr(full, column.name)
        assert document[column.key] == (json.loads(value) if column.is_json else value), column


def test_keys_of_empty_columns_are_left_out_where_the_contract_says_so() -> None:
    empty: dict[str, Any] = {column.name: None if column.is_json else column.type() for column in COLUMNS}
    document = json.loads(encoding.encode(encoding.job_meta(Row(**empty | {"resources": "[]"}))))
    optional = {"partition", "arrayJobId", "numHwthreads", "numAcc", "smt", "walltime", "tags"}
    assert set(encoding.KEYS) - set(document) == optional
    assert set(document) == encoding.REQUIRED_KEYS


def test_what_is_encoded_is_what_the_api_describes() -> None:
    for encoded, described in ((encoding.job_meta, schema.JobMeta), (encoding.job, schema.Job)):
        document = msgspec.json.decode(encoding.encode(encoded(row())), type=described)
        assert set(json.loads(msgspec.json.encode(document))) == set(described.__struct_encode_fields__)
        assert set(json.loads(encoding.encode(encoded(row())))) == set(described.__struct_encode_fields__)


def test_a_row_comes_back_from_its_meta_json() -> None:
    stored = row()
    raw = meta_document(stored, stored.statistics)
    job = archived_job(raw, decode_meta(raw))
    assert job.own_id == stored.id
    assert job.as_stored(stored.id, {("class", "io"): 7}) == stored


def test_a_row_without_tags_comes_back_without_them() -> None:
    raw = meta_document(row(tags=None), STATISTICS)
    assert archived_job(raw, decode_meta(raw)).as_stored(1, {}).tags is None
