"""Who gets in, and who may write, with passwords, tokens and certificates, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import logging
import threading
from contextlib import asynccontextmanager

import aiohttp
import bcrypt
import pytest

from certificates import own, signed, trusting
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.sections import Push, Store
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.config.web_config import load_web_config
from comfyui_exporter.monitor import Monitor
from comfyui_exporter.push.handler import SOCKETS
from comfyui_exporter.push.tokens import job_token
from comfyui_exporter.push_service import PushService
from comfyui_exporter.web.api import Api
from comfyui_exporter.web.auth import Gate, _source
from comfyui_exporter.web.guard import WriteGuard
from comfyui_exporter.web.headers import add_headers
from comfyui_exporter.web.passwords import Passwords
from comfyui_exporter.web.server import WebServer, build_app
from comfyui_exporter.web.web_config import CHECK_EVERY, WebConfig

PATIENCE = 20.0
TOKEN = "the token"
JOB = {"prompt_id": "p1", "job_id": 1}
ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}
"""What a proxy on this host says: the request does not count as one of this host."""

HASH = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode()
USERS = f"basic_auth_users:\n  alice: {HASH}\n"


def basic(user, password):
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


ALICE = basic("alice", "sesame")


class Time:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


class Exporter:
    """Both ports of an exporter, as `run` has them."""

    def __init__(self, file, config, session, time, port, push_port):
        self.file = file
        self.config = config
        self.session = session
        self.time = time
        self.port = port
        self.push_port = push_port
        self.scheme = "http"

    def url(self, path, *, push=False):
        return f"{self.scheme}://127.0.0.1:{self.push_port if push else self.port}{path}"

    async def get(self, path, authorization=None, *, push=False, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if authorization is not None:
            headers["Authorization"] = authorization
        async with self.session.get(self.url(path, push=push), headers=headers) as response:
            return response.status

    async def post(self, authorization=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if authorization is not None:
            headers["Authorization"] = authorization
        async with self.session.post(self.url("/api/v1/jobs"), json=JOB, headers=headers) as response:
            answer = await response.json()
            return response.status if response.status == 201 else (response.status, answer["error"]["code"])

    async def socket(self, path="/ws", authorization=None, protocols=(), *, push=False, **headers):
        """The status of a handshake, and the first message."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if authorization is not None:
            headers["Authorization"] = authorization
        try:
            async with self.session.ws_connect(
                self.url(path, push=push), headers=headers, protocols=protocols
            ) as socket:
                return (await socket.receive_json(timeout=PATIENCE))["type"]
        except aiohttp.WSServerHandshakeError as error:
            return error.status


@pytest.fixture
async def exporting(tmp_path):
    @asynccontextmanager
    async def export(text, token=None, ssl=None, passwords=None):
        file = tmp_path / "web.yml"
        file.write_text(text)
        time = Time()
        config = WebConfig(file, load_web_config, now=time, wall=lambda: 1e12)
        await config.reload()
        if token is not None:
            (tmp_path / "token").write_text(token)
        servers = (ServerConfig(name="gpu0", url="http://127.0.0.1:1"),)
        monitor = Monitor(Config(servers=servers, store=Store(url="memory")))
        await monitor.open()
        push = PushService(monitor, Push(token_file=tmp_path / "token" if token else None))
        app = build_app(monitor.metrics, "/metrics", lambda: True, config)
        Api(
            board=monitor.board,
            history=monitor.history,
            register=monitor.register,
            kept=monitor.kept,
            token_for=push.token_for,
            access=push.access,
            guard=WriteGuard(),
        ).add_to(app)
        app.router.add_get("/ws", push.handler.__call__)
        gate = Gate(config, push.access, passwords, time)
        gate.add_to(app)
        gate.add_to(push.app, sockets=SOCKETS)
        add_headers(push.app, config)
        servers = [WebServer(app, config), WebServer(push.app, config)]
        try:
            ports = [(await server.listen("127.0.0.1", 0))[1] for server in servers]
            connector = aiohttp.TCPConnector(ssl=ssl) if ssl is not None else None
            async with aiohttp.ClientSession(connector=connector) as session:
                exporter = Exporter(file, config, session, time, *ports)
                if ssl is not None:
                    exporter.scheme = "https"
                yield exporter
        finally:
            await monitor.stop()
            await push.close()
            for server in reversed(servers):
                await server.close()

    return export


