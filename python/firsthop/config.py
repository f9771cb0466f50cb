"""Settings: frozen values with good defaults, checked when they are built, then passed in.

They come from one YAML file and from the environment (``FIRSTHOP_RELAY__WORKERS=2``), the
environment winning; `load` reads both. Every name here is also a value of the Helm chart.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from firsthop.errors import ConfigError

ENVIRONMENT_PREFIX = "FIRSTHOP_"
KEY_BYTES = 32


def _transport_address(text: str) -> str:
    """Check ``ip:port`` or ``[ip]:port``."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        ip = ipaddress.ip_address(bare)
        if not colon or not 0 <= int(port) <= 65535 or (ip.version == 6) == (bare == host):
            raise ValueError
    except ValueError:
        raise ValueError("expected ip:port, as 0.0.0.0:3478 or [::]:3478") from None
    return text


def _key(text: str) -> str:
    """Check a key: 32 bytes in hex."""
    try:
        if len(bytes.fromhex(text)) == KEY_BYTES:
            return text
    except ValueError:
        pass
    raise ValueError("expected 64 hex digits; `firsthop key` makes one")


def _network(text: str) -> str:
    """Check ``ip/prefix``."""
    return str(ipaddress.ip_network(text))


TransportAddress = Annotated[str, AfterValidator(_transport_address)]
Network = Annotated[str, AfterValidator(_network)]
Key = Annotated[str, AfterValidator(_key)]
KeyId = Annotated[int, Field(ge=0, le=3)]
Port = Annotated[int, Field(ge=1, le=65535)]
Backend = Annotated[str, Field(pattern=r"^(local|echo|[\w.]+:[\w.]+)$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ClusterSettings(_Section):
    """A cluster, and the only places in it where a relay may send packets."""

    id: int = Field(1, ge=0, le=65535)
    """The id that routing tokens carry."""
    networks: tuple[Network, ...] = ("127.0.0.0/8",)
    """Networks of the transceivers."""
    first_port: Port = 3500
    """First UDP port of the transceivers' shards."""
    last_port: Port = 3599
    """Last UDP port of the transceivers' shards."""
    ipv6_prefix: Network | None = None
    """The /64 of transceivers with IPv6 addresses."""


class RelaySettings(_Section):
    """`firsthop relay`."""

    listen: tuple[TransportAddress, ...] = ("0.0.0.0:3478",)
    """Public UDP sockets."""
    upstream: TransportAddress = "127.0.0.1:3479"
    """Where transceivers send to; worker n takes the port n higher."""
    workers: int | Literal["auto"] = "auto"
    """Threads, each with its own sockets and flows; auto is one per core."""
    flow_capacity: int = Field(100_000, ge=1, le=10_000_000)
    """Flows that each worker can remember."""
    flow_idle_seconds: int = Field(35, ge=1)
    """How long a flow is remembered after its last packet. Clients check every 2.5 to 5 s."""
    clusters: tuple[ClusterSettings, ...] = (ClusterSettings(),)
    """Where routing tokens may lead."""
    health_listen: TransportAddress = "127.0.0.1:9478"
    """HTTP with /healthz, /readyz and /metrics."""

    def worker_count(self) -> int:
        """How many workers to start."""
        return (os.cpu_count() or 1) if self.workers == "auto" else self.workers


class TransceiverSettings(_Section):
    """`firsthop transceiver`: the engine."""

    listen: TransportAddress = "127.0.0.1:3500"
    """UDP socket of shard 0; shard n takes the port n higher."""
    shards: int = Field(1, ge=1, le=64)
    """Threads, each with its own socket and sessions."""
    reachable_ip: str | None = None
    """Address under which relays reach the shards, if it is not the one they listen on."""
    advertise: tuple[TransportAddress, ...] = ()
    """The relay's public addresses, for the SDP answers. Empty: this machine's own, port 3478."""
    direct: bool = False
    """Whether clients may reach the shards without a relay."""
    cluster: int = Field(1, ge=0, le=65535)
    """The cluster that routing tokens name."""
    max_sessions: int = Field(200, ge=1)
    """Calls at the same time; further offers get 503."""
    token_lifetime_seconds: int = Field(12 * 3600, ge=60, le=24 * 3600)
    """How long a call can last: its routing token expires."""


class SignalingSettings(_Section):
    """`firsthop transceiver`: HTTP."""

    listen: TransportAddress = "127.0.0.1:8080"
    """HTTP with the API and the demo page."""
    allowed_origins: tuple[str, ...] = ()
    """Web origins other than our own whose pages may place calls."""
    demo: bool = True
    """Serve the demo page on /."""


class AudioSettings(_Section):
    """How calls hear and speak."""

    sample_rate: Literal[8000, 12000, 16000, 24000, 48000] = 16000
    """Of PCM between engine and agent, in Hz."""
    frame_ms: Literal[20, 40, 60, 80, 100] = 20
    """Length of the audio frames that agents receive."""
    bitrate: int = Field(28_000, ge=6_000, le=128_000)
    """Of the agent's Opus, in bit/s."""
    complexity: int = Field(5, ge=0, le=10)
    """Of the Opus encoder: CPU against quality."""


class TurnSettings(_Section):
    """When a caller's turn begins and ends (the contract's ``server_vad``)."""

    threshold: float = Field(0.5, gt=0, lt=1)
    """Speech probability above which a window counts as speech."""
    prefix_padding_ms: int = Field(300, ge=0, le=2000)
    """Audio from before the start that belongs to the turn."""
    silence_duration_ms: int = Field(500, ge=50, le=5000)
    """Silence that ends a turn."""
    interrupt_response: bool = True
    """Whether the caller's speech stops the agent's."""


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
    )

    keys: dict[KeyId, Key] = Field(default_factory=dict, repr=False)
    """Cluster keys by id, shared by relays and transceivers: 64 hex digits each."""
    key_id: KeyId = 0
    """The key under which new tokens and hop headers are sealed."""
    relay: RelaySettings = RelaySettings()
    transceiver: TransceiverSettings = TransceiverSettings()
    signaling: SignalingSettings = SignalingSettings()
    audio: AudioSettings = AudioSettings()
    turns: TurnSettings = TurnSettings()
    backend: Backend = "local"
    """Who answers calls: local, echo, or an agent of your own as module:function."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """auto is console on a terminal, JSON elsewhere."""

    def key_bytes(self) -> dict[int, bytes]:
        """The keys, for the native core.

        Raises:
            ConfigError: There are none, or not the one to seal with.
        """
        if not self.keys:
            raise ConfigError(
                "keys",
                "none is set, and relay and transceiver must share one. Make one with "
                '`firsthop key`, then set FIRSTHOP_KEYS=\'{"0": "<key>"}\' for both',
            )
        if self.key_id not in self.keys:
            have = ", ".join(str(key_id) for key_id in sorted(self.keys))
            raise ConfigError("key_id", f"{self.key_id} is not among keys, which has {have}")
        return {key_id: bytes.fromhex(key) for key_id, key in self.keys.items()}


def load(path: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read the settings from a YAML file, if one is given, and from the environment.

    Raises:
        ConfigError: Names the first setting that is wrong, and what is allowed.
    """
    if path is not None and not path.is_file():
        raise ConfigError(str(path), "no such settings file")

    class Sources(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            from_environment = EnvSettingsSource(settings_cls)
            from_environment.env_vars = {name.lower(): value for name, value in environment.items()}
            if path is None:
                return (from_environment,)
            return (from_environment, YamlConfigSettingsSource(settings_cls, yaml_file=path))

    try:
        settings = Sources()
    except ValidationError as error:
        raise _first_problem(error) from None
    except Exception as error:
        # A YAML or JSON parser's own error: it names line and column, or the variable.
        raise ConfigError(str(path or "environment"), str(error)) from None
    _refuse_unknown(settings, environment)
    return settings


def _refuse_unknown(settings: Settings, environment: Mapping[str, str]) -> None:
    """Refuse a misspelled FIRSTHOP_ variable, which would otherwise be ignored."""
    known = set(type(settings).model_fields)
    for name in environment:
        if name.upper().startswith(ENVIRONMENT_PREFIX):
            key = name[len(ENVIRONMENT_PREFIX) :].lower().split("__")[0]
            if key not in known:
                raise ConfigError(name, f"no such setting; there are {', '.join(sorted(known))}")


def _first_problem(error: ValidationError) -> ConfigError:
    problem: Mapping[str, Any] = error.errors()[0]
    # pydantic marks a mapping's own key as "[key]".
    parts = [str(part) for part in problem["loc"] if part != "[key]"]
    key = ".".join(parts) or "settings"
    if problem["type"] == "extra_forbidden":
        return ConfigError(key, "no such setting")
    message = problem["msg"].removeprefix("Value error, ")
    value = "" if key.startswith("keys") else f"{problem['input']!r}: "
    return ConfigError(key, f"{value}{message}")


def own_address() -> str:
    """The address of this machine that others see, or loopback when it has no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: connecting a UDP socket only asks the routing table.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
