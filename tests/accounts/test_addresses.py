"""Which address a request comes from, and who may use the users operations from where."""

from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import RequestFactory

from accounts.addresses import client_address, is_listed
from accounts.models import User
from tests.support.clients import AppClient
from tests.support.factories import token_for

PROXIES = ["10.0.0.0/8", "fd00::/8", "unix"]


def seen(settings: Any, peer: str, forwarded: str | None, trusted: list[str] | None = None) -> str:
    """Return the address that a request is taken to come from."""
    settings.TRUSTED_PROXIES = PROXIES if trusted is None else trusted
    extra: Any = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    return client_address(RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_REAL_IP="6.6.6.6", **extra))


@pytest.mark.parametrize("forwarded", [None, "127.0.0.1", "10.0.0.1, 127.0.0.1"])
def test_the_peer_is_believed_and_no_header_of_its_own(settings: Any, forwarded: str | None) -> None:
    assert seen(settings, "198.51.100.7", forwarded) == "198.51.100.7"
    assert seen(settings, "10.0.0.1", forwarded, trusted=[]) == "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "127.0.0.1, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "127.0.0.1, 198.51.100.7, 10.0.0.2, 10.9.9.9", "198.51.100.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", " , ,", "10.0.0.1"),
        ("10.0.0.1", "127.0.0.1, garbage", "garbage"),
        ("10.0.0.1", "198.51.100.7:5555", "198.51.100.7"),
        ("10.0.0.1", "[2001:db8::7]:5555", "2001:db8::7"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("fd00::1", "2001:db8::7, fd00::2", "2001:db8::7"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("", "198.51.100.7", "198.51.100.7"),
        ("", None, "unix"),
    ],
)
def test_a_trusted_proxy_is_asked_from_the_right_past_other_trusted_ones(
    settings: Any, peer: str, forwarded: str | None, address: str
) -> None:
    assert seen(settings, peer, forwarded) == address


def test_a_unix_socket_is_not_trusted_unless_listed(settings: Any) -> None:
    assert seen(settings, "", "198.51.100.7", trusted=["10.0.0.0/8"]) == "unix"


@pytest.mark.parametrize(
    ("address", "networks", "listed"),
    [
        ("127.0.0.1", ["127.0.0.1"], True),
        ("127.0.0.2", ["127.0.0.1"], False),
        ("10.2.3.4", ["10.0.0.0/8"], True),
        ("10.2.3.4", ["10.0.0.1/8"], True),
        ("11.2.3.4", ["10.0.0.0/8"], False),
        ("::1", ["::1"], True),
        ("0:0:0:0:0:0:0:1", ["::1"], True),
        ("2001:db8:1::5", ["2001:db8::/32"], True),
        ("2001:db9::5", ["2001:db8::/32"], False),
        ("::ffff:10.2.3.4", ["10.0.0.0/8"], True),
        ("10.2.3.4", ["2001:db8::/32"], False),
        ("198.51.100.7", ["*"], True),
        ("unix", ["*"], True),
        ("unix", ["unix"], True),
        ("unix", ["127.0.0.1"], False),
        ("garbage", ["127.0.0.1"], False),
        ("garbage", ["*"], True),
        ("127.0.0.1", [], False),
    ],
)
def test_lists_hold_addresses_networks_unix_and_a_star(address: str, networks: list[str], listed: bool) -> None:
    assert is_listed(address, networks) is listed


def test_the_default_is_loopback_only(settings: Any) -> None:
    assert settings.API_ALLOWED_IPS == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_users_operations_work_from_an_allowed_address(admin_api: AppClient, peer: str) -> None:
    admin_api.environ["REMOTE_ADDR"] = peer
    assert admin_api.get("/api/users/").status == 200


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_refusal_says_which_address_was_seen(admin_api: AppClient, method: str) -> None:
    admin_api.environ["REMOTE_ADDR"] = "198.51.100.7"
    answer = admin_api.request(method, "/api/users/?username=admin")
    assert answer.status == 403
    assert "198.51.100.7" in answer.error


def test_the_address_cannot_be_forged_with_a_header(admin_api: AppClient) -> None:
    admin_api.environ["REMOTE_ADDR"] = "198.51.100.7"
    for name in ("X-Forwarded-For", "X-Real-Ip", "Forwarded", "Remote-Addr"):
        assert admin_api.get("/api/users/", headers={name: "127.0.0.1"}).status == 403


def test_behind_a_trusted_proxy_the_client_s_address_counts(admin_api: AppClient, settings: Any) -> None:
    settings.TRUSTED_PROXIES, settings.API_ALLOWED_IPS = ["unix"], ["192.0.2.0/24"]
    admin_api.environ["REMOTE_ADDR"] = ""
    assert admin_api.get("/api/users/", headers={"X-Forwarded-For": "192.0.2.5"}).status == 200
    answer = admin_api.get("/api/users/", headers={"X-Forwarded-For": "192.0.2.5, 198.51.100.7"})
    assert answer.status == 403
    assert "198.51.100.7" in answer.error


def test_job_operations_work_from_every_address(api: AppClient) -> None:
    api.environ["REMOTE_ADDR"] = "198.51.100.7"
    assert api.get("/api/jobs/").status == 200


def test_networks_of_a_token_count_for_the_client_behind_a_proxy(
    anonymous: AppClient, bench: User, settings: Any
) -> None:
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]
    anonymous.environ["REMOTE_ADDR"] = "10.0.0.1"
    token = token_for(bench, networks=["192.0.2.0/24"])
    assert anonymous.get("/api/jobs/", token=token, headers={"X-Forwarded-For": "192.0.2.5"}).status == 200
    assert anonymous.get("/api/jobs/", token=token, headers={"X-Forwarded-For": "198.51.100.7"}).status == 403


@pytest.mark.django_db  # some checks look into the database
@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("API_ALLOWED_IPS", "accounts.E001"),
        ("TRUSTED_PROXIES", "accounts.E002"),
        ("METRIC_STORE_IPS", "accounts.E003"),
        ("MONITORING_ALLOWED_IPS", "accounts.E004"),
    ],
)
def test_a_mistyped_network_is_an_error_of_the_checks(settings: Any, name: str, identity: str) -> None:
    setattr(settings, name, ["127.0.0.1", "10.0.0.0/40"])
    found = [message for message in run_checks() if message.id == identity]
    assert "10.0.0.0/40" in found[0].msg
