"""Which pages may connect."""

from __future__ import annotations

import pytest

from comfyui_exporter.push.access import Access

OURS = Access(allowed_origins=["https://studio.example.org", "http://lan:8080"], hosts=["Exporter.example.org"])


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "anything", True),
        ("http://localhost", "anything", True),
        ("http://LOCALHOST:3000", "anything", True),
        ("http://page.localhost:3000", "anything", True),
        ("http://127.0.0.1:8188", "anything", True),
        ("http://127.5.5.5", "anything", True),
        ("http://[::1]:5173", "anything", True),
        ("https://studio.example.org", "anything", True),
        ("https://studio.example.org:443", "anything", True),
        ("https://STUDIO.example.org", "anything", True),
        ("https://studio.example.org:8443", "anything", False),
        ("http://studio.example.org", "anything", False),
        ("http://lan:8080", "anything", True),
        ("http://lan", "anything", False),
        # The name of the external URL, on any port: the page is on another port than the push service.
        ("https://exporter.example.org", "exporter.example.org:8329", True),
        ("http://exporter.example.org:9188", None, True),
        # An address that is ours.
        ("http://10.0.0.5:9188", "10.0.0.5:8329", True),
        ("http://[fd00::5]:9188", "[fd00::5]:8329", True),
        ("http://10.0.0.6:9188", "10.0.0.5:8329", False),
        # A name that the page's owner made to point at us.
        ("http://evil.example:8329", "evil.example:8329", False),
        ("http://gpubox:9188", "gpubox:9188", False),
        ("http://localhost.evil.example", "localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", "127.0.0.1", False),
        ("http://evil.example", "127.0.0.1:8329", False),
        ("null", "127.0.0.1:8329", False),
        ("", "127.0.0.1:8329", False),
        ("file://", "127.0.0.1:8329", False),
        ("http://", "127.0.0.1:8329", False),
        ("http://127.0.0.1:port", "127.0.0.1:8329", False),
        ("http://user@127.0.0.1", "127.0.0.1:8329", False),
        ("http://[::1", "127.0.0.1:8329", False),
        ("http://10.0.0.5", "[10.0.0.5", False),
    ],
)
def test_origins(origin, host, allowed):
    assert OURS.allows(origin, host) is allowed


def test_a_star_allows_every_page():
    assert Access(allowed_origins=["*"]).allows("null", "x")
    assert Access(allowed_origins=["*"]).allows("https://evil.example", "x")
