"""What the demo says: one block of what to open, then a line now and then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from comfyui_exporter.demo.day import HOUR_S
from comfyui_exporter.demo.ports import Place

_STACK = {"prometheus": ("Prometheus", "/alerts"), "alertmanager": ("Alertmanager", "/"), "grafana": ("Grafana", "/")}


def block(servers: Mapping[str, Place], web: Place, push: Place, stack: Mapping[str, Place], missing: set[str]) -> str:
    """What there is to see, and where."""
    minutes = 24 * HOUR_S / 60
    lines = [
        f"Three simulated ComfyUIs live through a day in {minutes:g} minutes, and an exporter watches them.",
        "",
        *_table(servers, web, push, stack),
        "",
    ]
    if missing:
        lines.append(f"Not found, and so not started: {names(missing)}.")
    lines += ["Ctrl-C ends all of it, and nothing is left behind. Below: the time there, and what happens.", ""]
    return "\n".join(lines)


def names(programs: Iterable[str]) -> str:
    """What people call them: `Prometheus, Alertmanager and Grafana`."""
    *most, last = (title for name, (title, _) in _STACK.items() if name in set(programs))
    return f"{', '.join(most)} and {last}" if most else last


def _table(servers: Mapping[str, Place], web: Place, push: Place, stack: Mapping[str, Place]) -> Iterator[str]:
    yield _row("Live page", f"http://{web.address}/", web)
    yield _row("Metrics", f"http://{web.address}/metrics")
    yield _row("Push", f"ws://{push.address}", push)
    for name, place in stack.items():
        title, path = _STACK[name]
        yield _row(title, f"http://{place.address}{path}", place)
    for name, place in servers.items():
        yield _row(name, f"http://{place.address}", place)


def _row(name: str, url: str, place: Place | None = None) -> str:
    taken = f"   ({place.instead_of} is taken)" if place is not None and place.instead_of is not None else ""
    return f"  {name:<13} {url}{taken}"
