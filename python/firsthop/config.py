"""Settings: frozen values with good defaults, checked when they are built, then passed in.

They come from YAML files and from the environment (``FIRSTHOP_RELAY__WORKERS=2``), the environment
winning; `load` reads both. Every name here is also a value of the Helm chart.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from firsthop import yamlfile
from firsthop.errors import ConfigError
from firsthop.overlay import overlaid
from firsthop.values import (
    Address,
    ApiKey,
    Backend,
    ClusterId,
    EdgeKey,
    EndpointUrl,
    FilePath,
    FrameMs,
    Ipv6Prefix,
    Key,
    KeyId,
    Module,
    Network,
    Origin,
    Port,
    PublicAddress,
    RelayAddress,
    SampleRate,
    ServerKey,
    SharedUrl,
    Site,
    SocketUrl,
    TransportAddress,
    Workers,
    without_password,
)
from firsthop.yamlfile import problem_at

ENVIRONMENT_PREFIX = "FIRSTHOP_"
#: What Kubernetes sets for a Service that is called firsthop-something: no settings of ours.
_SERVICE_LINK = re.compile(
    r"\w+(_SERVICE_(HOST|PORT(_\w+)?)=|_PORT=\w+://|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?=)"
)


#: How calls are placed.
Protocol = Literal["realtime", "whip", "pipecat", "fastrtc"]
#: How long a part goes on after SIGTERM, in seconds.
DrainSeconds = Annotated[float, Field(ge=0, le=86_400)]
#: What a Realtime server may understand or not.
Capability = Literal["vad", "semantic_vad", "commit", "clear", "cancel", "truncate", "delete"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _check_key_id(name: str, key_id: int, keys_name: str, keys: Mapping[int, str]) -> None:
    if keys and key_id not in keys:
        have = ", ".join(str(id_) for id_ in sorted(keys))
        raise problem_at(name, f"{key_id} is not among {keys_name}, which has {have}")


class ClusterSettings(_Section):
    """A cluster, and the only places in it where a relay may send packets."""

    id: ClusterId = 1
    """The id that routing tokens carry."""
    networks: tuple[Network, ...] = ("127.0.0.0/8",)
    """Networks of the transceivers."""
    first_port: Port = 3500
    """First UDP port of the transceivers' shards."""
    last_port: Port = 3599
    """Last UDP port of the transceivers' shards."""
    ipv6_prefix: Ipv6Prefix | None = None
    """The /64 of transceivers with IPv6 addresses."""
    relays: tuple[RelayAddress, ...] = Field((), max_length=256)
    """The cluster's own relays, which take its records from this edge: `relay.upstream` of each of
    their workers. None: this relay reaches the transceivers itself."""

    @model_validator(mode="after")
    def _ports_in_order(self) -> Self:
        if self.first_port > self.last_port:
            raise ValueError("expected first_port to be at most last_port")
        return self


class FlowCacheSettings(_Section):
    """Where a relay finds the owner of a flow that it does not know (any more)."""

    url: SharedUrl = Field("memory", repr=False)
    """memory (the flow tables of this process), or redis://... to share flows with other relays."""
    ttl_seconds: int = Field(90, ge=60, le=3600)
    """How long an entry is good. Flows that live are written once per `flow_idle_seconds`."""
    budget_ms: int = Field(5, ge=1, le=50)
    """How long a packet may wait for an answer; it is dropped then."""

    @field_serializer("url")
    def _without_password(self, url: str) -> str:
        return without_password(url)


