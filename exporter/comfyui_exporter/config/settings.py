"""What `run` needs: flags, environment and file, merged. Flag beats environment beats file; servers add up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from comfyui_exporter.config import addresses, rules
from comfyui_exporter.config.addresses import Address, Network
from comfyui_exporter.config.describe import quoted
from comfyui_exporter.config.document import Document
from comfyui_exporter.config.errors import ConfigError, Problem
from comfyui_exporter.config.given import Given, GivenFlags
from comfyui_exporter.config.load import Loaded, check_files, load
from comfyui_exporter.config.model import POLL_INTERVAL, Config, default_servers
from comfyui_exporter.config.rules import Shard, http_url, shard, store_url
from comfyui_exporter.config.servers import NAME, ServerConfig
from comfyui_exporter.config.web_config import protection_of

T = TypeVar("T")

STORE_FILE = "comfyui-exporter.db"
FALLBACK_STATE_DIR = Path("/var/lib/comfyui-exporter")
"""For users without a home, as in containers."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that was decided outside the program, checked. Immutable; a reload makes new ones."""

    config: Config
    """The file with flags and environment merged in: poll_interval, store.url, shard, and `servers` never empty."""
    named_servers: tuple[ServerConfig, ...]
    """Those of flags, environment and file; none where `config` has the default."""
    config_file: Path | None
    web_listen_addresses: tuple[Address, ...]
    """At least one; the host "" stands for all interfaces."""
    telemetry_path: str
    external_url: str | None
    """Without a slash at its end."""
    web_config_file: Path | None
    trusted_networks: tuple[Network, ...]
    push_listen_address: Address | None
    """None: the push service has no port of its own."""
    store_url: str
    state_dir: Path
    """Not yet created."""
    shard: Shard
    log_level: str
    """One of `rules.LOG_LEVELS`."""
    log_format: str
    """One of `rules.LOG_FORMATS`."""
    warnings: tuple[str, ...]
    """Sentences for the log: what is set without effect, or looks like a mistake."""
    given: GivenFlags
    """What they were made from, apart from the file."""

    def reloaded(self) -> Settings:
        """The settings as they would be now that the file may have changed.

        Raises:
            ConfigError: the file is not valid any more; these settings stay as they are.
        """
        return resolve(self.given)


def resolve_settings(flags: Mapping[str, Sequence[str]], environ: Mapping[str, str]) -> Settings:
    """Merges flags (by name without dashes, with the values given), environment and the file that they name.

    Raises:
        ConfigError: with all problems of flags, variables, the file and the files it refers to.
    """
    return resolve(GivenFlags.of(flags, environ))


def resolve(given: GivenFlags) -> Settings:
    """Like `resolve_settings`, from flags and variables already told apart."""
    problems: list[Problem] = []
    loaded = _load(given, problems)
    web = tuple(_each(given.values("web.listen-address"), addresses.listen_address, problems))
    push = _one(given.last("push.listen-address"), addresses.listen_address, problems)
    servers = _servers(given, loaded, problems)
    chosen_shard = _one(given.last("shard"), shard, problems)
    chosen_store = _one(given.last("store.url"), store_url, problems)
    poll_interval = _one(given.last("comfyui.poll-interval"), POLL_INTERVAL.parse, problems)
    external_url = _one(given.last("web.external-url"), http_url, problems)
    networks = tuple(_each(given.values("web.trusted-networks"), addresses.network, problems))
    path = _one(given.last("web.telemetry-path"), addresses.telemetry_path, problems)
    web_config_file = _one(given.last("web.config.file"), rules.readable_file, problems)
    protection = protection_of(web_config_file, problems)
    level = _one(given.last("log.level"), rules.log_level, problems)
    log_format = _one(given.last("log.format"), rules.log_format, problems)
    problems += _shared_addresses(given)
    if problems or loaded is None:
        raise ConfigError(problems)
    state_dir = _state_dir(given)
    store = chosen_store or loaded.config.store.url or f"sqlite:///{state_dir / STORE_FILE}"
    config = loaded.config.model_copy(
        update={
            "servers": servers or default_servers(),
            "poll_interval": poll_interval or loaded.config.poll_interval,
            "store": loaded.config.store.model_copy(update={"url": store}),
            "shard": chosen_shard or loaded.config.shard,
        }
    )
    config_file = given.last("config.file")
    return Settings(
        config=config,
        named_servers=tuple(servers),
        config_file=Path(config_file.text) if config_file else None,
        web_listen_addresses=web or (("127.0.0.1", 9188),),
        telemetry_path=path or "/metrics",
        external_url=external_url,
        web_config_file=web_config_file,
        trusted_networks=networks,
        push_listen_address=None if given.push_is_off else push or ("127.0.0.1", 8329),
        store_url=store,
        state_dir=state_dir,
        shard=config.shard,
        log_level=level or "info",
        log_format=log_format or "logfmt",
        warnings=(
            *given.warnings(),
            *warnings_of(loaded.config),
            *protection.warnings,
        ),
        given=given,
    )


