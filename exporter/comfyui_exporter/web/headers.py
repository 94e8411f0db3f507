"""Headers that every response carries."""

from __future__ import annotations

from aiohttp import web

from comfyui_exporter.web.web_config import WebConfig

SERVER = "comfyui-exporter"
"""Without versions: those who need them find them in the metrics, those who must not, not here."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "deny",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}


def harden(response: web.StreamResponse) -> None:
    """Give a response that no application made what theirs have."""
    response.headers.update(_HEADERS)
    response.headers["Server"] = SERVER


def add_headers(app: web.Application, config: WebConfig | None = None) -> None:
    """Have all responses of an application carry them; those of the web config come first."""

    async def headers(_: web.Request, response: web.StreamResponse) -> None:
        for name, value in _HEADERS.items():
            # A page knows better what it needs.
            response.headers.setdefault(name, value)
        response.headers["Server"] = SERVER
        if config is not None:
            for name, value in config.protection.headers.items():
                if value:
                    response.headers[name] = value
                else:
                    response.headers.popall(name, None)

    app.on_response_prepare.append(headers)