def bearer(token):
    return f"Bearer {token}"


# Reading


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/servers", "/api/v1/jobs", "/nothing", "/ws"])
async def test_every_path_asks_for_the_password(path, exporting):
    async with exporting(USERS) as exporter:
        async with exporter.session.get(exporter.url(path)) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == 'Basic realm="comfyui-exporter", charset="UTF-8"'
            assert (await response.json())["error"]["code"] == "unauthorized"
        assert await exporter.get(path, ALICE) == {"/nothing": 404, "/ws": 426}.get(path, 200)


async def test_health_checks_ask_for_none_as_who_asks_them_has_none(exporting):
    async with exporting(USERS) as exporter:
        assert await exporter.get("/-/healthy") == 200
        assert await exporter.get("/-/ready") == 200
        assert await exporter.get("/-/healthy", push=True) == 200
        assert await exporter.get("/-/healthy/../../metrics") == 401
        assert await exporter.get("//-/healthy") == 401


@pytest.mark.parametrize(
    "authorization",
    [
        basic("alice", "wrong"),
        basic("alice", ""),
        basic("bob", "sesame"),
        basic("", ""),
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"alice").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        f"Digest {ALICE[6:]}",
        bearer("sesame"),
        bearer(HASH),
        basic("alice", HASH),
    ],
)
async def test_whatever_is_not_the_password_is_refused(authorization, exporting):
    async with exporting(USERS) as exporter:
        assert await exporter.get("/metrics", authorization) == 401


async def test_passwords_beyond_ascii_are_read_as_utf_8(exporting):
    hashed = bcrypt.hashpw("ключ".encode(), bcrypt.gensalt(4)).decode()
    async with exporting(f"basic_auth_users: {{'Алиса': '{hashed}'}}") as exporter:
        assert await exporter.get("/metrics", basic("Алиса", "ключ")) == 200


async def test_without_users_nobody_is_asked(exporting):
    async with exporting("") as exporter:
        assert await exporter.get("/metrics") == 200
        assert await exporter.get("/metrics", basic("who", "ever")) == 200


async def test_a_user_who_is_taken_out_of_the_file_is_out(exporting):
    async with exporting(f"{USERS}  bob: {HASH}\n") as exporter:
        bob = basic("bob", "sesame")
        assert await exporter.get("/metrics", bob) == 200
        exporter.file.write_text(USERS)
        assert await exporter.get("/metrics", bob) == 200
        exporter.time.seconds += CHECK_EVERY
        assert await exporter.get("/metrics", bob) == 401
        assert await exporter.get("/metrics", ALICE) == 200


async def test_the_log_says_that_somebody_guesses_and_neither_name_password_nor_hash(exporting, caplog):
    caplog.set_level(logging.DEBUG)
    async with exporting(USERS) as exporter:
        for _ in range(3):
            assert await exporter.get("/metrics", basic("alice", "guess")) == 401
        assert await exporter.get("/metrics", ALICE) == 200
        exporter.time.seconds += 60
        assert await exporter.get("/metrics", basic("hunter2", "guess")) == 401
    told = [record for record in caplog.records if record.name == "comfyui_exporter.web"]
    assert [(record.getMessage(), record.times) for record in told] == [
        ("wrong user name or password", 1),
        ("wrong user name or password", 3),
    ]
    for secret in ("alice", "guess", "sesame", HASH, "hunter2"):
        assert all(secret not in str(vars(record)) for record in told)


