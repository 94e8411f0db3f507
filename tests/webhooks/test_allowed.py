"""A registration opens no way into the private network."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.config.webhook_urls import NotAllowedError
from comfyui_exporter.webhooks.allowed import AllowedHosts
from comfyui_exporter.webhooks.delivery import REGISTRATION
from comfyui_exporter.webhooks.poster import Target
from webhooks.making import Names, Sending, delivery, receiving, until

PRIVATE = [
    "127.0.0.1", "127.255.0.3", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd00::1", "fec0::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1",
]  # fmt: skip
NEVER = [
    "169.254.169.254", "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "fe80::1", "fe80::1%eth0",
    "ff02::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::",
]  # fmt: skip
PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]

HOST = "hooks.example.org"
TARGETS = {REGISTRATION: Target()}


@pytest.mark.parametrize("address", PRIVATE + NEVER)
def test_no_address_but_a_public_one_is_connected_to(address):
    assert not AllowedHosts([HOST]).reachable(HOST, address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_connected_to(address):
    assert AllowedHosts([HOST]).reachable(HOST, address)


def test_hosts_that_are_listed_in_full_may_be_private_where_that_is_allowed():
    allowed = AllowedHosts([HOST, "*.internal.example"], private=True)
    assert all(allowed.reachable(HOST, address) for address in PRIVATE)
    assert not any(allowed.reachable("a.internal.example", address) for address in PRIVATE)
    assert not any(allowed.reachable(HOST, address) for address in NEVER)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_the_same_in_whatever_ipv6_address_it_hides(address):
    allowed = AllowedHosts([HOST])
    number = int(address)
    hidden = [
        ipaddress.IPv6Address(0xFFFF << 32 | number),
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | number),
        ipaddress.IPv6Address(0x2002 << 112 | number << 80),
    ]
    expected = allowed.reachable(HOST, str(address))
    assert [allowed.reachable(HOST, str(each)) for each in hidden] == [expected] * 3
    if expected:
        assert address.is_global


@pytest.mark.parametrize("address", ["", "nonsense", "127.1", "2130706433", "1.2.3.4.5", "::ffff:999.0.0.1"])
def test_what_is_no_address_is_not_connected_to(address):
    assert not AllowedHosts([HOST], private=True).reachable(HOST, address)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://evil.example/", "allowed_hosts"),
        ("http://hooks.example.org.evil.example/", "allowed_hosts"),
        ("http://xhooks.example.org/", "allowed_hosts"),
        ("http://example.net/", "allowed_hosts"),
        ("http://127.0.0.1/", "allowed_hosts"),
        ("http://10.0.0.1:8188/", "not a public one"),
        ("http://[::ffff:127.0.0.1]/", "not a public one"),
        ("http://[::ffff:7f00:1]:6379/", "not a public one"),
    ],
)
def test_other_hosts_are_not_allowed(url, why):
    allowed = AllowedHosts([HOST, "*.example.net", "10.0.0.1", str(ipaddress.IPv6Address("::ffff:127.0.0.1"))])
    with pytest.raises(NotAllowedError, match=why):
        allowed.check(url)


@pytest.mark.parametrize(
    "url",
    [
        f"http://{HOST}@evil.example/",
        f"http://evil.example\\@{HOST}/",
        f"http://evil.example#{HOST}/",
        f"http://{HOST}:80@evil.example/",
        f"http://user:secret@{HOST}/",
        f"ftp://{HOST}/",
        f"file:///etc/passwd#{HOST}",
        f"//{HOST}/",
        f"http://{HOST}\r\nX: y/",
        f" http://{HOST}/",
        f"http://{HOST}/ü",
        f"http://{HOST}:0/",
        f"http://{HOST}:99999/",
        f"http://{HOST}./",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://[::1/",
        "http://[::1%25eth0]/",
        "http:///x",
        "",
        f"http://{HOST}/{'x' * 2000}",
    ],
)
def test_what_could_be_read_in_two_ways_is_no_url(url):
    with pytest.raises(ValueError, match=r".") as refused:
        AllowedHosts([HOST, "evil.example", "*.example"], private=True).check(url)
    assert "secret" not in str(refused.value).replace("secret_file", "")


@pytest.mark.parametrize(
    "url", [f"https://{HOST}", f"http://{HOST.upper()}:8080/a/b?c=d@e", "https://a.b.example.net/", "http://8.8.8.8/x"]
)
def test_allowed_hosts_pass(url):
    AllowedHosts([HOST, "*.example.net", "8.8.8.8"]).check(url)


# Connecting


async def test_a_name_that_leads_to_this_host_is_not_connected_to():
    async with receiving() as receiver:
        port = receiver.url.split(":")[2].split("/")[0]
        names = Names(hooks_example_org=["127.0.0.1"])
        async with Sending(TARGETS, AllowedHosts([HOST]), names=names) as sending:
            sending.outbox.add(delivery(1, f"http://{HOST}:{port}/hook", hook=REGISTRATION))
            await sending.counted(refused=1)
            assert len(sending.outbox) == 0
        assert (names.asked, receiver.got) == ([HOST], [])


class Unlike(AllowedHosts):
    """Takes 127.0.0.1 for a public address, so that no test leaves this host; 127.0.0.2 is the private one."""

    def reachable(self, host, address):
        return address == "127.0.0.1"


async def test_a_name_that_leads_elsewhere_at_the_next_try_is_judged_anew():
    """DNS rebinding: the first answer is harmless, the second is what was wanted."""
    async with receiving(500, headers={"Connection": "close"}) as receiver:
        port = receiver.url.split(":")[2].split("/")[0]
        names = Names(hooks_example_org=["127.0.0.1", "127.0.0.2"])
        async with Sending(TARGETS, Unlike([HOST]), names=names) as sending:
            sending.outbox.add(delivery(1, f"http://{HOST}:{port}/hook", hook=REGISTRATION))
            await until(lambda: sending.counts["failed"] == 1 and not sending.sender._calls)
            sending.time.move(12)
            await sending.counted(failed=1, refused=1)
        assert len(receiver.got) == 1
        assert receiver.got[0][0]["Host"] == f"{HOST}:{port}"


async def test_of_several_addresses_only_those_that_are_allowed_are_connected_to():
    async with receiving() as receiver:
        port = receiver.url.split(":")[2].split("/")[0]
        names = Names(hooks_example_org=["127.0.0.2 127.0.0.1"])
        async with Sending(TARGETS, Unlike([HOST]), names=names) as sending:
            sending.outbox.add(delivery(1, f"http://{HOST}:{port}/hook", hook=REGISTRATION))
            await sending.counted(delivered=1)


async def test_a_host_that_is_allowed_to_be_private_is_called():
    async with receiving() as receiver:
        port = receiver.url.split(":")[2].split("/")[0]
        names = Names(hooks_example_org=["127.0.0.1"])
        async with Sending(TARGETS, AllowedHosts([HOST], private=True), names=names) as sending:
            sending.outbox.add(delivery(1, f"http://{HOST}:{port}/hook", hook=REGISTRATION))
            await sending.counted(delivered=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "localhost", "[::1]"])
async def test_addresses_of_this_host_are_not_connected_to_even_if_they_come_out_of_the_store(host):
    """Whatever a row of a store says, and however an address is written."""
    async with receiving() as receiver:
        port = receiver.url.split(":")[2].split("/")[0]
        listed = ["127.0.0.1", "localhost", "::1", "::ffff:7f00:1", "2130706433", "0x7f.1"]
        async with Sending(TARGETS, AllowedHosts(listed)) as sending:
            sending.outbox.add(delivery(1, f"http://{host}:{port}/hook", hook=REGISTRATION))
            await until(lambda: sending.counts["refused"] + sending.counts["failed"] == 1)
        assert receiver.got == []


async def test_a_configured_url_may_be_private():
    async with receiving() as receiver, Sending() as sending:
        sending.outbox.add(delivery(1, receiver.url.replace("127.0.0.1", "localhost")))
        await sending.counted(delivered=1)


async def test_a_host_that_was_allowed_when_it_was_registered_is_not_called_when_it_is_not_any_more():
    async with receiving() as receiver, Sending(TARGETS, AllowedHosts([HOST])) as sending:
        sending.outbox.add(delivery(1, receiver.url, hook=REGISTRATION))
        await sending.counted(refused=1)
        assert receiver.got == []
