"""list_tokens: every token with its state, and no secret."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import ApiToken, User
from tests.support.commands import Run


def test_all_kinds_of_tokens_are_listed(run: Run, alice: User) -> None:
    bob = User.objects.create_user("bob", is_active=False)
    active, secret = ApiToken.issue(user=alice, name="slurm\nadapter", networks=["10.0.0.0/8", "::1/128"])
    expired, _ = ApiToken.issue(user=alice, days=1)
    ApiToken.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(days=1))
    revoked, _ = ApiToken.issue(user=alice)
    revoked.revoke()
    ApiToken.issue(user=bob)
    outcome = run("list_tokens")
    assert outcome.status == 0
    assert len(outcome.lines) == 5
    by_prefix = {line.split()[0]: line for line in outcome.lines}
    assert "slurm?adapter" in by_prefix[active.prefix]
    assert by_prefix[active.prefix].endswith("10.0.0.0/8,::1/128")
    assert by_prefix[active.prefix].split()[3] == "active"
    assert " expired " in by_prefix[expired.prefix]
    assert " revoked " in by_prefix[revoked.prefix]
    assert "user inactive" in outcome.lines[4]
    assert "4 tokens: 1 active, 1 expired, 1 revoked, 1 user inactive" in outcome.err
    assert secret not in outcome.out


def test_columns_are_aligned(run: Run, alice: User) -> None:
    ApiToken.issue(user=alice, name="a much longer name")
    ApiToken.issue(user=alice, name="x")
    head, first, second = run("list_tokens").lines
    assert head.index("STATUS") == first.index("active") == second.index("active")
    assert head.index("EXPIRES") == first.index("never") == second.index("never")


def test_one_users_tokens(run: Run, alice: User) -> None:
    ApiToken.issue(user=alice)
    ApiToken.issue(user=User.objects.create_user("bob"))
    outcome = run("list_tokens", "bob")
    assert len(outcome.lines) == 2
    assert "bob" in outcome.lines[1]


def test_without_tokens_stdout_is_empty(run: Run, alice: User) -> None:
    outcome = run("list_tokens", "alice")
    assert (outcome.status, outcome.out) == (0, "")
    assert "0 tokens" in outcome.err


def test_an_unknown_user_is_a_failure(run: Run) -> None:
    assert run("list_tokens", "nobody").status == 1


@pytest.mark.parametrize("number", [1, 20])
def test_the_number_of_queries_does_not_grow(
    run: Run, alice: User, number: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(number):
        ApiToken.issue(user=alice)
    with django_assert_num_queries(1):
        run("list_tokens")


def test_json_has_every_token_and_no_secret(run: Run, alice: User) -> None:
    token, secret = ApiToken.issue(user=alice, name="adapter", days=1, clusters=["fritz"], networks=["10.0.0.0/8"])
    outcome = run("list_tokens", "--json")
    (told,) = json.loads(outcome.out)
    assert (told["prefix"], told["user"], told["name"], told["status"]) == (token.prefix, "alice", "adapter", "active")
    assert (told["scope"], told["clusters"], told["networks"]) == ("all", ["fritz"], ["10.0.0.0/8"])
    assert told["expires"] == token.expires_at.isoformat() if token.expires_at else False
    assert secret not in outcome.out