async def test_while_too_many_passwords_wait_the_answer_is_try_again(exporting):
    go = threading.Event()

    def hashing(password, _):
        assert go.wait(PATIENCE)
        return password == "sesame"

    async with exporting(USERS, passwords=Passwords(check=hashing)) as exporter:
        asking = [asyncio.create_task(exporter.get("/metrics", basic("alice", f"guess {n}"))) for n in range(20)]
        # Those over the limit are answered while the others are held up, and so is who needs no password.
        done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result() for task in done} == {503}
        assert await exporter.get("/-/healthy") == 200
        go.set()
        assert set(await asyncio.gather(*asking)) == {503, 401}
        assert await exporter.get("/metrics", ALICE) == 200


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("unix", None, False),
    ],
)
def test_addresses_of_one_site_share_what_may_wait(one, other, same):
    assert (_source(one) == _source(other)) == same


async def test_more_requests_than_the_limit_are_refused_until_time_has_passed(exporting):
    async with exporting("rate_limit: {interval: 1s, burst: 2}") as exporter:
        assert [await exporter.get("/metrics") for _ in range(3)] == [200, 200, 429]
        exporter.time.seconds += 1
        assert [await exporter.get("/metrics") for _ in range(2)] == [200, 429]


async def test_every_response_of_both_ports_has_the_headers(exporting):
    headers = "http_server_config: {headers: {Strict-Transport-Security: max-age=60, X-Frame-Options: sameorigin}}\n"
    async with exporting(USERS + headers) as exporter:
        for url in (
            exporter.url("/metrics"),
            exporter.url("/-/healthy"),
            exporter.url("/", push=True),
            exporter.url("/-/healthy", push=True),
        ):
            async with exporter.session.get(url) as response:
                shown = response.headers
            assert shown["Server"] == "comfyui-exporter"
            assert shown["X-Content-Type-Options"] == "nosniff"
            assert shown["Strict-Transport-Security"] == "max-age=60"
            assert shown.getall("X-Frame-Options") == ["sameorigin"]
            assert "default-src 'none'" in shown["Content-Security-Policy"]


# Writing


async def test_a_user_may_write_from_anywhere(exporting):
    async with exporting(USERS) as exporter:
        assert await exporter.post(ALICE, **ELSEWHERE) == 201
        assert await exporter.post(**ELSEWHERE) == (401, "unauthorized")
        assert await exporter.post() == (401, "unauthorized")


async def test_without_credentials_only_this_host_may_write(exporting):
    async with exporting("", token=TOKEN) as exporter:
        assert await exporter.post() == 201
        assert await exporter.post(**ELSEWHERE) == (403, "forbidden")
        assert await exporter.post(bearer("wrong"), **ELSEWHERE) == (403, "forbidden")
        assert await exporter.post(ALICE, **ELSEWHERE) == (403, "forbidden")


@pytest.mark.parametrize("text", ["", USERS])
async def test_the_push_token_is_good_for_writing_and_that_of_one_job_is_not(text, exporting):
    async with exporting(text, token=TOKEN) as exporter:
        assert await exporter.post(bearer(TOKEN), **ELSEWHERE) == 201
        status, _ = await exporter.post(bearer(job_token(TOKEN, "p1")), **ELSEWHERE)
        assert status == (401 if text else 403)


async def test_a_page_of_another_origin_may_not_write_with_the_password_that_the_browser_adds(exporting):
    async with exporting(USERS, token=TOKEN) as exporter:
        for credentials in (ALICE, bearer(TOKEN)):
            refused = (403, "cross_origin")
            assert await exporter.post(credentials, Origin="https://evil.example") == refused
            assert await exporter.post(credentials, Sec_Fetch_Site="cross-site") == refused
            rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
            assert await exporter.post(credentials, **rebound) == refused


# The socket


async def test_the_socket_of_the_page_needs_the_password_which_the_browser_sends_along(exporting):
    async with exporting(USERS) as exporter:
        own_page = {"Origin": f"http://127.0.0.1:{exporter.port}"}
        assert await exporter.socket("/ws", **own_page) == 401
        assert await exporter.socket("/ws", ALICE, **own_page) == "snapshot_end"
        assert await exporter.socket("/ws", ALICE, Origin="https://evil.example") == 403


