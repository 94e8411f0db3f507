"""The rules that texts in the configuration obey.

Each returns the value to use, or raises ValueError that says what was found and what is allowed.
"""

from __future__ import annotations

import ipaddress
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from comfyui_exporter.config.describe import LONGEST_SHOWN, found, listed, quoted

_HOST = re.compile(r"[^\s\x00-\x20/?#@\\<>\"{}|^`%\[\]:]+")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,62}")
_AUTHORITY = re.compile(r"([^/?#]*)([/?#]?)(.*)", re.DOTALL)
_CLIENT_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MOST_BUCKETS = 50
LONGEST_REGEX = 2000

TAKEN_LABELS = ("server", "job_type", "status", "le")
"""Labels that the families with job labels carry already."""
TARGET_LABELS = ("job", "instance")
"""Prometheus puts these on every series itself and would rename ours to exported_*."""
JOB_FIELDS = ("job_id", "prompt_id", "comfyui_prompt_id", "run_id", "batch_id")
"""Rows and updates have these anyway, and as labels each job would be a value of its own."""
RESERVED_PATTERNS = ("other", "unknown")
"""What exported failures are called past the limit of label values, and those that no pattern matches."""

DEFAULT_PORTS = {"http": 80, "https": 443}

LOG_LEVELS = ("debug", "info", "warn", "error")
LOG_FORMATS = ("logfmt", "json")


@dataclass(frozen=True, slots=True)
class Shard:
    """Which share of the servers this replica takes: number `index`, from 0, of `count`."""

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def http_url(text: str) -> str:
    """An http(s) URL with an optional path prefix, without its trailing slash."""
    # A query may hold a token.
    shown = quoted(re.split(r"[?#]", without_credentials(text), maxsplit=1)[0])
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # The text of the error may hold a part of a password that looked like a port.
        message = f"{shown} is not a URL: its host or port is not valid"
        raise ValueError(message) from None
    if "@" in parts.netloc or (not parts.netloc and "@" in text):
        message = (
            f"{shown} carries credentials, which would show in logs and labels; "
            "put them into basic_auth: {username, password_file} or bearer_token_file"
        )
        raise ValueError(message)
    if problem := _url_problem(text, parts, port):
        message = f"{shown} {problem}"
        raise ValueError(message)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _url_problem(text: str, parts: SplitResult, port: int | None) -> str:
    host = parts.hostname or ""
    problem = ""
    if not text:
        problem = "is empty: write http://HOST:PORT"
    elif not text.isprintable() or " " in text:
        problem = "is not a URL: it has spaces or control characters"
    elif parts.scheme not in DEFAULT_PORTS or not text[len(parts.scheme) :].startswith("://"):
        problem = _scheme_problem(text, parts.scheme)
    elif parts.query or parts.fragment or text.endswith(("?", "#")):
        problem = "has a query or fragment; only a path prefix may follow the host"
    elif "[" in parts.netloc and not _is_ipv6(host):
        problem = "has no valid IPv6 address in its brackets"
    elif "[" not in parts.netloc and not _HOST.fullmatch(host):
        problem = f"has no valid host name; write {parts.scheme}://HOST:PORT"
    elif port == 0 or parts.netloc.endswith(":"):
        problem = "has no valid port; allowed: 1 to 65535"
    return problem


def _scheme_problem(text: str, scheme: str) -> str:
    rest = text.split("://", 1)[-1].lstrip("/")
    better = "https" if scheme in {"https", "wss"} else "http"
    problem = "does not start with http:// or https://"
    if rest:
        problem += f"; did you mean {better}://{rest[:LONGEST_SHOWN]}?"
    return f"{problem} The WebSocket address follows from it" if scheme in {"ws", "wss"} else problem