class RelaySettings(_Section):
    """`firsthop relay`."""

    listen: tuple[TransportAddress, ...] = Field(("0.0.0.0:3478",), min_length=1)
    """Public UDP sockets."""
    tcp_listen: tuple[TransportAddress, ...] = ()
    """Public TCP sockets, for clients that cannot send UDP (ICE-TCP)."""
    tcp_connections: int = Field(2000, ge=1, le=65_535)
    """TCP connections at the same time that each worker takes."""
    tcp_connections_per_address: int = Field(32, ge=1, le=65_535)
    """Of these, from one IPv4 address or one IPv6 /64."""
    upstream: TransportAddress = "127.0.0.1:3479"
    """Where transceivers send to; worker n takes the port n higher."""
    workers: Workers = "auto"
    """Threads, each with its own sockets and flows; auto is one per core."""
    pin: bool = False
    """Pin each worker to a core of its own."""
    busy_poll_us: int = Field(0, ge=0, le=1_000_000)
    """How long a worker spins for the next packet before it sleeps: latency against a core."""
    takeover_socket: str | None = Field(None, min_length=1, max_length=107)
    """Unix socket by which a new relay takes over this one's sockets and flows; the same path for
    both."""
    flow_capacity: int = Field(1_000_000, ge=1, le=10_000_000)
    """Flows that the relay can remember, over all workers; about 80 bytes of memory each."""
    flow_idle_seconds: int = Field(35, ge=1, le=3600)
    """How long a flow is remembered after its last packet. Clients check every 2.5 to 5 s."""
    flow_cache: FlowCacheSettings = FlowCacheSettings()
    """Where to ask for flows that are not remembered."""
    site: Site = 0
    """The number of the ingress point: the same for relays that share a public address, and its id
    in the fleet file."""
    cluster: ClusterId | None = None
    """With a fleet file: the cluster whose transceivers this relay reaches itself; unset: none, it
    is an edge."""
    edges: tuple[Network, ...] = Field((), max_length=256)
    """Networks of the edge relays whose records it takes."""
    clusters: tuple[ClusterSettings, ...] = (ClusterSettings(),)
    """Where routing tokens may lead; with a fleet file, that says it."""
    health_listen: TransportAddress = "127.0.0.1:9478"
    """HTTP with /healthz, /readyz and /metrics."""
    drain_seconds: DrainSeconds = 0
    """How long it forwards on after SIGTERM, at most, while packets come; 0: it ends at once."""

    @model_validator(mode="after")
    def _entries_outlive_flows(self) -> Self:
        if "://" in self.flow_cache.url and self.flow_cache.ttl_seconds <= self.flow_idle_seconds:
            raise ValueError(
                "expected flow_cache.ttl_seconds to be above flow_idle_seconds, once per which "
                "flows are written; twice as much leaves room for a write that fails"
            )
        return self

    def worker_count(self) -> int:
        """How many workers to start."""
        return (os.cpu_count() or 1) if self.workers == "auto" else self.workers


