"""The usual ports, or others where these are taken."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from comfyui_exporter.demo.ports import Place, PortTakenError, Wish, choose


@pytest.fixture
def taken():
    """A port that another program listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def free():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_free_port_is_taken_as_wished():
    port = free()
    assert choose({"web": Wish("127.0.0.1", port)}) == {"web": Place("127.0.0.1", port)}


def test_another_one_is_found_for_a_port_that_is_taken_and_it_is_said_which_that_was(taken):
    place = choose({"web": Wish("127.0.0.1", taken)})["web"]
    assert place.instead_of == taken
    assert place.port not in {0, taken}


def test_a_port_that_somebody_asked_for_is_not_replaced(taken):
    with pytest.raises(PortTakenError, match=f"cannot listen on 127.0.0.1:{taken}: Address already in use"):
        choose({"web": Wish("127.0.0.1", taken, insists=True)})


def test_an_address_that_this_host_does_not_have_is_refused():
    with pytest.raises(PortTakenError, match=r"cannot listen on 192\.0\.2\.1"):
        choose({"web": Wish("192.0.2.1", 0)})


def test_a_name_that_nobody_knows_is_refused():
    with pytest.raises(PortTakenError, match=r"cannot listen on nobody\.invalid"):
        choose({"web": Wish("nobody.invalid", 0)})


def test_no_two_are_given_the_same_port_and_all_are_free_afterwards():
    wishes = {str(number): Wish("127.0.0.1", 0) for number in range(50)}
    ports = {place.port for place in choose(wishes).values()}
    assert len(ports) == 50
    with ExitStack() as stack:
        for port in ports:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", port))
            listener.listen()


def test_a_port_that_is_wished_twice_is_given_once():
    port = free()
    first, second = choose({"a": Wish("127.0.0.1", port), "b": Wish("127.0.0.1", port)}).values()
    assert (first.port, second.instead_of) == (port, port)


@pytest.mark.parametrize(
    ("host", "address", "flag"),
    [
        ("127.0.0.1", "127.0.0.1:1", "127.0.0.1:1"),
        ("", "127.0.0.1:1", ":1"),
        ("0.0.0.0", "127.0.0.1:1", "0.0.0.0:1"),
        ("::", "[::1]:1", "[::]:1"),
        ("::1", "[::1]:1", "[::1]:1"),
    ],
)
def test_what_listens_everywhere_is_reached_on_loopback(host, address, flag):
    place = Place(host, 1)
    assert (place.address, place.flag) == (address, flag)
