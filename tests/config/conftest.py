"""Helpers for tests of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_exporter.config.errors import ConfigError
from comfyui_exporter.config.load import parse


def _config_of(text, folder=Path("/etc/comfyui")):
    return parse(text.encode() if isinstance(text, str) else text, "c.yml", folder).config


@pytest.fixture
def config_of():
    """Text of a file to its configuration."""
    return _config_of


@pytest.fixture
def problems_of():
    """Text of a file to the lines that tell what is wrong with it."""

    def problems(text):
        with pytest.raises(ConfigError) as caught:
            _config_of(text)
        return str(caught.value).splitlines()

    return problems