class TransceiverSettings(_Section):
    """`firsthop transceiver`: the engine."""

    listen: TransportAddress = "127.0.0.1:3500"
    """UDP socket of shard 0; shard n takes the port n higher."""
    shards: int = Field(1, ge=1, le=64)
    """Threads, each with its own socket and sessions."""
    reachable_ip: Address | None = None
    """Address under which relays reach the shards, if it is not the one they listen on."""
    advertise: tuple[PublicAddress, ...] = ()
    """The relay's public addresses, for the SDP answers. Empty: this machine's own, port 3478."""
    advertise_tcp: tuple[PublicAddress, ...] = ()
    """Its public TCP addresses, for clients that cannot send UDP."""
    direct: bool = False
    """Whether clients may reach the shards without a relay."""
    cluster: int = Field(1, ge=0, le=65535)
    """The cluster that routing tokens name."""
    max_sessions: int = Field(200, ge=1)
    """Calls at the same time; further offers get 503."""
    token_lifetime_seconds: int = Field(12 * 3600, ge=60, le=24 * 3600)
    """How long a call can last: its routing token expires."""
    drain_seconds: DrainSeconds = 0
    """How long running calls go on after SIGTERM, at most; 0: they are hung up at once."""
    handover_seconds: float = Field(30.0, ge=0, le=600)
    """So long before the end of a drain the calls that are left are asked to go on elsewhere."""
    loopback: bool = True
    """Whether it has to reach itself by a call, at the start and every 10 s, to be ready."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        host = self.listen.rpartition(":")[0].strip("[]")
        anywhere = ipaddress.ip_address(host).is_unspecified and self.reachable_ip is None
        if anywhere and not self.direct:
            raise ValueError("listen names no address of its own, so set reachable_ip for relays")
        return self

    @model_validator(mode="after")
    def _hands_over_while_it_drains(self) -> Self:
        if 0 < self.drain_seconds < self.handover_seconds:
            raise ValueError(
                "expected drain_seconds, unless it is 0, to be at least handover_seconds: calls "
                "are handed over at the end of it"
            )
        return self


class SignalingSettings(_Section):
    """`firsthop transceiver`: HTTP."""

    listen: TransportAddress = "127.0.0.1:8080"
    """HTTP with the API and the demo page."""
    api_keys: tuple[ApiKey, ...] = Field((), repr=False, exclude=True)
    """Keys of those who may call from anywhere and make client secrets. None: only callers on this
    machine are served."""
    client_events: tuple[str, ...] | None = None
    """The types of events that callers with a client secret may send, unless the secret says
    itself; null is all."""
    allowed_origins: tuple[Origin, ...] = ()
    """Web origins other than our own whose pages may place calls; * is all."""
    reachable: PublicAddress | None = None
    """Where other transceivers reach this HTTP, if it is not where it listens: hang-ups and
    sidebands that arrive elsewhere are forwarded to the call's owner."""
    secret_keys: dict[KeyId, Key] = Field(default_factory=dict, repr=False, exclude=True)
    """What client secrets are sealed under, by id: 64 hex digits each, the same in all clusters, so
    that a secret is good in all. None: `keys`."""
    secret_key_id: KeyId = 0
    """The one under which new secrets are sealed."""
    protocols: tuple[Protocol, ...] = ("realtime", "whip", "pipecat", "fastrtc")
    """By which protocols calls can be placed; docs/clients.md has the table."""
    demo: bool = True
    """Serve the demo page on /."""

    @model_validator(mode="after")
    def _seals_under_a_key(self) -> Self:
        _check_key_id("secret_key_id", self.secret_key_id, "secret_keys", self.secret_keys)
        return self


class FleetSettings(_Section):
    """All clusters and ingress points, and how they do."""

    file: FilePath | None = None
    """A YAML file of clusters and ingresses, read again when it changes; docs/operations.md."""
    state: SharedUrl = Field("memory", repr=False)
    """memory (what this process finds out itself), or redis://... for the heartbeats of all."""
    keys: dict[KeyId, Key] = Field(default_factory=dict, repr=False, exclude=True)
    """What heartbeats are sealed under, by id: 64 hex digits each, the same for all that report and
    read. None: `signaling.secret_keys`, and without those `keys`."""
    key_id: KeyId = 0
    """The one under which this process seals its own."""

    @field_serializer("state")
    def _without_password(self, url: str) -> str:
        return without_password(url)

    @model_validator(mode="after")
    def _seals_under_a_key(self) -> Self:
        _check_key_id("key_id", self.key_id, "keys", self.keys)
        return self


class EdgeKeys(_Section):
    """What an edge relay has of a cluster's keys."""

    keys: dict[KeyId, EdgeKey] = Field(repr=False, min_length=1)
    """By id: 96 hex digits each, as `firsthop key edge` prints them."""
    key_id: KeyId = 0
    """The one under which this edge seals hop headers."""

    @model_validator(mode="after")
    def _seals_under_a_key(self) -> Self:
        _check_key_id("key_id", self.key_id, "keys", self.keys)
        return self


class SteeringSettings(_Section):
    """Which cluster and which ingress points a client gets."""

    trusted_proxies: tuple[Network, ...] = ("127.0.0.0/8", "::1/128")
    """Whose X-Forwarded-For and CDN headers count."""
    geoip: FilePath | None = None
    """A database of places by address, an .mmdb file, for clients that no CDN has located."""


