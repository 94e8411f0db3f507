"""TLS on the ports of the exporter: certificates and their change, certificates of clients, versions, slow clients."""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
import warnings
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from certificates import own, signed, trusting
from comfyui_exporter.config.web_config import load_web_config
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.web.connection import PATIENCE, Patience
from comfyui_exporter.web.server import WebServer, build_app
from comfyui_exporter.web.tls import names_of
from comfyui_exporter.web.web_config import CHECK_EVERY, WebConfig


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with certificates; they take a while to make."""
    folder = tmp_path_factory.mktemp("made")
    authority = own(folder, "authority")
    return {
        "old": own(folder, "old"),
        "new": own(folder, "new"),
        "authority": authority,
        "prometheus": signed(folder, "prometheus", authority, "DNS:prometheus.lan,IP:2001:db8::1,URI:spiffe://lan/p"),
        "other": signed(folder, "other", authority, "DNS:other.lan"),
        "stranger": own(folder, "stranger", "DNS:prometheus.lan"),
    }


class Time:
    """A clock that is moved; files were changed long ago unless it says otherwise."""

    def __init__(self):
        self.seconds = 1000.0
        self.wall_seconds = 1e12

    def now(self):
        return self.seconds

    def wall(self):
        return self.wall_seconds


class Serving:
    """A server with a web config in a folder of its own."""

    def __init__(self, folder, made):
        self.folder = folder
        self.made = made
        self.time = Time()
        self.url = ""
        self.port = 0
        self.config = WebConfig(folder / "web.yml", load_web_config, now=self.time.now, wall=self.time.wall)

    def put(self, name):
        shutil.copy(self.made[name].certificate, self.folder / "cert.pem")
        shutil.copy(self.made[name].key, self.folder / "key.pem")

    def write(self, *lines):
        text = "\n  ".join(["tls_server_config:", "cert_file: cert.pem", "key_file: key.pem", *lines])
        (self.folder / "web.yml").write_text(text)

    def later(self):
        self.time.seconds += CHECK_EVERY

    async def get(self, context, path="/-/healthy"):
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(self.url, connector=connector) as session, session.get(path) as response:
            return response.status

    async def serial(self):
        """The serial number of the certificate that new connections are shown."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        shown = ssl.DER_cert_to_PEM_cert(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.close()
        (self.folder / "shown.pem").write_text(shown)
        return type(self.made["old"])(self.folder / "shown.pem", self.folder).serial


@pytest.fixture
def serving(tmp_path, made):
    @asynccontextmanager
    async def serve(*lines, pair="old", patience=PATIENCE):
        it = Serving(tmp_path, made)
        it.put(pair)
        it.write(*lines)
        await it.config.reload()
        server = WebServer(build_app(MetricStore(), "/metrics", lambda: True, it.config), it.config, patience)
        try:
            _, it.port = await server.listen("127.0.0.1", 0)
            it.url = f"https://127.0.0.1:{it.port}"
            yield it
        finally:
            await server.close()

    return serve


# Serving


async def test_a_scrape_over_tls(serving, made):
    async with serving() as it:
        assert await it.get(trusting(made["old"]), "/metrics") == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await it.get(trusting(made["new"]))


async def test_plain_http_gets_no_answer_on_a_port_with_tls(serving, made):
    async with serving() as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP" not in await reader.read()
        writer.close()
        assert await it.get(trusting(made["old"])) == 200


async def test_what_comes_together_with_the_handshake_is_not_lost(serving, made):
    async with serving() as it:
        trust = trusting(made["old"])
        for _ in range(100):
            reader, writer = await asyncio.open_connection("127.0.0.1", it.port, ssl=trust)
            writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
            writer.close()


async def test_a_config_without_tls_serves_in_the_clear(tmp_path, made):
    (tmp_path / "web.yml").write_text("http_server_config: {headers: {X-XSS-Protection: '0'}}")
    config = WebConfig(tmp_path / "web.yml", load_web_config)
    await config.reload()
    server = WebServer(build_app(MetricStore(), "/metrics", lambda: True, config), config)
    try:
        _, port = await server.listen("127.0.0.1", 0)
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
            assert (response.status, response.headers["X-XSS-Protection"]) == (200, "0")
    finally:
        await server.close()


