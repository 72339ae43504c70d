"""Which network addresses a user-supplied URL may lead to, held at the moment of connecting.

The client connects to exactly the addresses a resolver returns, so that a name which answers
differently the second time (DNS rebinding) gains nothing. Literal addresses never reach a
resolver: whoever takes an URL checks them with `is_public`.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp.abc import AbstractResolver, ResolveResult

from service.senders.base import AddressError

PRIVATE_PROBLEM = (
    "leads into a private network; accepted: public addresses (WEBHOOK_ALLOW_PRIVATE=true lifts this)"
)
# RFC 6052: the IPv4 address is in the last four bytes, and a translator connects to that one.
_NAT64 = IPv6Network("64:ff9b::/96")
# Global on paper or in older Pythons' tables, but they lead to the local machine, network or cloud host.
_NEVER = tuple(
    ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments; a cloud's metadata service lives here too
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # Azure's host agent
        "2001::/23",  # protocol assignments with Teredo and ORCHID
        "2002::/16",  # 6to4: wraps any IPv4 address
        "fec0::/10",  # site-local
    )
)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether this is an ordinary unicast address of the internet."""
    if isinstance(address, IPv6Address) and address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    if any(address in network for network in _NEVER):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class GuardedResolver(AbstractResolver):
    """Resolves like `inner`, and refuses a name if any of its addresses is not public.

    Raises `AddressError` for that, OSError when the name does not resolve.
    """

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not all(is_public(ip_address(entry["host"])) for entry in found):
            raise AddressError(PRIVATE_PROBLEM)
        return found

    async def close(self) -> None:
        await self._inner.close()
