"""The reference tells the truth."""

from __future__ import annotations

import re
from pathlib import Path

from comfyui_exporter.config.flags import FLAGS
from comfyui_exporter.config.load import parse
from comfyui_exporter.config.messages import sections
from comfyui_exporter.config.model import Config
from comfyui_exporter.config.reference import example, reference


def _load(text):
    return parse(text.encode(), "reference.yml", Path("/x")).config


def test_the_example_is_the_default_configuration_but_for_its_server():
    config = _load(example())
    assert [server.name for server in config.servers] == ["gpu0"]
    assert config.with_servers(()) == Config()


def test_the_example_is_valid_with_everything_switched_on_that_is_commented_out():
    text = example()
    # What is switched off starts with # and a key, or with # and an indented line; explanations with # and a space.
    while re.search(switched_off := r"(?m)^( *)#(?=[^ \n]|  )", text):
        text = re.sub(switched_off, r"\1", text)
    text = text.replace("url: http://127.0.0.1:8188", "url: https://comfyui.example.org")
    text = text.replace("bearer_token_file: secrets/comfyui-token", "")
    config = _load(text)
    assert config.servers[0].basic_auth is not None
    assert config.servers[0].job_timeout == 7200
    assert config.webhooks[0].secret_file == Path("/x/secrets/webhook-secret")
    assert config.job_types[0].node_types == ("VHS_*", "SaveVideo", "SaveWEBM")


def test_every_key_is_described():
    for place, model in sections():
        for name, field in model.model_fields.items():
            assert field.description, f"{name} {place}"
            assert re.search(rf"(?m)^[ #-]*{name}:", example())


def test_every_flag_and_variable_is_listed():
    page = reference()
    for flag in FLAGS:
        assert f"| `--{flag.name} {flag.metavar}` | `{flag.variable}` |" in page
