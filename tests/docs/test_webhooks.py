"""Who copies the check of signatures from the page accepts our calls, and no others."""

from __future__ import annotations

import base64
import time

import pytest

from comfyui_exporter.webhooks.signing import headers_of
from docs.pages import ROOT, fenced

(CODE,) = fenced((ROOT / "docs/webhooks.md").read_text(), "python")
BODY = '{"type":"progress_update","id":"msg_1"}'
ENCODED = f"whsec_{base64.b64encode(b'a key of 24 bytes or so.').decode()}"


@pytest.fixture(scope="module")
def is_genuine():
    names = {}
    exec(CODE, names)
    return names["is_genuine"]


@pytest.mark.parametrize("secret", ["a text of my own", ENCODED])
def test_our_calls_are_genuine(is_genuine, secret):
    assert is_genuine(secret, headers_of("msg_1", int(time.time()), BODY, secret), BODY.encode())


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_call_of_which_something_was_changed_is_not(is_genuine, header):
    headers = headers_of("msg_1", int(time.time()), BODY, ENCODED)
    last = "1" if headers[header][-1] != "1" else "2"
    assert not is_genuine(ENCODED, {**headers, header: headers[header][:-1] + last}, BODY.encode())
    assert not is_genuine(ENCODED, headers, BODY.encode() + b" ")
    assert not is_genuine("whsec_b3RoZXI=", headers, BODY.encode())


def test_a_call_that_was_recorded_is_not(is_genuine):
    headers = headers_of("msg_1", int(time.time()) - 301, BODY, ENCODED)
    assert not is_genuine(ENCODED, headers, BODY.encode())


def test_the_signature_is_that_of_the_specification():
    """The example of the Standard Webhooks specification's libraries."""
    headers = headers_of(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        '{"test": 2432232314}',
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
