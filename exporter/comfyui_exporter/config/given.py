"""What was given on the command line and in the environment, each value with the name people know it by."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comfyui_exporter.config.describe import quoted
from comfyui_exporter.config.errors import Problem
from comfyui_exporter.config.flags import BY_NAME, COMFYUI_URL, ENVIRONMENT_PREFIX, FLAGS
from comfyui_exporter.config.relay_flags import RELAY_PREFIX
from comfyui_exporter.config.terminal_flags import INSECURE, TERMINAL_FLAGS

_PASSWORD = re.compile(r"\s*postgres\w*(\+\w+)?://[^/?#@:]*:[^@]*@", re.IGNORECASE)

_KUBERNETES = re.compile(r"(SERVICE_(HOST|PORT.*)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)")
"""What Kubernetes puts into every container when a Service is called comfyui-exporter."""


@dataclass(frozen=True, slots=True)
class Given:
    """One value and where it comes from."""

    origin: str
    """`--web.listen-address` or `COMFYUI_EXPORTER_WEB_LISTEN_ADDRESS`."""
    text: str

    def problem(self, message: str) -> Problem:
        """Something to say about it."""
        return Problem("", None, None, self.origin, message)


@dataclass(frozen=True, slots=True)
class GivenFlags:
    """Flags and the variables that matter here. An empty value counts as not given (save push.listen-address)."""

    flags: Mapping[str, tuple[str, ...]]
    """By name without dashes."""
    environ: Mapping[str, str]

    @classmethod
    def of(cls, flags: Mapping[str, Sequence[str]], environ: Mapping[str, str]) -> GivenFlags:
        """Keeps what concerns us; other variables may hold secrets."""
        wanted = {COMFYUI_URL, "STATE_DIRECTORY", "HOME"}
        return cls(
            {name: tuple(values) for name, values in flags.items() if values},
            {name: value for name, value in environ.items() if name in wanted or name.startswith(ENVIRONMENT_PREFIX)},
        )

    def values(self, name: str) -> tuple[Given, ...]:
        """All values of a flag, else of its variable."""
        flag = BY_NAME[name]
        typed = tuple(Given(f"--{name}", text) for text in self.flags.get(name, ()) if text.strip())
        if typed and flag.repeatable:
            return tuple(Given(value.origin, part) for value in typed for part in _parts(name, value.text))
        return typed or self._of_variable(flag.variable, repeatable=flag.repeatable)

    def last(self, name: str) -> Given | None:
        """The value of a flag that can have one only; the last one given holds."""
        return next(iter(self.values(name)[::-1]), None)

    def names(self) -> frozenset[str]:
        """Flags that have a value, by flag or by variable."""
        return frozenset(flag.name for flag in FLAGS if self.values(flag.name))

    def server_values(self) -> tuple[Given, ...]:
        """Servers to watch: of the flag, else of its own variable, else of COMFYUI_URL."""
        return self.values("comfyui.url") or self._of_variable(COMFYUI_URL, repeatable=True)

    @property
    def push_is_off(self) -> bool:
        """Whether the address of the push service was given and is empty."""
        name = "push.listen-address"
        if name in self.flags:
            return not self.flags[name][-1].strip()
        value = self.environ.get(BY_NAME[name].variable)
        return value is not None and not value.strip()

    def warnings(self) -> tuple[str, ...]:
        """Variables that have no effect, and secrets that are open to others."""
        known = {flag.variable for flag in FLAGS}
        # Those of our clients are set for a shell, and inherited by what is started there.
        ours = known | {flag.variable for flag in (*TERMINAL_FLAGS, INSECURE)}
        told = []
        for name in sorted(self.environ):
            rest = name.removeprefix(ENVIRONMENT_PREFIX)
            if name in ours or rest == name or name.startswith(RELAY_PREFIX) or _KUBERNETES.fullmatch(rest):
                continue
            close = difflib.get_close_matches(name, known, 1)
            told.append(f"unknown variable {quoted(name)}" + (f"; did you mean {close[0]}?" if close else ""))
        servers = self.values("comfyui.url")
        if servers and self.environ.get(COMFYUI_URL, "").strip():
            told.append(f"{COMFYUI_URL} is ignored, as {servers[0].origin} is given")
        if any(_PASSWORD.match(text) for text in self.flags.get("store.url", ())):
            variable = BY_NAME["store.url"].variable
            told.append(
                "--store.url has a password, which others on this host can see in the list of processes; "
                f"use {variable}, the file or PGPASSWORD"
            )
        return tuple(told)

    def _of_variable(self, variable: str, *, repeatable: bool) -> tuple[Given, ...]:
        value = self.environ.get(variable, "").strip()
        parts = re.split(r"[\s,]+", value) if repeatable else [value]
        return tuple(Given(variable, part) for part in parts if part)


def _parts(name: str, text: str) -> list[str]:
    # One URL on the command line is one argument, and may hold a comma.
    return [text] if name == "comfyui.url" else [part for part in re.split(r"[\s,]+", text) if part]
