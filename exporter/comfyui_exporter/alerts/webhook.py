"""Reads the webhook messages of Alertmanager, and makes what they say safe to keep and to show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from comfyui_exporter.alerts.alert import Alert

VERSION = "4"
"""Of Alertmanager's messages; the only one since 2017."""

MOST_ALERTS = 1_000
"""Of one message; our Alertmanager configuration asks for no more (`max_alerts`)."""

MOST_TEXTS = 64
"""Labels or annotations of one alert."""

LONGEST_NAME, LONGEST_LABEL, LONGEST_ANNOTATION, LONGEST_URL = 200, 1_000, 2_000, 2_000

LONGEST_ALERT = 8_000
"""Characters of all labels and annotations together: what all clients are sent for each."""

_WEB = re.compile(r"https?://[^\s<>\"'`]+")


@dataclass(frozen=True, slots=True)
class Notification:
    """One message: the alerts that can be used, and how many cannot."""

    alerts: tuple[Alert, ...]
    unusable: int


def read_notification(body: Mapping[str, Any]) -> Notification:
    """Read a message. An alert that is not as it has to be costs only itself.

    Raises:
        ValueError: it is no message of Alertmanager; the text is for its sender.
    """
    if body.get("version", VERSION) != VERSION:
        message = f'version is not "{VERSION}"'
        raise ValueError(message)
    found = body.get("alerts")
    if not isinstance(found, list):
        message = "alerts is not a list: this is no message of an Alertmanager webhook"
        raise ValueError(message)
    if len(found) > MOST_ALERTS:
        message = f"more than {MOST_ALERTS} alerts; set max_alerts of the webhook"
        raise ValueError(message)
    alerts = tuple(_readable(found, body.get("status")))
    return Notification(alerts, len(found) - len(alerts))


def _readable(found: list[Any], status: object) -> Iterator[Alert]:
    for data in found:
        try:
            yield read_alert({"status": status, **data} if isinstance(data, dict) else {})
        except ValueError:
            continue


def read_alert(data: Mapping[str, Any]) -> Alert:
    """Read one alert, also from `Alert.data`.

    Raises:
        ValueError: it is not as Alertmanager writes them.
    """
    status = data.get("status")
    if status not in ("firing", "resolved"):  # a tuple: it may be of a type that no set takes
        raise ValueError("status")
    labels = _texts(data.get("labels"), LONGEST_LABEL)
    annotations = _texts(data.get("annotations") or {}, LONGEST_ANNOTATION)
    if not labels or sum(map(len, (*labels, *labels.values(), *annotations, *annotations.values()))) > LONGEST_ALERT:
        raise ValueError("labels")
    fingerprint = data.get("fingerprint")
    return Alert(
        labels,
        annotations,
        firing=status == "firing",
        starts_at=_moment(data.get("startsAt")),
        ends_at=_moment(data.get("endsAt")) if status == "resolved" else None,
        fingerprint=_clean(fingerprint, LONGEST_NAME) or None if isinstance(fingerprint, str) else None,
        generator_url=web_url(data.get("generatorURL")),
    )


def web_url(value: object) -> str | None:
    """Give a URL that a page may make a link of; None for anything else, such as `javascript:`."""
    whole = isinstance(value, str) and len(value) <= LONGEST_URL and value.isprintable() and _WEB.fullmatch(value)
    return str(value) if whole else None


def _texts(value: object, longest: int) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MOST_TEXTS:
        raise ValueError("not an object of a few texts")
    texts: dict[str, str] = {}
    for name, text in value.items():
        if not isinstance(text, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
            raise ValueError("not an object of texts")
        texts[name] = _clean(text, longest)
    return texts


def _clean(text: str, longest: int) -> str:
    """Cut what is too long; a space for what nobody can see, and a question mark for half a character."""
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    if text.isprintable():
        return text
    shown = "".join(
        each if each.isprintable() or each == "\n" or _is_joined(each) else _replaced(each) for each in text
    )
    return shown.strip()


def _is_joined(character: str) -> bool:
    return character in "\u200c\u200d"  # scripts and emoji are put together with them


def _replaced(character: str) -> str:
    return "?" if "\ud800" <= character <= "\udfff" else " "


def _moment(value: object) -> datetime | None:
    """Read a time; None where none is said, as Go writes the year 1."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year > 1 else None