def without_credentials(text: str) -> str:
    """A URL as it may be shown: whatever stands before its last @ is left out."""
    if "@" not in text:
        return text
    # A password may hold any character: all up to the last @ goes.
    scheme, slashes, _ = text.rpartition("@")[0].partition("//")
    return f"{scheme if slashes else ''}{slashes}***@{text.rpartition('@')[2]}"


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def default_name(url: str) -> str:
    """The name of a server that was given none: `host:port` of its checked URL, the port always written."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or DEFAULT_PORTS[parts.scheme]}"


def shard(text: str) -> Shard:
    """`i/n`: this replica is number i, from 0, of n."""
    match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
    if match is None or int(match[1]) >= int(match[2]):
        message = f"found {quoted(text)}; allowed: i/n with 0 <= i < n <= 9999, such as 0/2 and 1/2 for two replicas"
        raise ValueError(message)
    return Shard(int(match[1]), int(match[2]))


def plain(longest: int) -> Callable[[str], str]:
    """A rule: one line of visible text, without spaces around it, of at most so many characters."""

    def rule(text: str) -> str:
        if not text or len(text) > longest or not text.isprintable() or text != text.strip():
            message = f"found {quoted(text)}; allowed: 1 to {longest} visible characters, no spaces around them"
            raise ValueError(message)
        return text

    return rule


def client_id(text: str) -> str:
    """What may stand in a clientId without being quoted anywhere."""
    if not _CLIENT_ID.fullmatch(text):
        message = f"found {quoted(text)}; allowed: 1 to 64 letters, digits, dots, dashes and underscores"
        raise ValueError(message)
    return text


def job_label(text: str) -> str:
    """A key of extra_data that can be a Prometheus label and clashes with none."""
    if not _LABEL.fullmatch(text) or len(text) > 64:
        message = (
            f"{quoted(text)} cannot be a Prometheus label; allowed: letters, digits and underscores, no digit first"
        )
    elif text.startswith("__"):
        message = f"{quoted(text)} starts with __, which Prometheus keeps for itself"
    elif text in TAKEN_LABELS:
        message = f"{quoted(text)} is taken: the metrics have labels {listed(TAKEN_LABELS, 'and')} already"
    elif text in TARGET_LABELS:
        message = f"{quoted(text)} is taken: Prometheus sets {listed(TARGET_LABELS, 'and')} itself on every series"
    elif text in JOB_FIELDS:
        message = f"{quoted(text)} differs for every job, and every row and update has it anyway"
    else:
        return text
    raise ValueError(message)


def pattern_id(text: str) -> str:
    """The id of a failure pattern: a label value that needs no quoting in rules."""
    if text in RESERVED_PATTERNS:
        message = f"{quoted(text)} is reserved for failures that have no pattern of their own; choose another id"
        raise ValueError(message)
    if not _PATTERN.fullmatch(text):
        message = f"found {quoted(text)}; allowed: up to 63 of a-z, 0-9 and _, a letter first, such as cuda_oom"
        raise ValueError(message)
    return text


def regex(text: str) -> str:
    """A regular expression that compiles."""
    if not text or len(text) > LONGEST_REGEX:
        message = f"found {quoted(text)}; allowed: a regular expression of 1 to {LONGEST_REGEX} characters"
        raise ValueError(message)
    try:
        with warnings.catch_warnings():
            # "Possible nested set" tells the authors of Python code about the future, not operators.
            warnings.simplefilter("ignore")
            re.compile(text)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        message = f"{quoted(text)} is not a regular expression as Python's re has them: {error}"
        raise ValueError(message) from None
    return text


def boundaries(value: object) -> tuple[float, ...]:
    """Upper bounds of buckets: finite, positive, strictly increasing; +Inf is added by itself."""
    if not isinstance(value, list | tuple) or not value:
        message = (
            f"expected a list of numbers such as [1, 2, 5], found {'an empty list' if value == [] else found(value)}"
        )
        raise ValueError(message)
    if len(value) > MOST_BUCKETS:
        message = f"found {len(value)} buckets; allowed: at most {MOST_BUCKETS}, as each is a series for each label set"
        raise ValueError(message)
    for bound in value:
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            message = f"expected numbers, found {found(bound)}"
            raise ValueError(message)
        if bound == math.inf:
            raise ValueError("found +Inf; leave it out, it is added by itself")
        if not 0 < bound < 1e12:
            message = f"found {found(bound)}; allowed: numbers above 0"
            raise ValueError(message)
    for low, high in pairwise(value):
        if low >= high:
            message = f"{high} follows {low}; allowed: strictly increasing numbers"
            raise ValueError(message)
    return tuple(float(bound) for bound in value)


def store_url(text: str) -> str:
    """Where the job log and the totals are kept."""
    allowed = "allowed: sqlite:///PATH, postgresql://USER@HOST/DATABASE or memory"
    if text == "memory":
        return text
    if text.startswith("sqlite:///") and len(text) > len("sqlite:///"):
        return text
    if text.startswith(("postgresql://", "postgres://")):
        return _postgresql_url(text, allowed)
    if text.startswith("sqlite:"):
        message = f"{quoted(text)} has too few slashes or no path; did you mean sqlite:///{text[7:].lstrip('/')}?"
        raise ValueError(message)
    message = f"found {quoted(without_credentials(text))}; {allowed}"
    raise ValueError(message)


def _postgresql_url(text: str, allowed: str) -> str:
    rest = text.partition("://")[2]
    authority, mark, after = _AUTHORITY.match(rest).groups()  # type: ignore[union-attr]  # it matches any text
    if "@" in after.partition("?")[0] or ("@" in after and "@" not in authority):
        # The driver would take a part of the password for a port or a database, and say so in its errors.
        message = (
            f"{quoted(without_credentials(text))} has a password that ends too soon; "
            "write its / as %2F, ? as %3F, # as %23, @ as %40"
        )
        raise ValueError(message)
    if mark == "/" and after.partition("?")[0]:
        return f"postgresql://{rest}"
    message = f"{quoted(without_credentials(text))} names no database; {allowed}"
    raise ValueError(message)


def origin(text: str) -> str:
    """The origin of a web page: scheme, host and port, nothing after them."""
    if text == "*":
        return text
    url = http_url(text)
    if urlsplit(url).path or text.endswith("/"):
        message = f"{quoted(text)} is more than an origin; did you mean {'/'.join(url.split('/')[:3])}?"
        raise ValueError(message)
    return url


def readable_file(text: str) -> Path:
    """The path of a file that can be read."""
    path = Path(text)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        message = f"{quoted(text)} cannot be read: {error.strerror or error}"
        raise ValueError(message) from None


def log_level(text: str) -> str:
    """How much is logged; `warning` is `warn`."""
    level = text.lower()
    return one_of(LOG_LEVELS, "warn" if level == "warning" else level)


def log_format(text: str) -> str:
    """How log lines look."""
    return one_of(LOG_FORMATS, text.lower())


def one_of(allowed: Sequence[str], text: str) -> str:
    """A text that is one of those."""
    if text not in allowed:
        message = f"found {quoted(text)}; allowed: {listed(allowed)}"
        raise ValueError(message)
    return text
