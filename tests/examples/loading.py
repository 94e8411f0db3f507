"""The examples as modules: they are files for users, and no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    """The module in a file of the examples, under a name that nothing else has."""
    alias = "example_" + name.removesuffix(".py").replace("/", "_")
    if alias not in sys.modules:
        spec = importlib.util.spec_from_file_location(alias, EXAMPLES / name)
        module = importlib.util.module_from_spec(spec)
        sys.modules[alias] = module  # dataclasses and FastAPI look names up there
        spec.loader.exec_module(module)
    return sys.modules[alias]