class GatewaySettings(_Section):
    """`firsthop gateway`: HTTP in front of all clusters."""

    listen: TransportAddress = "127.0.0.1:8090"
    """Where it takes offers, for any cluster."""
    drain_seconds: DrainSeconds = 0
    """How long requests and WebSockets under way go on after SIGTERM, at most."""


class AudioSettings(_Section):
    """How calls hear and speak."""

    sample_rate: SampleRate = 16000
    """Of PCM between engine and agent, in Hz."""
    frame_ms: FrameMs = 20
    """Length of the audio frames that agents receive; of Opus packets, in one event."""
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


class RealtimeSettings(_Section):
    """The backend `realtime`: another server that speaks the Realtime API, over WebSocket."""

    url: SocketUrl | None = None
    """Where it is, as wss://api.openai.com/v1/realtime. Clients have no say in this. Unset: at
    `agent.listen`, where `firsthop agent` serves."""
    dialect: Literal["openai", "azure", "azure-preview", "beta", "basic"] = "openai"
    """What it speaks; docs/backends.md has the table."""
    model: str | None = Field(None, min_length=1, max_length=256)
    """The model (Azure: the deployment) of all calls; unset: the one that the client asks for."""
    api_key: ServerKey | None = Field(None, repr=False, exclude=True)
    """What it is shown."""
    has: tuple[Capability, ...] = ()
    """What it understands beyond its dialect."""
    lacks: tuple[Capability, ...] = ()
    """What it does not understand of its dialect."""
    turns: Literal["auto", "firsthop", "backend"] = "auto"
    """Who decides where the caller's turns begin and end; auto: the backend, if it has vad."""
    connect_timeout_seconds: float = Field(5.0, ge=0.1, le=60)
    """How long a connection may take to open."""
    silence_timeout_seconds: float = Field(10.0, ge=0.1, le=300)
    """How long it may leave a ping unanswered before it is given up."""

    @model_validator(mode="after")
    def _has_or_lacks(self) -> Self:
        both = sorted({*self.has} & {*self.lacks})
        if both:
            raise ValueError(f"expected {both[0]} in has or in lacks, not in both")
        return self


class PipecatSettings(_Section):
    """The backend `pipecat`: a bot behind a `FastAPIWebsocketTransport`."""

    url: SocketUrl = "ws://localhost:7860/ws"
    """Where the bot takes WebSockets."""
    api_key: ServerKey | None = Field(None, repr=False, exclude=True)
    """What it is shown, as a bearer token."""
    sample_rate: SampleRate = 16000
    """Of the sound that it is sent, in Hz. What it sends says its rate itself."""
    connect_timeout_seconds: float = Field(5.0, ge=0.1, le=60)
    """How long a connection may take to open."""


class _Endpoint(_Section):
    url: EndpointUrl | None = None
    """Where it is, up to and with the version, as https://api.openai.com/v1; unset: offline."""
    api_key: ServerKey | None = Field(None, repr=False, exclude=True)
    """What it is shown, as a bearer token."""
    timeout_seconds: float = Field(10.0, ge=0.05, le=300)
    """How long it may take to connect, to begin its answer, and between two parts of it."""


class TranscriptionSettings(_Endpoint):
    """Speech to text, by ``/audio/transcriptions``."""

    model: str = Field("gpt-4o-mini-transcribe", min_length=1, max_length=256)
    """Its model."""
    language: str | None = Field(None, pattern="^[a-z]{2,3}$")
    """What callers speak, as en; unset: what the session says, or the model finds out."""


class ChatSettings(_Endpoint):
    """Text to text, by ``/chat/completions``."""

    model: str = Field("gpt-4.1-mini", min_length=1, max_length=256)
    """Its model."""
    temperature: float | None = Field(None, ge=0, le=2)
    """How freely it words its answers; unset: as it does by itself."""


