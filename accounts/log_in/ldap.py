"""Log-in by name and password against a centre's LDAP server; roles and projects by its groups.

ldap3 is needed for it: it is pure Python, while python-ldap (and so django-auth-ldap) has no wheels, and needs a
compiler and the headers of OpenLDAP.
"""

import logging
import ssl
from string import Template
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from accounts.backends import SessionBackend
from accounts.exceptions import AccountError
from accounts.log_in.directory import arrive
from accounts.models import User

try:
    import ldap3
    from ldap3.core.exceptions import LDAPException, LDAPInvalidCredentialsResult
    from ldap3.utils.conv import escape_filter_chars
except ImportError:
    IS_INSTALLED = False
else:
    IS_INSTALLED = True

logger = logging.getLogger(__name__)

_TIMEOUT = 10  # seconds for each question


class LdapBackend(SessionBackend):
    """Find a person as `user_filter` of the setting LDAP says, and check the password by a bind as that person."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **others: Any
    ) -> User | None:
        """Return the user; None if the server knows no such person or password, or cannot be asked."""
        if not username or not password:  # a bind without a password succeeds, as nobody
            return None
        try:
            found = _person(username, password)
            return None if found is None else arrive(**found)
        except LDAPException as error:
            logger.error("LDAP server cannot be asked: %s", error)
        except AccountError as error:
            logger.warning("log-in by LDAP refused: %s", error)
        return None


def _person(username: str, password: str) -> dict[str, Any] | None:
    """Return username, groups, name and e-mail address of the person with a name and password; None if there is none.

    The name is as the server writes it: it ignores upper and lower case.
    """
    wanted = settings.LDAP
    with _connection(wanted["bind_dn"], wanted["bind_password"]) as service:
        entries = _search(
            service, wanted["user_base"], wanted["user_filter"], [wanted["username"], "cn", "mail"], username
        )
        if len(entries) != 1:
            if entries:
                logger.error("LDAP's user_filter finds %s entries for one name: expected one", len(entries))
            return None
        dn, attributes = entries[0]["dn"], entries[0]["attributes"]
        try:
            with _connection(dn, password):
                pass
        except LDAPInvalidCredentialsResult:
            return None
        name = _first(attributes[wanted["username"]])
        groups = []
        if wanted["group_base"]:
            listed = _search(service, wanted["group_base"], wanted["group_filter"], [wanted["group_name"]], name, dn)
            groups = [str(group) for entry in listed for group in _all(entry["attributes"][wanted["group_name"]])]
    return {"username": name, "groups": groups, "name": _first(attributes["cn"]), "email": _first(attributes["mail"])}


def _connection(dn: str, password: str) -> Any:
    """Return a connection that is bound, over TLS unless the settings say otherwise; raise LDAPException."""
    wanted = settings.LDAP
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=wanted["ca_file"] or None)
    server = ldap3.Server(wanted["url"], tls=tls, connect_timeout=_TIMEOUT, get_info=ldap3.NONE)
    with_tls = wanted["start_tls"] and not wanted["url"].startswith("ldaps:")
    return ldap3.Connection(
        server,
        user=dn or None,
        password=password or None,
        auto_bind=ldap3.AUTO_BIND_TLS_BEFORE_BIND if with_tls else ldap3.AUTO_BIND_NO_TLS,
        receive_timeout=_TIMEOUT,
        raise_exceptions=True,
        read_only=True,
        check_names=False,
    )


def _search(
    connection: Any, base: str, pattern: str, attributes: list[str], username: str, dn: str = ""
) -> list[dict[str, Any]]:
    words = {"username": escape_filter_chars(username), "dn": escape_filter_chars(dn)}
    connection.search(base, Template(pattern).safe_substitute(words), attributes=attributes)
    return [entry for entry in connection.response if entry["type"] == "searchResEntry"]


def _all(values: Any) -> list[Any]:
    """Return the values of an attribute; ldap3 hands out a list, a single value, or an empty list for none."""
    return values if isinstance(values, list) else [values]


def _first(values: Any) -> str:
    found = _all(values)
    return str(found[0]) if found else ""