# Versions and ciphers


def speaking(made, version):
    context = trusting(made["old"])
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        # Python says that these are old, which is what is tried.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize(
    ("lines", "version", "fine"),
    [
        ((), ssl.TLSVersion.TLSv1_3, True),
        ((), ssl.TLSVersion.TLSv1_2, True),
        ((), ssl.TLSVersion.TLSv1_1, False),
        (("min_version: TLS10",), ssl.TLSVersion.TLSv1, False),
        (("min_version: TLS13",), ssl.TLSVersion.TLSv1_2, False),
        (("min_version: TLS13",), ssl.TLSVersion.TLSv1_3, True),
        (("max_version: TLS12",), ssl.TLSVersion.TLSv1_3, False),
        (("max_version: TLS12",), ssl.TLSVersion.TLSv1_2, True),
    ],
)
async def test_versions_that_are_not_allowed_are_refused(lines, version, fine, serving, made):
    async with serving(*lines) as it:
        if fine:
            assert await it.get(speaking(made, version)) == 200
        else:
            with pytest.raises(aiohttp.ClientConnectorError):
                await it.get(speaking(made, version))


async def test_other_ciphers_than_those_of_the_list_are_refused(serving, made):
    line = "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]"
    async with serving("max_version: TLS12", line) as it:
        for cipher, fine in (("ECDHE-ECDSA-AES256-GCM-SHA384", True), ("ECDHE-ECDSA-AES128-GCM-SHA256", False)):
            context = trusting(made["old"])
            context.set_ciphers(cipher)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            if fine:
                assert await it.get(context) == 200
            else:
                with pytest.raises(aiohttp.ClientConnectorError):
                    await it.get(context)


async def test_another_curve_than_the_one_of_the_list_is_refused(serving, made):
    async with serving("curve_preferences: [CurveP384]") as it:
        for curve, fine in (("secp384r1", True), ("prime256v1", False)):
            context = trusting(made["old"])
            context.set_ecdh_curve(curve)
            if fine:
                assert await it.get(context) == 200
            else:
                with pytest.raises(aiohttp.ClientConnectorError):
                    await it.get(context)


# Certificates of clients


@pytest.fixture
def needing(serving, made, tmp_path):
    shutil.copy(made["authority"].certificate, tmp_path / "ca.pem")

    def serve(kind, *lines):
        return serving(f"client_auth_type: {kind}", "client_ca_file: ca.pem", *lines)

    return serve


async def test_a_client_without_the_needed_certificate_is_refused(needing, made):
    async with needing("RequireAndVerifyClientCert") as it:
        assert await it.get(trusting(made["old"], made["prometheus"])) == 200
        for shown in (None, made["stranger"]):
            with pytest.raises(aiohttp.ClientError):
                await it.get(trusting(made["old"], shown))


async def test_a_certificate_that_need_not_be_shown_has_to_be_good(needing, made):
    async with needing("VerifyClientCertIfGiven") as it:
        assert await it.get(trusting(made["old"])) == 200
        assert await it.get(trusting(made["old"], made["prometheus"])) == 200
        with pytest.raises(aiohttp.ClientError):
            await it.get(trusting(made["old"], made["stranger"]))


@pytest.mark.parametrize("name", ["prometheus.lan", "2001:DB8:0::1", "spiffe://lan/p"])
async def test_a_certificate_without_an_allowed_name_is_refused(name, needing, made):
    async with needing("RequireAndVerifyClientCert", f"client_allowed_sans: ['{name}', nobody]") as it:
        assert await it.get(trusting(made["old"], made["prometheus"])) == 200
        with pytest.raises(aiohttp.ClientError):
            await it.get(trusting(made["old"], made["other"]))


async def test_no_names_allowed_is_nobody(needing, made):
    async with needing("RequireAndVerifyClientCert", "client_allowed_sans: []") as it:
        with pytest.raises(aiohttp.ClientError):
            await it.get(trusting(made["old"], made["prometheus"]))


def test_names_are_those_of_the_certificate_and_not_its_subject():
    shown = {
        "subject": ((("commonName", "evil"),),),
        "subjectAltName": (("DNS", "a"), ("IP Address", "2001:DB8:0:0:0:0:0:1\n"), ("email", "m@x"), ("DirName", "z")),
    }
    assert list(names_of(shown)) == ["a", "2001:db8::1", "m@x"]
    assert list(names_of(None)) == []