class SpeechSettings(_Endpoint):
    """Text to speech, by ``/audio/speech``."""

    model: str = Field("gpt-4o-mini-tts", min_length=1, max_length=256)
    """Its model."""
    voice: str = Field("alloy", min_length=1, max_length=256)
    """Whose voice, unless the session names one."""
    format: Literal["pcm", "wav"] = "pcm"
    """What it is asked for: bare PCM16LE, or WAV, which says its rate itself."""
    sample_rate: Annotated[int, Field(ge=8000, le=48000)] = 24000
    """Of bare PCM, in Hz."""


class McpServerSettings(_Section):
    """One server of tools, started here or found by URL (Model Context Protocol)."""

    command: tuple[str, ...] = ()
    """The program to start and its arguments; it is spoken to on its standard streams."""
    environment: dict[str, str] = Field(default_factory=dict, repr=False, exclude=True)
    """Variables for it, besides what programs need."""
    url: EndpointUrl | None = None
    """Where a server is that runs already (streamable HTTP)."""
    api_key: ServerKey | None = Field(None, repr=False, exclude=True)
    """What it is shown, as a bearer token."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.command) == (self.url is not None):
            raise ValueError("expected either a command or a url")
        return self


class AgentSettings(_Section):
    """`firsthop agent`: hears, thinks and speaks, each by an endpoint or offline."""

    listen: TransportAddress = "127.0.0.1:8081"
    """HTTP with /v1/realtime for WebSockets, /healthz, /readyz and /metrics."""
    api_keys: tuple[ApiKey, ...] = Field((), repr=False, exclude=True)
    """Keys of the transceivers and others who may connect. None: only this machine is served."""
    max_calls: int = Field(200, ge=1)
    """Calls at the same time; further ones get 503."""
    drain_seconds: DrainSeconds = 0
    """How long running calls go on after SIGTERM, at most; 0: they are hung up at once."""
    instructions: str = Field(
        "You are a voice assistant. Answer in one to three short sentences, as people speak: no "
        "lists, no markup, numbers in words where that is how one says them.",
        max_length=64_000,
    )
    """What the model is told first, unless the session has instructions."""
    greeting: str | None = Field(None, max_length=2000)
    """What is said when a call begins; unset: the offline model introduces itself, others wait."""
    transcription: TranscriptionSettings = TranscriptionSettings()
    """What hears."""
    chat: ChatSettings = ChatSettings()
    """What thinks."""
    speech: SpeechSettings = SpeechSettings()
    """What speaks."""
    tools: tuple[Module, ...] = ()
    """Modules whose functions marked with `firsthop.tool` the model may call; unset: the offline
    model has the time, timers and arithmetic."""
    mcp: dict[Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,32}$")], McpServerSettings] = Field(
        default_factory=dict
    )
    """Servers of tools, by a name for each."""
    tool_timeout_seconds: float = Field(20.0, ge=0.05, le=600)
    """How long a tool may take."""


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
    edge_keys: dict[ClusterId, EdgeKeys] = Field(default_factory=dict, repr=False, exclude=True)
    """Edge keys by cluster, for relays that reach clusters by their relays."""
    fleet: FleetSettings = FleetSettings()
    relay: RelaySettings = RelaySettings()
    transceiver: TransceiverSettings = TransceiverSettings()
    signaling: SignalingSettings = SignalingSettings()
    steering: SteeringSettings = SteeringSettings()
    gateway: GatewaySettings = GatewaySettings()
    audio: AudioSettings = AudioSettings()
    turns: TurnSettings = TurnSettings()
    backend: Backend = "realtime"
    """Who answers calls: realtime (`firsthop agent`, or another server that speaks it), pipecat,
    echo, mirror (an echo of Opus packets), or an agent of your own as module:function."""
    realtime: RealtimeSettings = RealtimeSettings()
    pipecat: PipecatSettings = PipecatSettings()
    agent: AgentSettings = AgentSettings()
    log_format: Literal["auto", "json", "console"] = "auto"
    """auto is console on a terminal, JSON elsewhere."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **more: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values as they are given: reading files and variables is for `load`."""
        return (init_settings,)

    @model_validator(mode="after")
    def _clusters_come_from_one_place(self) -> Self:
        relay = self.relay
        if self.fleet.file is None:
            if relay.cluster is not None:
                raise problem_at(
                    "relay.cluster",
                    "names a cluster of the fleet file, and fleet.file is not set. Without one, "
                    "relay.clusters says which clusters there are",
                )
        elif relay.clusters != type(relay).model_fields["clusters"].default:
            raise problem_at(
                "relay.clusters", "the clusters are those of fleet.file; set one or the other"
            )
        return self

    @model_validator(mode="after")
    def _clusters_behind_relays_have_keys(self) -> Self:
        for index, cluster in enumerate(self.relay.clusters):
            if cluster.relays and cluster.id not in self.edge_keys:
                raise problem_at(
                    f"relay.clusters.{index}.relays",
                    f"edge_keys has none for cluster {cluster.id}; `firsthop key edge` prints "
                    "them, given the cluster's settings",
                )
        return self

    @property
    def server_of_realtime(self) -> RealtimeSettings:
        """The Realtime server that calls are passed on to: the one that is set, or our agent."""
        if self.realtime.url is not None:
            return self.realtime
        keys = self.agent.api_keys
        changes = {
            "url": f"ws://{self.agent.listen}/v1/realtime?model=firsthop-agent",
            "api_key": self.realtime.api_key or (keys[0] if keys else None),
        }
        return self.realtime.model_copy(update=changes)

    @property
    def model(self) -> str:
        """What sessions are called until a client names a model."""
        chosen = self.realtime.model if self.backend == "realtime" else None
        return chosen or f"firsthop-{self.backend}"

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


