"""The client and TLS: whom it trusts, who it is, and certificates that are replaced while it watches."""

from __future__ import annotations

import ssl
import subprocess
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from comfyui.servers import Observed, answer_prompt, error_of
from comfyui_exporter.access import access_of
from comfyui_exporter.comfyui.errors import ErrorKind
from comfyui_exporter.config.servers import ServerConfig, TlsConfig


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Self-signed certificates, made once each: their name to (certificate, key)."""
    folder = tmp_path_factory.mktemp("tls")
    known = {}

    def make(name, *options):
        if name not in known:
            pair = (folder / f"{name}.pem", folder / f"{name}.key")
            command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=test"
            where = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(pair[0]), "-keyout", str(pair[1])]
            subprocess.run([*command.split(), *(options or ["-nodes"]), *where], check=True, capture_output=True)
            known[name] = pair
        return known[name]

    return make


@pytest.fixture
def observed():
    return Observed()


@asynccontextmanager
async def https_server(pair, client_ca=None):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*pair)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)

    async def handle(request):
        if request.path != "/ws":
            return await answer_prompt(request)
        response = web.WebSocketResponse()
        await response.prepare(request)
        await response.send_str("hello")
        await response.close()
        return response

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def client_of(observed, url, **tls):
    return observed.client(
        url, access=access_of(ServerConfig(name="s", url=url, tls=TlsConfig(**tls) if tls else None))
    )


async def greeting(client):
    async with client.socket("id", 10) as stream:
        return await stream.receive_str(timeout=5)


async def test_a_server_is_trusted_by_the_authority_in_the_file(made, observed):
    async with https_server(made("a")) as url, client_of(observed, url, ca_file=made("a")[0]) as client:
        assert await client.queue_remaining() == 2
        assert await greeting(client) == "hello"


@pytest.mark.parametrize("tls", [{}, {"ca_file": "b"}])
async def test_an_unknown_certificate_is_a_connection_error(made, observed, tls):
    tls = {key: made(name)[0] for key, name in tls.items()}
    async with https_server(made("a")) as url, client_of(observed, url, **tls) as client:
        for error in (await error_of(client.queue_remaining()), await error_of(greeting(client))):
            assert (error.kind, error.refused) == (ErrorKind.CONNECTION, False)
            assert "certificate" in str(error).lower()
    assert observed.requests == [("/prompt", "connection"), ("/ws", "connection")]


async def test_any_certificate_is_taken_where_that_is_said(made, observed):
    async with https_server(made("a")) as url, client_of(observed, url, insecure_skip_verify=True) as client:
        assert await client.queue_remaining() == 2
        assert await greeting(client) == "hello"


async def test_a_certificate_of_our_own_is_shown(made, observed):
    ours = {"ca_file": made("a")[0], "cert_file": made("b")[0], "key_file": made("b")[1]}
    async with https_server(made("a"), made("b")[0]) as url:
        async with client_of(observed, url, ca_file=made("a")[0]) as client:
            assert (await error_of(client.queue_remaining())).kind is ErrorKind.CONNECTION
        async with client_of(observed, url, **ours) as client:
            assert await client.queue_remaining() == 2


async def test_a_replaced_authority_is_trusted_without_a_restart(made, observed, tmp_path):
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(made("b")[0].read_bytes())
    async with https_server(made("a")) as url, client_of(observed, url, ca_file=trusted) as client:
        await error_of(client.queue_remaining())
        await error_of(greeting(client))
        trusted.write_bytes(made("a")[0].read_bytes())
        assert await client.queue_remaining() == 2
        assert await greeting(client) == "hello"
    assert observed.reconnects == 0


async def test_a_replaced_certificate_of_our_own_is_shown_without_a_restart(made, observed, tmp_path):
    ours = tmp_path / "ours.pem"
    ours.write_bytes(b"".join(file.read_bytes() for file in made("a")))
    async with (
        https_server(made("a"), made("b")[0]) as url,
        client_of(observed, url, ca_file=made("a")[0], cert_file=ours) as client,
    ):
        assert (await error_of(client.queue_remaining())).kind is ErrorKind.CONNECTION
        ours.write_bytes(b"".join(file.read_bytes() for file in made("b")))
        assert await client.queue_remaining() == 2


async def test_a_key_with_a_pass_phrase_is_an_error_and_nobody_is_asked_for_it(made, observed, capfd):
    certificate, key = made("locked", "-passout", "pass:secret")
    tls = {"cert_file": certificate, "key_file": key}
    async with client_of(observed, "https://127.0.0.1:1", **tls) as client:
        error = await error_of(client.queue_remaining())
    assert (error.kind, error.refused) == (ErrorKind.CONNECTION, False)
    assert capfd.readouterr() == ("", "")


async def test_a_server_without_tls_is_a_connection_error(observed):
    runner = web.ServerRunner(web.Server(answer_prompt), shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with client_of(observed, f"https://127.0.0.1:{runner.addresses[0][1]}") as client:
            assert (await error_of(client.queue_remaining())).kind is ErrorKind.CONNECTION
    finally:
        await runner.cleanup()
