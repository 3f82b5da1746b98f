"""Migrations go on beside a running server: indexes beside writes, columns with a default, short waits for locks."""

import importlib
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, migrations, models
from django.db.models.signals import pre_migrate

from accounts.models import ApiToken, TokenScope, User
from ccbackend.postgresql import migrating
from tests.support.paths import PROJECT

LAST_BEFORE = {"jobs": "0013", "accounts": "0002"}
"""The newest migrations that were written before these rules."""

NEW = [
    (app, path.stem)
    for app, last in LAST_BEFORE.items()
    for path in sorted((PROJECT / app / "migrations").glob("0*.py"))
    if path.stem[:4] > last
]


@pytest.mark.parametrize(("app", "name"), NEW or [("jobs", "0007_indexes_of_lists")])
def test_a_new_index_is_built_beside_writes_and_a_new_column_has_a_default(app: str, name: str) -> None:
    migration: Any = importlib.import_module(f"{app}.migrations.{name}").Migration
    created = {each.name_lower for each in migration.operations if isinstance(each, migrations.CreateModel)}
    for each in migration.operations:
        if isinstance(each, migrations.AddIndex) and each.model_name_lower not in created:
            assert type(each) is not migrations.AddIndex, f"{each.describe()}: use AddIndexBesideWrites"
        if isinstance(each, migrations.AddField) and each.model_name_lower not in created:
            has_default = each.field.null or each.field.db_default is not models.NOT_PROVIDED
            assert has_default or each.field.many_to_many, f"{each.describe()}: give it a db_default"


@pytest.mark.django_db
def test_migrations_wait_briefly_for_a_lock_and_other_work_as_before() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("of PostgreSQL alone")

    def bound() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            return str(cursor.fetchone()[0])

    before = bound()
    assert pre_migrate.has_listeners(apps.get_app_config("ccbackend"))
    migrating._wait_briefly(using="default")
    assert bound() == "2s" != before
    migrating._wait_as_before(using="default")
    assert bound() == before


@pytest.mark.django_db
def test_a_token_that_code_from_before_scopes_inserts_reaches_all(bench: User) -> None:
    """During an update the older processes know neither of the columns."""
    columns = "user_id, name, prefix, digest, networks, created_at"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO accounts_apitoken ({columns}) VALUES (%s, 'old', 'ccb_old', 'x', '[]', '2026-11-01')",
            [bench.pk],
        )
    token = ApiToken.objects.get(prefix="ccb_old")
    assert (token.scope, token.clusters) == (TokenScope.ALL, [])
