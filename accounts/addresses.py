"""Find the client address of a request, and match addresses against lists of networks.

The client is the peer of the connection. `X-Forwarded-For` is read only if the peer is a trusted proxy, from right to
left past further trusted proxies: the client can forge everything to the left of the first untrusted address.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNIX_PEER = "unix"  # stands in TRUSTED_PROXIES for connections over a Unix socket
ANY = "*"


def parse_network(text: str) -> Network:
    """Parse an address or CIDR network; host bits are allowed (10.0.0.1/8 means 10.0.0.0/8).

    Raise ValueError with the text and the expected form.
    """
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"{text!r}: expected an IPv4 or IPv6 address or a CIDR network such as 10.0.0.0/8") from None


@lru_cache(maxsize=256)
def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(parse_network(text) for text in texts if text not in (ANY, UNIX_PEER))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def is_listed(address: str, networks: Sequence[str]) -> bool:
    """Return whether an address matches a list of addresses, CIDR networks, `unix` and `*`."""
    if address in networks or ANY in networks:
        return True
    parsed = _address(address)
    return parsed is not None and any(parsed in network for network in _networks(tuple(networks)))


def _without_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def client_address(request: HttpRequest) -> str:
    """Return the client: an IP address, `unix`, or whatever text a trusted proxy passed on."""
    return address_in(request.META)


def address_in(meta: Mapping[str, Any]) -> str:
    """Return the client of a WSGI environment, as `client_address`."""
    peer: str = meta.get("REMOTE_ADDR") or UNIX_PEER
    trusted = settings.TRUSTED_PROXIES
    if not trusted or not is_listed(peer, trusted):
        return peer
    forwarded = meta.get("HTTP_X_FORWARDED_FOR", "")
    for hop in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
        peer = _without_port(hop)
        if not is_listed(peer, trusted):
            break
    return peer


def known_address(request: HttpRequest) -> str | None:
    """Return the client's IP address; None if it is `unix` or another text."""
    address = _address(client_address(request))
    return None if address is None else str(address)


def is_forwarded(request: HttpRequest) -> bool:
    """Return whether a proxy passed the request on that is not among TRUSTED_PROXIES: its client is unknown."""
    peer = request.META.get("REMOTE_ADDR") or UNIX_PEER
    return "HTTP_X_FORWARDED_FOR" in request.META and not is_listed(peer, settings.TRUSTED_PROXIES)


def is_from(request: HttpRequest, networks: Sequence[str]) -> bool:
    """Return whether the client of a request matches a list, and is known: no proxy that is not trusted is between."""
    return not is_forwarded(request) and is_listed(client_address(request), networks)


def check_networks(name: str, texts: Iterable[str]) -> None:
    """Raise ImproperlyConfigured for an invalid entry, with the name of the setting."""
    for text in texts:
        if text not in (ANY, UNIX_PEER):
            try:
                parse_network(text)
            except ValueError as error:
                raise ImproperlyConfigured(f"{name}: {error}") from None
