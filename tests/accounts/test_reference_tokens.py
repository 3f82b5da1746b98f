"""Tokens of a cc-backend: JWTs by EdDSA, with the claims that its release 1.2 writes (sub, roles, iat, exp)."""

import base64
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.checks import run_checks

from accounts import credentials
from accounts.models import User
from jobs.health import counting
from tests.support.clients import AppClient

pytestmark = pytest.mark.django_db

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
PATH = "/api/jobs/"


def public(key: Ed25519PrivateKey) -> str:
    """Return a public key as cc-backend's .env has it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


@pytest.fixture(autouse=True)
def _keys(settings: Any) -> None:
    settings.JWT_PUBLIC_KEYS = [public(OTHER), public(KEY)]


def made(key: Any = KEY, algorithm: str = "EdDSA", **changes: Any) -> str:
    """Return a token of the account bench; a change to None leaves a claim out."""
    claims = {"sub": "bench", "roles": ["api", "admin"], "iat": int(time.time())} | changes
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm=algorithm)


@pytest.mark.parametrize("changes", [{}, {"exp": 2**33}, {"roles": ["api"]}])
def test_an_old_token_works_in_both_headers(changes: dict[str, Any], anonymous: AppClient, bench: User) -> None:
    token = made(**changes)
    assert anonymous.get(PATH, headers={"X-Auth-Token": token}).status == 200
    assert anonymous.get(PATH, headers={"Authorization": f"Bearer {token}"}).status == 200


BAD: dict[str, tuple[str, str]] = {
    "expired": (made(exp=1_600_000_000), "token expired"),
    "of another server": (made(Ed25519PrivateKey.generate()), "none of JWT_PUBLIC_KEYS has signed it"),
    "unsigned": (made("", "none"), "malformed JWT"),
    "signed by the public key as a secret": (made(public(KEY), "HS256"), "malformed JWT"),
    "cut": (made()[:-4] + "AAAA", "none of JWT_PUBLIC_KEYS has signed it"),
    "of nobody": (made(sub="nobody"), "'nobody' of the JWT is unknown"),
    "without a user": (made(sub=None), "claim sub"),
    "without roles": (made(roles=None), "claim roles"),
    "no JSON": ("eyJ.eyJ.eyJ", "malformed JWT"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_one_is_refused_with_the_reason(name: str, anonymous: AppClient, bench: User) -> None:
    token, reason = BAD[name]
    answer = anonymous.get(PATH, headers={"X-Auth-Token": token})
    assert (answer.status, reason in answer.error) == (401, True), answer
    assert token not in answer.text


@pytest.mark.parametrize("roles", [["user"], [], ["admin"]])
def test_a_token_gives_no_role_that_it_or_the_user_lacks(roles: list[str], anonymous: AppClient, bench: User) -> None:
    answer = anonymous.get(PATH, headers={"X-Auth-Token": made(roles=roles)})
    assert (answer.status, "missing role: api" in answer.error) == (403, True)
    assert anonymous.get("/api/users/", headers={"X-Auth-Token": made()}).status == 403


def test_it_ends_with_its_user(anonymous: AppClient, bench: User) -> None:
    token = made()
    User.objects.update(is_active=False)
    assert "inactive" in anonymous.get(PATH, headers={"X-Auth-Token": token}).error


def test_without_keys_it_is_malformed(anonymous: AppClient, bench: User, settings: Any) -> None:
    settings.JWT_PUBLIC_KEYS = []
    assert "malformed token" in anonymous.get(PATH, headers={"X-Auth-Token": made()}).error


def test_it_is_looked_up_once_and_counted_by_its_user(
    anonymous: AppClient, bench: User, django_assert_num_queries: Any
) -> None:
    token = made()
    credentials.user_of(token, "127.0.0.1")
    with django_assert_num_queries(0):
        _, credential = credentials.user_of(token, "127.0.0.1")
    assert (credential.source, credential.label) == ("user bench", "JWT of bench")
    anonymous.get("/api/jobs/?no=1", headers={"X-Auth-Token": token})
    assert {key.source for key in counting._memory.found} == {"user bench"}


@pytest.mark.parametrize("text", ["x", base64.b64encode(b"short").decode(), public(KEY)[:-2]])
def test_a_key_that_cannot_be_is_named(text: str, settings: Any) -> None:
    settings.JWT_PUBLIC_KEYS = [text]
    (message,) = run_checks(tags=["settings"])
    assert "JWT_PUBLIC_KEYS" in message.msg
    assert "expected base64 of 32 bytes" in message.msg