def warnings_of(config: Config) -> tuple[str, ...]:
    """What is valid, but likely a mistake."""
    urls: dict[str, str] = {}
    twice = []
    for server in config.servers:
        if server.url in urls:
            twice.append(
                f"servers {quoted(urls[server.url])} and {quoted(server.name)} have the same url, "
                "so each of its jobs is counted for both"
            )
        urls.setdefault(server.url, server.name)
    return tuple(twice)


def _load(given: GivenFlags, problems: list[Problem]) -> Loaded | None:
    file = given.last("config.file")
    if file is None:
        return Loaded(Config(), Document(""))
    try:
        loaded = load(file.text)
    except ConfigError as error:
        problems += error.problems
        return None
    problems += check_files(loaded.config, loaded.document)
    return loaded


def _servers(given: GivenFlags, loaded: Loaded | None, problems: list[Problem]) -> tuple[ServerConfig, ...]:
    servers = list(loaded.config.servers) if loaded else []
    origins = {}
    for index, server in enumerate(servers):
        line, _ = loaded.document.place(("servers", index)) if loaded else (0, 0)
        origins[server.name] = f"servers[{index}] in line {line} of {loaded.document.file if loaded else ''}"
    for value in given.server_values():
        for server in _each([value], _server, problems):
            if server.name in origins:
                taken = f"server name {quoted(server.name)} is taken by {origins[server.name]}"
                message = f"{taken}; choose another one with NAME=URL"
                problems.append(value.problem(message))
                continue
            origins[server.name] = f"{value.origin} {quoted(value.text)}"
            servers.append(server)
    return tuple(servers)


def _server(text: str) -> ServerConfig:
    name, equals, url = text.partition("=")
    if not equals or "://" in name:
        return ServerConfig(url=http_url(text))
    return ServerConfig(name=NAME(name), url=http_url(url))


def _shared_addresses(given: GivenFlags) -> Iterator[Problem]:
    seen: set[Address] = set()
    for value in (*given.values("web.listen-address"), *given.values("push.listen-address")[-1:]):
        for address in _each([value], addresses.listen_address, []):
            if address in seen and address[1] != 0:
                yield value.problem(f"{quoted(value.text)} is given twice; an address can be listened on once")
            seen.add(address)


def _state_dir(given: GivenFlags) -> Path:
    if chosen := given.last("state.dir"):
        return Path(chosen.text)
    # systemd names several folders between colons if the unit has several.
    if systemd := given.environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(systemd)
    home = given.environ.get("HOME", "")
    return Path(home, ".local/state/comfyui-exporter") if home else FALLBACK_STATE_DIR


def _each(values: Sequence[Given], rule: Callable[[str], T], problems: list[Problem]) -> Iterator[T]:
    for value in values:
        try:
            yield rule(value.text)
        except ValueError as error:
            problems.append(value.problem(str(error)))


def _one(value: Given | None, rule: Callable[[str], T], problems: list[Problem]) -> T | None:
    return next(_each([value], rule, problems), None) if value else None