def load(paths: Sequence[Path], environment: Mapping[str, str]) -> Settings:
    """Read the settings from YAML files and from the environment.

    Args:
        paths: The files. What several set is as the last one has it.
        environment: Variables, which win over files.

    Raises:
        ConfigError: Names the first setting that is wrong, and what is allowed.
    """
    variables = _Environment(Settings)
    variables.env_vars = {name.lower(): value for name, value in environment.items()}
    expected = "settings, as `firsthop settings` shows them"
    values: dict[str, Any] = {}
    for path in paths:
        values = overlaid(values, yamlfile.read(path, expected))
    values = overlaid(values, variables())
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise yamlfile.first_problem(error, _no_such_setting, _is_secret) from None
    _refuse_unknown(settings, environment)
    return settings


class _Environment(EnvSettingsSource):
    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Decode JSON. What is none stays text, for the setting's own check to name and refuse."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except (ValueError, RecursionError):
            return value


def _refuse_unknown(settings: Settings, environment: Mapping[str, str]) -> None:
    """Refuse a misspelled FIRSTHOP_ variable, which would otherwise be ignored."""
    known = set(type(settings).model_fields)
    for name, value in environment.items():
        link = _SERVICE_LINK.match(f"{name}={value}")
        if name.upper().startswith(ENVIRONMENT_PREFIX) and not link:
            key = name[len(ENVIRONMENT_PREFIX) :].lower().split("__")[0]
            if key not in known:
                raise ConfigError(name, f"no such setting; there are {', '.join(sorted(known))}")


def _no_such_setting(name: str) -> str:
    """Say so, and which one may be meant."""
    near = difflib.get_close_matches(name, _names(Settings), n=1, cutoff=0.85)
    meant = f"is {near[0]} meant? " if near else ""
    return f"no such setting; {meant}`firsthop settings` shows all"


def _names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        if isinstance(kind := field.annotation, type) and issubclass(kind, BaseModel):
            yield from _names(kind, f"{prefix}{name}.")


def _is_secret(setting: str) -> bool:
    """Whether what is set there must not be quoted.

    What is set for keys is secret, and so is what was meant to be; a URL may hold a password.
    """
    return (
        "key" in setting
        or "environment" in setting
        or setting in {"signaling", "realtime", "pipecat", "agent", "fleet"}
        or setting.endswith(("flow_cache", "flow_cache.url", "fleet.state"))
    )
