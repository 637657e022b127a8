"""Which addresses may be connected to: names are resolved here, once, and the address that was checked is used."""

from __future__ import annotations

import ipaddress
import socket

from vltk.data.fetch.policy import FetchError
from vltk.data.statuses import Status

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last four bytes
Sockaddr = tuple[str, int]


def resolve(host: str, port: int, allow_private: bool = False) -> list[Sockaddr]:
    """(address, port) pairs of a host, each once, to be connected to as they are. Blocking.

    Raises FetchError: dns when the name has no address, private_address when it has no public one. Forms such as
    127.1 or 2130706433 are names like others: what they resolve to is checked.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise FetchError(Status.dns, f"{host}: {getattr(error, 'strerror', None) or error}") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    public = [address for address in addresses if allow_private or is_public(address)]
    if not public:
        raise FetchError(Status.private_address, f"{host} is {', '.join(addresses[:3])}")
    return [(address, port) for address in public]


def is_public(address: str) -> bool:
    """False for private, loopback, link-local, shared (CGNAT), multicast, reserved and unspecified addresses.

    An IPv6 address that carries an IPv4 one (mapped, 6to4, Teredo, NAT64) is as public as that one.
    """
    ip: Address = ipaddress.ip_address(address)
    inner = _inner(ip) if isinstance(ip, ipaddress.IPv6Address) else None
    if inner is not None:
        return is_public(str(inner))
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _inner(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip in NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    teredo = ip.teredo[1] if ip.teredo else None
    return ip.ipv4_mapped or ip.sixtofour or teredo
