"""Which machines an address may name, looked at where it is declared and again where it is
connected to.

An address that somebody declares is asked from within: by a scheduler, by a gateway. What is
refused is what only this machine's network knows and no model or receiver is: link-local addresses
(the metadata services of clouds among them), multicast, unspecified and reserved ones. Loopback and
private ones are where models and receivers usually are: they are asked unless a deployment says
otherwise, and then where it names their network. Metadata services are asked never. Another
spelling of an IPv4 address (hexadecimal, octal, one number, within IPv6) is refused as such: its
only use is to get past such a check. A name says nothing; the addresses it stands for are looked at
when the connection is made, and that connection goes to the address that was looked at.
"""

import ipaddress
import re
import socket
import unicodedata
from collections.abc import Sequence

from knowgate.errors import KnowgateError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Networks of one's own, which whoever may reach all of them is allowed by this name.
PRIVATE = (
    *("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    *("100.64.0.0/10", "fc00::/7"),  # of providers, and of IPv6
)
_PRIVATE = tuple(map(ipaddress.ip_network, PRIVATE))
# Metadata services: of most clouds; of Amazon's containers; of Alibaba, Azure, Oracle; of Amazon
# over IPv6.
_METADATA = {
    *map(ipaddress.ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16")),
    *map(ipaddress.ip_address, ("192.0.0.192", "fd00:ec2::254")),
}
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
SPELLING = "write an IPv4 address as four decimal numbers, e.g. 10.0.0.1"


class AddressRefused(KnowgateError, OSError):
    """An address that is not asked."""


def fault_of_host(host: str, allowed: Sequence[str] = PRIVATE) -> str | None:
    """Why a host must not be declared; None for a name, or an address that may. `allowed`: networks
    that may all the same.

    >>> fault_of_host("10.0.0.1"), fault_of_host("models.internal"), fault_of_host("localhost")
    (None, None, None)
    >>> fault_of_host("169.254.169.254")
    '169.254.169.254 is a metadata service of a cloud, which is not asked'
    """
    plain = unicodedata.normalize("NFKC", host).replace("。", ".").lower()
    address = _address(plain)
    if address is None:
        last = plain.rstrip(".").rpartition(".")[2]
        return f"{host!r} is another spelling of an address: {SPELLING}" if _NUMBER.fullmatch(last) else None
    if plain != host.lower() or _within(address) is not None:
        return f"{host!r} is another spelling of an address: {SPELLING}"
    return _fault(address, allowed)


def reachable(host: str, port: int, allowed: Sequence[str] = PRIVATE) -> tuple[str, ...]:
    """The addresses to connect to in the place of `host`, each looked at. Raises AddressRefused
    where none may be, and OSError where the name is not known.
    """
    faults: list[str] = []
    addresses: list[str] = []
    literal = _address(host)
    if literal is not None:
        names = [host]
    else:
        names = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for name in dict.fromkeys(names):
        address = _address(name)
        fault = f"{name} is no address" if address is None else _fault(_within(address) or address, allowed)
        (addresses if fault is None else faults).append(name if fault is None else fault)
    if not addresses:
        raise AddressRefused(f"{host} stands for an address that is refused: {'; '.join(faults)}")
    return tuple(addresses)


def is_network(text: str) -> bool:
    """Whether a text is a network, such as 169.254.7.0/24."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0].strip("[]"))
    except ValueError:
        return None


def _within(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _TRANSLATED or 1 < int(address) < 2**32:  # the second: an IPv4 address as it was once written
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo is not None else None)


def _fault(address: Address, allowed: Sequence[str]) -> str | None:
    if address in _METADATA:
        return f"{address} is a metadata service of a cloud, which is not asked"
    if any(address in ipaddress.ip_network(network) for network in allowed):
        return None
    if address.is_link_local:
        kind = "link-local, which is not asked: metadata services of clouds are there"
    elif any(address in network for network in _PRIVATE):
        kind = "a private address, which is not asked here: allow its network by name"
    elif address.is_unspecified or address in _THIS_NETWORK:
        kind = "no machine's address, which is not asked: name the machine"
    elif address.is_multicast:
        kind = "a multicast address, which is not asked: name one machine"
    elif address.is_reserved:
        kind = "a reserved address, which is not asked"
    else:
        return None
    return f"{address} is {kind}"
