"""Who may write."""

from __future__ import annotations

import ipaddress

import pytest
from aiohttp.test_utils import make_mocked_request

from comfyui_exporter.web.errors import ApiError
from comfyui_exporter.web.guard import WriteGuard

OFFICE = ipaddress.ip_network("10.1.0.0/16")


class Peer:
    """A connection from an address."""

    def __init__(self, address):
        self._address = address

    def get_extra_info(self, name, default=None):
        return (self._address, 50_000) if name == "peername" and self._address else default

    def is_closing(self):
        return False


def refused(address="127.0.0.1", *, trusted=(), hosts=(), **headers):
    """The code with which a write is refused; None if it passes."""
    named = {"Host": "127.0.0.1:9188"} | {name.replace("_", "-"): value for name, value in headers.items()}
    request = make_mocked_request("POST", "/api/v1/jobs", headers=named, transport=Peer(address))
    try:
        WriteGuard(trusted, hosts).check(request)
    except ApiError as error:
        return error.code if error.status == 403 else str(error.status)
    return None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_programs_on_this_host_may_write(address):
    assert refused(address) is None


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.0.1", "::ffff:10.1.2.3", "2001:db8::1", "", "unix"])
def test_others_may_not(address):
    assert refused(address) == "forbidden"


def test_a_trusted_network_may_write_and_its_neighbour_may_not():
    assert refused("10.1.2.3", trusted=[OFFICE]) is None
    assert refused("::ffff:10.1.2.3", trusted=[OFFICE]) is None
    assert refused("10.2.0.1", trusted=[OFFICE]) == "forbidden"
    assert refused("2001:db8::1", trusted=[OFFICE]) == "forbidden"


@pytest.mark.parametrize("header", ["X_Forwarded_For", "Forwarded", "X_Real_IP"])
def test_what_a_proxy_on_this_host_passes_on_is_not_from_this_host(header):
    assert refused(**{header: "203.0.113.9"}) == "forbidden"


def test_an_address_that_a_header_claims_is_not_believed():
    assert refused("203.0.113.9", X_Forwarded_For="127.0.0.1") == "forbidden"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://127.0.0.1:3000",
        "http://localhost:9188",
        "null",
        "",
        "http://[",
        "http://[::1",
        "http://127.0.0.1:9188.evil.example",
        "http://127.0.0.1:9188@evil.example",
    ],
)
def test_a_page_of_another_origin_may_not_write(origin):
    assert refused(Origin=origin) == "cross_origin"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_a_browser_that_says_that_it_is_cross_site_may_not_write(site):
    assert refused(Sec_Fetch_Site=site) == "cross_origin"


@pytest.mark.parametrize("host", ["127.0.0.1:9188", "[::1]:9188", "localhost:9188", "gpu.localhost:9188"])
def test_our_own_page_may_write(host):
    assert refused(Host=host, Origin=f"http://{host}", Sec_Fetch_Site="same-origin") is None


def test_a_name_that_was_pointed_at_us_is_not_our_own():
    host = "rebound.example:9188"
    assert refused(Host=host, Origin=f"http://{host}", Sec_Fetch_Site="same-origin") == "cross_origin"
    assert refused(hosts=["Rebound.example"], Host=host, Origin=f"http://{host}") is None