@pytest.mark.parametrize("path", ["/", "/ws"])
async def test_the_port_of_push_takes_password_or_token(path, exporting):
    async with exporting(USERS, token=TOKEN) as exporter:
        assert await exporter.socket(path, push=True) == 401
        assert await exporter.socket(path, ALICE, push=True) == "snapshot_end"
        assert await exporter.socket(path, bearer(TOKEN), push=True) == "snapshot_end"
        assert await exporter.socket(path, basic("alice", "no"), push=True) == 401
        assert await exporter.socket(path, protocols=["comfyui-exporter", "token.dGhlIHRva2Vu"], push=True) == (
            "snapshot_end"
        )
        assert await exporter.socket(path, protocols=["comfyui-exporter", "token.d3Jvbmc"], push=True) == 401


async def test_a_token_of_one_job_opens_the_socket_and_nothing_else(exporting):
    async with exporting(USERS, token=TOKEN) as exporter:
        token = job_token(TOKEN, "p1")
        assert await exporter.socket("/ws", bearer(token)) == "snapshot_end"
        assert await exporter.socket("/ws", protocols=[token]) == "snapshot_end"
        for path in ("/metrics", "/api/v1/jobs", "/"):
            assert await exporter.get(path, bearer(token)) == 401
        async with exporter.session.ws_connect(exporter.url("/", push=True), protocols=[token]) as socket:
            await socket.receive_json(timeout=PATIENCE)
            await socket.send_json({"type": "get_queue_statistics"})
            assert (await socket.receive_json(timeout=PATIENCE))["error"]["code"] == "forbidden"


async def test_where_no_passwords_are_asked_for_tokens_are_as_before(exporting):
    async with exporting("", token=TOKEN) as exporter:
        assert await exporter.get("/metrics") == 200
        assert await exporter.socket("/ws") == 401
        assert await exporter.socket("/", bearer(TOKEN), push=True) == "snapshot_end"
        assert await exporter.socket("/", ALICE, push=True) == 401


# With TLS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    authority = own(folder, "authority")
    return own(folder, "server"), authority, signed(folder, "application", authority, "DNS:application.lan")


def tls(made, *lines):
    server, authority, _ = made
    files = [f"cert_file: {server.certificate}", f"key_file: {server.key}", *lines]
    return "\n  ".join(["tls_server_config:", *(line.format(authority=authority.certificate) for line in files)]) + "\n"


async def test_push_behind_tls_with_passwords(exporting, made):
    async with exporting(tls(made) + USERS, ssl=trusting(made[0])) as exporter:
        assert await exporter.socket("/", push=True) == 401
        assert await exporter.socket("/", ALICE, push=True) == "snapshot_end"
        assert await exporter.socket("/ws", ALICE) == "snapshot_end"
        assert await exporter.get("/metrics", ALICE) == 200


VERIFYING = ("client_auth_type: VerifyClientCertIfGiven", "client_ca_file: {authority}")


async def test_a_client_certificate_is_good_for_writing(exporting, made):
    async with exporting(tls(made, *VERIFYING), ssl=trusting(made[0], made[2])) as exporter:
        assert await exporter.post(**ELSEWHERE) == 201
        assert await exporter.post(Origin="https://evil.example") == (403, "cross_origin")
    async with exporting(tls(made, *VERIFYING), ssl=trusting(made[0])) as exporter:
        assert await exporter.post(**ELSEWHERE) == (403, "forbidden")


async def test_a_client_certificate_is_no_password_and_no_token(exporting, made):
    async with exporting(tls(made, *VERIFYING) + USERS, token=TOKEN, ssl=trusting(made[0], made[2])) as exporter:
        assert await exporter.get("/metrics") == 401
        assert await exporter.post(**ELSEWHERE) == (401, "unauthorized")
    async with exporting(tls(made, *VERIFYING), token=TOKEN, ssl=trusting(made[0], made[2])) as exporter:
        assert await exporter.get("/metrics") == 200
        assert await exporter.socket("/", push=True) == 401
