"""Which network addresses a user-supplied URL may lead to, held at the moment of connecting.

The client connects to exactly the addresses a resolver returns, so that a name which answers
differently the second time (DNS rebinding) gains nothing. Literal addresses never reach a
resolver: `web_address` judges those.
"""

import re
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from service.senders.base import AddressError

PRIVATE_PROBLEM = (
    "leads into a private network; accepted: public addresses (the sender's …_ALLOW_PRIVATE=true lifts this)"
)
URL_MAX_CHARS = 2_048
_HOST = re.compile(r"(?=.{1,253}\.?$)(?:(?!-)[a-z0-9_-]{1,63}(?<!-)\.)*(?!-)[a-z0-9_-]{1,63}(?<!-)\.?")
# What a system resolver would read as a number, as 127.1 or 0x7f000001.
_NUMERIC_HOST = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
_UNSAFE = re.compile(r"[\s\\\x00-\x1f\x7f-\x9f]")
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


def outward_session(timeout_seconds: float, *, allow_private: bool) -> aiohttp.ClientSession:
    """A client for addresses of `web_address`: no cookies, no proxies, no decompression.

    Connecting has a third of the time: when that alone runs out, nothing was written.
    """
    resolver = ThreadedResolver()
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=resolver if allow_private else GuardedResolver(resolver), limit=0
        ),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds, connect=timeout_seconds / 3),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )


def web_address(address: str, *, allow_private: bool) -> URL:
    """The URL as it is called: https, or also http where private addresses are allowed. Raises `AddressError`."""
    schemes = ("https", "http") if allow_private else ("https",)
    if _UNSAFE.search(address):
        raise AddressError("has white space, a backslash or control characters; accepted: https://host/path")
    try:
        url = URL(address).with_fragment(None)
        host, port = url.raw_host, url.port
    except ValueError:
        raise AddressError("is not a web address; accepted: https://host/path") from None
    if url.scheme not in schemes or not host:
        raise AddressError(f"is not a web address; accepted: {' or '.join(schemes)}://host/path")
    if url.raw_user is not None or url.raw_password is not None:
        raise AddressError("has a user name or password in it; accepted: https://host/path")
    if not port:
        raise AddressError("has no usable port; accepted: 1 to 65535")
    if len(str(url)) > URL_MAX_CHARS:
        raise AddressError(f"is longer than {URL_MAX_CHARS} characters when percent-encoded")
    _check_host(host, allow_private=allow_private)
    return url


def _check_host(host: str, *, allow_private: bool) -> None:
    try:
        literal = ip_address(host)
    except ValueError:
        if _NUMERIC_HOST.fullmatch(host) or not _HOST.fullmatch(host):
            raise AddressError("has no valid host name; accepted: https://host/path") from None
    else:
        if not allow_private and not is_public(literal):
            raise AddressError(PRIVATE_PROBLEM)
