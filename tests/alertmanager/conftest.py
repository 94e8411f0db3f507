"""Says with which Alertmanager the tests ran, and gives them a running one."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress

import pytest

from alertmanager.configs import DEFAULT, integration, quick, read, written
from alertmanager.programs import running, version
from alertmanager.receivers import web_server


def pytest_terminal_summary(terminalreporter):
    with suppress(LookupError):  # the tests have failed for it
        terminalreporter.write_line("Alertmanager {}.{}".format(*version()))


@pytest.fixture
async def receiver():
    """Somebody to be notified over HTTP."""
    async with web_server() as kept:
        yield kept


@pytest.fixture
async def start(tmp_path):
    """Start an Alertmanager: `await start(config)`."""
    async with AsyncExitStack() as stack:

        async def one(config, **times):
            return await stack.enter_async_context(running(written(quick(config, **times), tmp_path)))

        yield one


@pytest.fixture
async def by_default(start, receiver):
    """An Alertmanager with the configuration that we ship; what it tells the inbox comes to `receiver`."""
    config = read(DEFAULT)
    integration(config, "exporter-inbox")["url"] = f"{receiver.url}/api/v1/alerts"
    return await start(config)
