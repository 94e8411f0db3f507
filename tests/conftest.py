"""Fixtures of more than one folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from postgres import Postgres


@pytest.fixture(autouse=True, scope="session")
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps exporters that a test starts without saying where they keep things out of the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATE_DIRECTORY", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of our own. One that a test stopped is running again for the next."""
    with Postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """An empty database."""
    if not postgres.running:
        postgres.start()
    return postgres.new_database()
