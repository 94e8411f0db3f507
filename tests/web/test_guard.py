"""Who may write, and which pages may read."""

from __future__ import annotations

import ipaddress

import pytest
from aiohttp.test_utils import make_mocked_request

from comfyui_exporter.push.caller import CALLER, Caller
from comfyui_exporter.web.errors import ApiError
from comfyui_exporter.web.guard import WriteGuard

OFFICE = ipaddress.ip_network("10.1.0.0/16")


class Peer:
    """A connection from an address, to one of ours."""

    def __init__(self, address, ours="127.0.0.1", secure=False):
        self._told = {"peername": (address, 50_000) if address else None, "sockname": (ours, 9188)}
        self._told["sslcontext"] = object() if secure else None

    def get_extra_info(self, name, default=None):
        told = self._told.get(name)
        return default if told is None else told

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


PROXY = ["X_Forwarded_For", "Forwarded", "X_Real_IP", "X_Forwarded_Host", "x_forwarded_proto", "Via"]


@pytest.mark.parametrize("header", PROXY)
def test_what_a_proxy_on_this_host_passes_on_is_not_from_this_host(header):
    assert refused(**{header: "203.0.113.9"}) == "forbidden"


@pytest.mark.parametrize("header", PROXY)
def test_what_a_proxy_in_a_trusted_network_passes_on_is_not_from_that_network(header):
    assert refused("10.1.2.3", trusted=[OFFICE], **{header: "10.1.2.4"}) == "forbidden"


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


# Reading

CHROMIUM = {"Accept-Language": "en-US,en;q=0.9"}
"""What every browser says, and a page can change but not take away."""


def unread(host, *, ours="127.0.0.1", hosts=(), secure=False, caller=Caller.NOBODY, **headers):
    """The code with which reading is refused to a browser; None if it passes."""
    named = {"Host": host} | CHROMIUM | {name.replace("_", "-"): value for name, value in headers.items()}
    request = make_mocked_request("GET", "/api/v1/jobs", headers=named, transport=Peer("127.0.0.1", ours, secure))
    token = CALLER.set(caller)
    try:
        WriteGuard((), hosts).check_reading(request)
    except ApiError as error:
        return error.code if error.status == 421 else str(error.status)
    finally:
        CALLER.reset(token)
    return None


@pytest.mark.parametrize("host", ["rebound.example:9188", "gpubox:9188", "a.local", "127.0.0.1.rebound.example", ""])
def test_a_page_whose_name_was_pointed_at_this_host_may_not_read(host):
    assert unread(host) == "misdirected"


@pytest.mark.parametrize("host", ["127.0.0.1:9188", "[::1]:9188", "localhost:9188", "gpu.localhost", "192.0.2.7:9188"])
def test_our_own_page_may_read(host):
    assert unread(host) is None
    assert unread(host, ours="192.0.2.7") is None


def test_under_the_name_of_the_external_url_a_page_may_read():
    assert unread("gpu.example:9188", hosts=["gpu.example"]) is None


@pytest.mark.parametrize("host", ["exporter:9188", "exporter.monitoring.svc:9188", "exporter.a.svc.cluster.local"])
def test_names_that_nobody_can_register_are_good_where_we_are_asked_from_the_network(host):
    """Programs that look like browsers, as Node's fetch does, ask by the names of containers and services."""
    assert unread(host, ours="172.18.0.2") is None
    assert unread("rebound.example", ours="172.18.0.2") == "misdirected"


def test_what_cannot_be_a_page_of_another_name_may_read():
    host = "rebound.example:9188"
    assert unread(host, secure=True) is None  # the certificate is not theirs
    assert unread(host, caller=Caller.USER) is None  # no browser gives our password to another name
    # Of another origin: whether the answer may be looked at, CORS tells the browser.
    assert unread(host, Origin="https://app.example") is None
    request = make_mocked_request("GET", "/api/v1/jobs", headers={"Host": host}, transport=Peer("127.0.0.1"))
    WriteGuard().check_reading(request)  # a program: it was given the name by whoever started it
