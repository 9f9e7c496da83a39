"""Which machines an address may name, however it is spelt."""

import pytest

from knowgate._wire.networks import AddressRefused, fault_of_host, is_network, reachable

REFUSED = {
    "169.254.169.254": "metadata",
    "169.254.0.1": "link-local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "0.0.0.0": "no machine's address",
    "0.1.2.3": "no machine's address",
    "::": "no machine's address",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "255.255.255.255": "reserved",
    "240.0.0.1": "reserved",
    "100.100.100.200": "metadata",
    "fd00:ec2::254": "metadata",
}
SPELLINGS = [
    "0x7f.1",
    "0x7f000001",
    "2130706433",
    "2852039166",
    "0177.0.0.1",
    "127.1",
    "127.0.0.01",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "127.0.0.1.",
    "169.254.169.254.",
    "1.2.3.4.5",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "１６９.254.169.254",
    "169。254。169。254",
    "0x",
]
TAKEN = ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "172.16.0.9", "fd12::1", "8.8.8.8", "2606:4700::1"]
NAMES = ["localhost", "models.internal", "my_host.", "host1", "a1.b2", "x-7", "münchen.example"]


@pytest.mark.parametrize("host", REFUSED)
def test_what_no_model_or_receiver_is_is_refused(host: str) -> None:
    assert REFUSED[host] in str(fault_of_host(host))
    with pytest.raises(AddressRefused, match=REFUSED[host]):
        reachable(host, 80)


@pytest.mark.parametrize("host", SPELLINGS)
def test_an_address_is_declared_in_its_one_spelling(host: str) -> None:
    assert "another spelling" in str(fault_of_host(host))


@pytest.mark.parametrize("host", [*TAKEN, *NAMES])
def test_names_and_other_addresses_are_taken(host: str) -> None:
    assert fault_of_host(host) is None


def test_a_name_is_as_good_as_the_addresses_it_stands_for() -> None:
    assert set(reachable("localhost", 80)) <= {"127.0.0.1", "::1"}
    # What a resolver makes of other spellings is looked at too.
    for name in ("0xa9fea9fe", "2852039166", "169.254.43518", "::ffff:169.254.169.254"):
        with pytest.raises(AddressRefused, match="metadata service"):
            reachable(name, 80)


def test_a_network_that_is_allowed_is_asked() -> None:
    assert fault_of_host("169.254.7.9", ["169.254.7.0/24"]) is None
    assert reachable("169.254.7.9", 80, ["169.254.7.0/24"]) == ("169.254.7.9",)
    assert fault_of_host("169.254.8.9", ["169.254.7.0/24"]) is not None
    assert is_network("169.254.7.0/24") and not is_network("169.254.7.9/24") and not is_network("all")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.9", "100.64.0.1", "fd12::1"])
def test_private_addresses_are_asked_unless_they_are_not_allowed(host: str) -> None:
    assert fault_of_host(host) is None
    assert "a private address" in str(fault_of_host(host, ()))
    with pytest.raises(AddressRefused, match="private"):
        reachable(host, 80, ["192.0.2.0/24"])
    assert fault_of_host(host, [f"{host}/128" if ":" in host else f"{host}/32"]) is None


@pytest.mark.parametrize("host", ["169.254.169.254", "100.100.100.200", "fd00:ec2::254"])
def test_a_metadata_service_is_asked_whatever_is_allowed_never(host: str) -> None:
    assert fault_of_host(host, ["0.0.0.0/0", "::/0"]) is not None