async def test_an_authority_that_is_taken_away_is_trusted_no_more(needing, made, tmp_path):
    async with needing("RequireAndVerifyClientCert") as it:
        assert await it.get(trusting(made["old"], made["prometheus"])) == 200
        shutil.copy(made["stranger"].certificate, tmp_path / "ca.pem")
        it.later()
        with pytest.raises(aiohttp.ClientError):
            await it.get(trusting(made["old"], made["prometheus"]))
        assert await it.get(trusting(made["old"], made["stranger"])) == 200


# Change


async def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_stay(serving, made):
    async with serving() as it:
        connector = aiohttp.TCPConnector(ssl=trusting(made["old"]))
        async with aiohttp.ClientSession(it.url, connector=connector) as session:
            async with session.get("/-/healthy") as first:
                assert first.status == 200
            it.put("new")
            assert await it.serial() == made["old"].serial
            it.later()
            assert await it.serial() == made["new"].serial
            async with session.get("/-/healthy") as second:
                assert second.status == 200
        assert await it.get(trusting(made["new"])) == 200


async def test_a_broken_certificate_changes_nothing_and_is_told_once(serving, made, caplog):
    async with serving() as it:
        (it.folder / "cert.pem").write_text("nonsense")
        for _ in range(3):
            it.later()
            assert await it.serial() == made["old"].serial
        told = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(told) == 1
        assert "the web config cannot be used, the one before goes on to hold" in told[0].getMessage()
        it.put("new")
        it.later()
        assert await it.serial() == made["new"].serial


async def test_a_certificate_without_its_key_yet_waits_for_it(serving, made):
    async with serving() as it:
        shutil.copy(made["new"].certificate, it.folder / "cert.pem")
        it.later()
        assert await it.serial() == made["old"].serial
        shutil.copy(made["new"].key, it.folder / "key.pem")
        it.later()
        assert await it.serial() == made["new"].serial


async def test_a_file_that_is_being_written_is_not_read_yet(serving, made):
    async with serving() as it:
        it.put("new")
        it.time.wall_seconds = (it.folder / "key.pem").stat().st_mtime + 0.5
        it.later()
        assert await it.serial() == made["old"].serial
        it.later()
        assert await it.serial() == made["new"].serial


async def test_a_file_that_was_emptied_does_not_take_protection_away(serving, made, caplog):
    async with serving() as it:
        (it.folder / "web.yml").write_text("")
        it.later()
        with pytest.raises(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session:
                await session.get(f"http://127.0.0.1:{it.port}/metrics")
        assert await it.serial() == made["old"].serial
        assert "it has no TLS any more; a restart is needed to go without" in caplog.text


async def test_a_reload_reads_at_once_and_says_what_is_wrong(serving, made):
    async with serving() as it:
        it.put("new")
        await it.config.reload()
        assert await it.serial() == made["new"].serial
        (it.folder / "web.yml").write_text("nonsense: 1")
        with pytest.raises(Exception, match="nonsense: unknown key"):
            await it.config.reload()
        assert await it.serial() == made["new"].serial


async def test_a_config_that_names_a_file_that_comes_later_is_tried_again(serving, made):
    async with serving() as it:
        (it.folder / "web.yml").write_text("tls_server_config: {cert_file: c2.pem, key_file: k2.pem}")
        it.later()
        assert await it.serial() == made["old"].serial
        shutil.copy(made["new"].certificate, it.folder / "c2.pem")
        shutil.copy(made["new"].key, it.folder / "k2.pem")
        it.later()
        assert await it.serial() == made["new"].serial


# Slow clients


async def test_a_handshake_that_does_not_go_on_is_cut_off(serving):
    async with serving(patience=Patience(handshake=0.1)) as it:
        for said in (b"", b"\x16\x03\x01\x02\x00\x01"):
            reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
            writer.write(said)
            assert await reader.read() == b""
            writer.close()


async def test_the_end_does_not_wait_for_handshakes(serving):
    async with serving() as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(b"\x16\x03\x01")
        await writer.drain()
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
