"""The world in which what the pages show is tried; it is started once for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from docs.world import World, running


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A clone, a ComfyUI, an exporter, Prometheus and Alertmanager."""
    with running(tmp_path_factory.mktemp("clone")) as world:
        yield world
