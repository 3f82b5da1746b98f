"""The text of tokens: prefix, checksum, hash; and what the database keeps of them."""

import hashlib
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import credentials, tokens
from accounts.exceptions import InvalidTokenError
from accounts.models import ApiToken, User
from tests.support.factories import UserFactory, token_for


def test_a_token_has_a_recognisable_prefix_and_a_checksum() -> None:
    token = tokens.generate()
    assert re.fullmatch(r"ccb_[0-9A-Za-z]{46}", token)
    assert tokens.is_well_formed(token)
    assert len({tokens.generate() for _ in range(100)}) == 100


def test_any_single_typo_is_noticed() -> None:
    token = tokens.generate()
    for place in range(len(token)):
        other = "x" if token[place] != "x" else "y"
        assert not tokens.is_well_formed(token[:place] + other + token[place + 1 :])
    for text in ("", token[:-1], token + "a", f" {token}", token.upper(), "ccb_" + "ü" * 46):
        assert not tokens.is_well_formed(text)


def test_a_typo_is_refused_without_a_query(db: None) -> None:
    token = tokens.generate()
    with CaptureQueriesContext(connection) as captured, pytest.raises(InvalidTokenError, match="malformed"):
        credentials.user_of(token[:-6] + "AAAAAA", "127.0.0.1")
    assert len(captured) == 0


def test_only_a_hash_is_stored(alice: User) -> None:
    row, secret = ApiToken.issue(user=alice, name="adapter")
    stored = {str(getattr(row, field.name)) for field in ApiToken._meta.concrete_fields}
    assert hashlib.sha256(secret.encode()).hexdigest() in stored
    assert not any(secret in text for text in stored)
    assert row.prefix == secret[: len(row.prefix)]
    assert len(row.prefix) <= 16
    assert secret not in str(row)


def test_a_user_may_have_many_tokens(alice: User) -> None:
    secrets = [token_for(alice, name=f"host{number}") for number in range(3)]
    assert [credentials.user_of(secret, "127.0.0.1")[0] for secret in secrets] == [alice] * 3


def test_a_token_made_without_days_does_not_expire(alice: User) -> None:
    assert ApiToken.issue(user=alice)[0].expires_at is None
    expires = ApiToken.issue(user=alice, days=2)[0].expires_at
    assert expires is not None
    assert timedelta(days=1, hours=23) < expires - timezone.now() <= timedelta(days=2)


def test_the_status_of_a_token(alice: User) -> None:
    token = ApiToken.issue(user=alice, days=1)[0]
    assert token.status == "active"
    token.expires_at = timezone.now()
    assert token.status == "expired"
    assert token.revoke()
    assert token.status == "revoked"
    assert not token.revoke(), "it was out of use already"


def test_the_status_of_an_inactive_user_s_token() -> None:
    assert ApiToken(user=User(is_active=False)).status == "user inactive"


def test_expired_and_revoked_tokens_stay_listed(alice: User) -> None:
    ApiToken.issue(user=alice, days=-1)
    ApiToken.issue(user=alice)[0].revoke()
    for secret in ("x", tokens.generate()):
        with pytest.raises(InvalidTokenError):
            credentials.user_of(secret, "127.0.0.1")
    assert sorted(token.status for token in ApiToken.objects.all()) == ["expired", "revoked"]


def test_tokens_go_with_their_user(db: None) -> None:
    user = UserFactory.create()
    token_for(user)
    user.delete()
    assert not ApiToken.objects.exists()
