"""Which addresses are inside, whatever they are dressed as."""

import socket
from ipaddress import ip_address

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from service.senders.base import AddressError
from service.senders.egress import GuardedResolver, is_public

INSIDE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "168.63.129.16",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254",
    "64:ff9b:1::8.8.8.8", "100::1", "2001::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
]  # fmt: skip
OUTSIDE = ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize("address", INSIDE)
def test_inside(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", OUTSIDE)
def test_outside(address: str) -> None:
    assert is_public(ip_address(address))


class Names(AbstractResolver):
    """Answers with these addresses, the next list each time."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.answers.pop(0)
        ]

    async def close(self) -> None:
        return None


async def test_a_public_name_keeps_the_addresses_that_were_judged() -> None:
    found = await GuardedResolver(Names(["8.8.8.8", "1.1.1.1"])).resolve("example.com", 443)
    assert [entry["host"] for entry in found] == ["8.8.8.8", "1.1.1.1"]


async def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    with pytest.raises(AddressError, match="private network"):
        await GuardedResolver(Names(["8.8.8.8", "10.0.0.1"])).resolve("example.com", 443)


async def test_a_name_that_changes_its_answer_is_judged_each_time() -> None:
    guarded = GuardedResolver(Names(["8.8.8.8"], ["127.0.0.1"]))
    await guarded.resolve("example.com", 443)
    with pytest.raises(AddressError):
        await guarded.resolve("example.com", 443)
