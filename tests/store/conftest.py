"""Every test that touches a database runs over SQLite and over a real PostgreSQL."""

from __future__ import annotations

import pytest

from store.exporter import Exporter


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """A store that nothing was written to yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
async def exporters():
    """Makes exporters, and closes what a test left open."""
    made = []

    async def open_one(url, **config):
        exporter = Exporter(url, **config)
        made.append(exporter)
        await exporter.open()
        return exporter

    yield open_one
    for exporter in made:
        await exporter.crash()
