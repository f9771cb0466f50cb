"""The native core: what the Rust crates do, as Python sees it.

Crossings are few and coarse: per command, per batch of events, per audio frame. Calls release the
GIL where they may wait; none waits for the network.
"""

from collections.abc import Mapping, Sequence
from typing import final

from typing_extensions import disjoint_base

__all__ = [
    "CallerReport",
    "Callers",
    "Cluster",
    "Engine",
    "Event",
    "Notice",
    "OpusPacket",
    "Relay",
    "decode",
    "edge_key",
    "encode",
    "open_token",
    "seal_hop_header",
    "seal_token",
]

@final
class OpusPacket:
    """A well-formed Opus packet (RFC 6716 section 3); of the caller's, also where it stands."""

    def __new__(cls, payload: bytes, *, at_ms: float = 0.0, missing: int = 0) -> OpusPacket:
        """Check the framing of `payload`, of at most 1276 bytes. Raises ValueError."""
    @property
    def payload(self) -> bytes:
        """The packet, byte by byte as RTP carries it."""
    @property
    def duration_ms(self) -> float:
        """How long it sounds, in milliseconds: 2.5 to 120."""
    @property
    def at_ms(self) -> float:
        """Where it begins, in milliseconds since the first packet of the call.

        It never runs back; what the caller's encoder left out as silence (DTX) shows here.
        """
    @property
    def missing(self) -> int:
        """How many packets before it were lost, or were no Opus."""

@disjoint_base
class Event:
    """What a session reports. Each kind is a subclass; `Closed` is a session's last."""

    @final
    class Connected(Event):
        """ICE and DTLS are done: media flows."""

        __match_args__ = ("session",)
        def __new__(cls, session: int) -> Event.Connected: ...
        @property
        def session(self) -> int: ...

    @final
    class ChannelOpen(Event):
        """The client opened a data channel."""

        __match_args__ = ("session", "label")
        def __new__(cls, session: int, label: str) -> Event.ChannelOpen: ...
        @property
        def session(self) -> int: ...
        @property
        def label(self) -> str: ...

    @final
    class Message(Event):
        """One text message from the client."""

        __match_args__ = ("session", "text")
        def __new__(cls, session: int, text: str) -> Event.Message: ...
        @property
        def session(self) -> int: ...
        @property
        def text(self) -> str: ...

    @final
    class Audio(Event):
        """What the client said."""

        __match_args__ = ("session", "position", "pcm")
        def __new__(cls, session: int, position: int, pcm: bytes) -> Event.Audio: ...
        @property
        def session(self) -> int: ...
        @property
        def position(self) -> int:
            """Samples since the first one received."""
        @property
        def pcm(self) -> bytes:
            """PCM16LE, mono, at the session's rate."""

    @final
    class Opus(Event):
        """What the client said, as it came."""

        __match_args__ = ("session", "packets")
        def __new__(cls, session: int, packets: tuple[OpusPacket, ...]) -> Event.Opus: ...
        @property
        def session(self) -> int: ...
        @property
        def packets(self) -> tuple[OpusPacket, ...]:
            """In order; at least one."""

    @final
    class PlayoutStarted(Event):
        """The first packet of an utterance left."""

        __match_args__ = ("session", "utterance")
        def __new__(cls, session: int, utterance: int) -> Event.PlayoutStarted: ...
        @property
        def session(self) -> int: ...
        @property
        def utterance(self) -> int: ...

    @final
    class PlayoutEnded(Event):
        """An utterance left to its end, or was flushed."""

        __match_args__ = ("session", "utterance", "played_ms", "interrupted")
        def __new__(
            cls, session: int, utterance: int, played_ms: int, interrupted: bool
        ) -> Event.PlayoutEnded: ...
        @property
        def session(self) -> int: ...
        @property
        def utterance(self) -> int: ...
        @property
        def played_ms(self) -> int: ...
        @property
        def interrupted(self) -> bool: ...

    @final
    class Digit(Event):
        """The client pressed a key: ``0`` to ``9``, ``*``, ``#``, ``A`` to ``D``."""

        __match_args__ = ("session", "digit")
        def __new__(cls, session: int, digit: str) -> Event.Digit: ...
        @property
        def session(self) -> int: ...
        @property
        def digit(self) -> str: ...

    @final
    class Renegotiated(Event):
        """An offer in mid-call was answered, or refused with an error about a line of it."""

        __match_args__ = ("session", "answer", "error", "line")
        def __new__(
            cls, session: int, answer: str | None, error: str | None, line: int | None
        ) -> Event.Renegotiated: ...
        @property
        def session(self) -> int: ...
        @property
        def answer(self) -> str | None: ...
        @property
        def error(self) -> str | None: ...
        @property
        def line(self) -> int | None: ...

    @final
    class Closed(Event):
        """The session is gone."""

        __match_args__ = ("session", "reason")
        def __new__(cls, session: int, reason: str) -> Event.Closed: ...
        @property
        def session(self) -> int: ...
        @property
        def reason(self) -> str: ...

    @property
    def session(self) -> int:
        """The session's number."""

@final
class Engine:
    """Owns every WebRTC session of a transceiver. Threads of its own; `stop` ends them."""

    def __new__(
        cls,
        *,
        listen: str,
        shards: int,
        reachable_ip: str | None,
        advertised: Sequence[str],
        advertised_tcp: Sequence[str],
        direct: bool,
        cluster: int,
        token_keys: dict[int, bytes],
        token_key_id: int,
        token_lifetime_seconds: int,
        hop_secrets: dict[int, bytes],
        hop_key_id: int,
        max_sessions: int,
    ) -> Engine: ...
    def accept(
        self,
        offer: str,
        *,
        sample_rate: int,
        frame_ms: int,
        bitrate: int,
        complexity: int,
        channel: int | None = None,
        advertised: Sequence[str] | None = None,
        advertised_tcp: Sequence[str] | None = None,
    ) -> tuple[int, str]:
        """Accept an SDP offer: (session, answer). Raises OfferError or OverloadedError.

        `channel` is the id of a data channel that both sides have agreed on beforehand.
        `advertised` and `advertised_tcp` are what this session's answers name, most preferred
        first; None: what the engine was made with.
        """
    def accept_opus(
        self,
        offer: str,
        *,
        frame_ms: int,
        channel: int | None = None,
        advertised: Sequence[str] | None = None,
        advertised_tcp: Sequence[str] | None = None,
    ) -> tuple[int, str]:
        """Accept an offer for a session whose sound stays Opus, in batches of `frame_ms`."""
    def set_keys(self, keys: Mapping[int, bytes], key_id: int) -> None:
        """Seal new tokens and hop headers under `key_id`; take records under any of `keys`.

        Sessions go on. Raises ValueError; OverloadedError when a shard does not keep up: then
        call it again.
        """
    def renegotiate(self, session: int, offer: str) -> None:
        """Answer an offer in mid-call; one `Renegotiated` per offer follows, in their order."""
    def play(self, session: int, utterance: int, pcm: bytes, *, complete: bool) -> None:
        """Say PCM16LE mono as the next part of an utterance. Raises OverloadedError."""
    def play_opus(
        self, session: int, utterance: int, packets: Sequence[OpusPacket], *, complete: bool
    ) -> None:
        """Say packets as they are, in a session whose sound is Opus. Raises OverloadedError."""
    def mirror(self, session: int, utterance: int) -> None:
        """Say what the client says, as it comes, in a session whose sound is Opus."""
    def flush(self, session: int) -> None:
        """Stop speaking; one PlayoutEnded per utterance follows."""
    def send(self, session: int, text: str) -> None:
        """Send a text message on the data channel; lost while none is open."""
    def close(self, session: int) -> None:
        """Hang up."""
    def take_events(self) -> list[Event]:
        """All events that wait, oldest first."""
    def fileno(self) -> int:
        """A descriptor that is readable when events wait."""
    def addresses(self) -> list[str]:
        """The transport addresses of the shards, as tokens name them."""
    def counters(self) -> dict[str, int]:
        """Sums over all shards, by name; one ``dropped_<reason>`` per reason."""
    def stop(self) -> None:
        """Hang up every session and end the threads."""

@disjoint_base
class Notice:
    """What a relay tells of its flows, to whoever remembers them for it. Each kind is a subclass.

    ``flow`` is the client's IP (16 bytes, IPv4 mapped), its port (2) and the ingress id (2: site
    and socket); ``owner`` is an IP (16) and a port (2); big-endian.
    """

    @final
    class LookUp(Notice):
        """A packet of an unknown flow waits: whose is it? `Relay.answer` is due."""

        __match_args__ = ("worker", "flow")
        def __new__(cls, worker: int, flow: bytes) -> Notice.LookUp: ...
        @property
        def worker(self) -> int: ...
        @property
        def flow(self) -> bytes: ...

    @final
    class Kept(Notice):
        """A proved flow was learned or moved, or is still alive: again about every idle time."""

        __match_args__ = ("flow", "owner")
        def __new__(cls, flow: bytes, owner: bytes) -> Notice.Kept: ...
        @property
        def flow(self) -> bytes: ...
        @property
        def owner(self) -> bytes: ...

    @final
    class Gone(Notice):
        """Its owner ended the flow."""

        __match_args__ = ("flow",)
        def __new__(cls, flow: bytes) -> Notice.Gone: ...
        @property
        def flow(self) -> bytes: ...

@final
class Cluster:
    """A cluster of transceivers, and the only places in it where a relay may send packets."""

    def __new__(
        cls,
        id: int,
        *,
        networks: Sequence[str],
        first_port: int,
        last_port: int,
        ipv6_prefix: str | None,
        keys: Mapping[int, bytes],
        key_id: int,
        relays: Sequence[str] = ...,
    ) -> Cluster:
        """Say how a relay reaches the cluster `id`, and with which keys, by their ids (0 to 3).

        Without `relays` it reaches the transceivers itself, and the keys are the cluster's masters,
        32 bytes each. With them, it is an edge that sends to the relays at these transport
        addresses, and the keys are edge keys, 48 bytes each (`edge_key`). It seals under `key_id`.
        Raises ValueError, which names the argument.
        """

@final
class Relay:
    """Forwards packets between clients and transceivers. Threads of its own; `stop` ends them.

    Made, it has its sockets, and packets wait there; `run` starts the workers.
    """

    def __new__(
        cls,
        *,
        listen: Sequence[str],
        tcp_listen: Sequence[str],
        tcp_connections: int,
        tcp_connections_per_address: int,
        upstream: str,
        workers: int,
        pin: bool,
        busy_poll_us: int,
        flow_capacity: int,
        flow_idle_seconds: int,
        look_up: bool,
        site: int,
        edges: Sequence[str],
        clusters: Sequence[Cluster],
        sockets: Sequence[Sequence[int]] | None,
    ) -> Relay:
        """Bind the sockets, or take over those that `sockets` of another process returned.

        Those are duplicated: the caller closes its own. `flow_capacity` is each worker's;
        with `look_up` somebody takes the notices and answers. `site` is the upper byte of the
        ingress ids, 0 to 255; `edges` are the networks of the edge relays whose records are taken.
        """
    def restore(self, worker: int, flows: bytes) -> None:
        """Take over flows of a worker of another process, before `run`."""
    def run(self) -> None:
        """Start the workers."""
    def set_clusters(self, edges: Sequence[str], clusters: Sequence[Cluster]) -> None:
        """Serve these from now on: every worker has them when this returns, at most 1 s later.

        Flows whose owner is no longer allowed are forgotten when they are used; all others go on.
        Raises ValueError for clusters that cannot be told apart, and nothing changes then;
        TimeoutError when a worker does not take them: try again.
        """
    def next_hops(self) -> list[tuple[int, str, bool]]:
        """Cluster, address and state of every relay to send to: alive if any worker hears it."""
    def local_addresses(self) -> list[str]:
        """Public transport addresses as bound, by the lower byte of their ingress ids."""
    def upstream_addresses(self) -> list[str]:
        """Upstream transport addresses as bound, one per worker."""
    def failed(self) -> str | None:
        """Why a worker is no longer running, if one is not."""
    def counters(self) -> dict[str, int]:
        """Sums over all workers, by name; ``dropped_<reason>`` and ``tcp_closed_<reason>`` too."""
    def worker_counters(self) -> list[dict[str, int]]:
        """The same for each worker."""
    def fileno(self) -> int:
        """A descriptor that is readable when notices wait."""
    def take_notices(self) -> list[Notice]:
        """All notices that wait, oldest first."""
    def answer(self, worker: int, flow: bytes, owner: bytes | None) -> bool:
        """Answer a look-up, with None when nobody knows; False when the worker has no room."""
    def sockets(self) -> list[list[int]]:
        """The descriptors of each worker's sockets, good until `finish` or `stop`."""
    def export(self, worker: int) -> bytes:
        """All flows of a worker, for `restore` of another process. Forwarding goes on."""
    def finish(self) -> list[bytes]:
        """End the workers, and return for each the flows that changed since `export`."""
    def stop(self) -> None:
        """End the workers."""

@final
class Callers:
    """WebRTC clients for load tests: each a socket, ICE, DTLS, SRTP and a data channel of its own.

    Threads of its own; `stop` ends them. Whoever is asked for a caller that is forgotten raises
    LookupError.
    """

    def __new__(
        cls,
        *,
        local: str,
        threads: int,
        sound: Sequence[bytes],
        marks: Sequence[int],
        channel: str | None,
        wanted: str | None = None,
    ) -> Callers:
        """Start `threads` threads.

        `local` is the IP address that sockets are bound to. `sound` are Opus payloads that callers
        say in a loop, each beginning at another place and with a clock of its own. `marks` are
        indices into `sound` of packets that begin with a mark: 60 ms of 1,500 Hz at -6 dBFS, with
        at least 200 ms of silence before it and 100 ms after it. `channel` is the label of the data
        channels, None for none. Text messages that hold `wanted` are kept for `messages`, of up to
        64 KiB each. Raises ValueError when the sound is no Opus.
        """
    def offer(self, *, talks: bool = True, listens: bool = False) -> tuple[int, str]:
        """Make a caller: (caller, SDP offer with its host candidate).

        One that does not talk sends no audio; one that listens decodes what it hears and times the
        marks. Raises OSError when there is no socket to be had.
        """
    def answer(self, caller: int, answer: str) -> None:
        """Give a caller the server's SDP answer: now it connects.

        Raises OfferError when the answer cannot be used; the caller is forgotten then.
        """
    def refuse(self, caller: int) -> None:
        """Forget a caller whose offer was refused."""
    def send(self, caller: int, text: str) -> None:
        """Send on its data channel, once that is open."""
    def hang_up(self, caller: int) -> None:
        """Close it properly, in the background, and forget it; what it counted stays."""
    def measure(self) -> None:
        """Begin all counts of media anew, but not the stages: for after the ramp-up."""
    def totals(self) -> dict[str, int]:
        """How many callers are waiting, connecting, connected, closed and failed now, and counts.

        Audio packets since `measure`, also of callers that hung up: sent, received, lost,
        reordered, duplicated; returned (came back as they were sent) and unreturned (did not,
        while later ones did; both 0 where a server returns none); late (sent more than 5 ms after
        their time, or left out: the load does not keep up). Of any kind: unsent (datagrams that
        the system refused), messages (data channel), sent_bytes and received_bytes (UDP payload).
        """
    def gaps(self) -> list[int]:
        """Histogram of the time between consecutive audio packets of a caller since `measure`.

        Bin n of 2,000 counts gaps in [n/4, (n+1)/4) ms, the last one all longer ones. Where the RTP
        clock jumped with no packet lost (DTX), what it jumped beyond a packet's duration is taken
        off.
        """
    def longest_gap_ms(self) -> float:
        """The longest gap, as `gaps` counts them, of those that ended since this was last asked.

        0: there was none.
        """
    def messages(self) -> list[tuple[int, str]]:
        """The wanted messages that came since this was last asked: (caller, text).

        Up to 16,384 of each thread's are kept until then; those beyond are left out.
        """
    def over(self) -> list[tuple[int, str]]:
        """The callers that are closed or failed and not forgotten, and why.

        As `CallerReport.failure` tells; ``closed`` where the caller hung up.
        """
    def call(self, caller: int) -> CallerReport:
        """All that is known of a caller."""
    def callers(self) -> list[int]:
        """All callers that are not forgotten, in the order in which they came."""
    def stop(self) -> None:
        """Hang up every caller and end the threads."""

@final
class CallerReport:
    """What one caller tells of its call. Counts are of audio packets since `Callers.measure`."""

    @property
    def state(self) -> str:
        """``waiting``, ``connecting``, ``connected``, ``closed`` or ``failed``."""
    @property
    def failure(self) -> str | None:
        """``ice`` or ``dtls``: not done within 15 s, or DTLS failed.

        ``lost``: no consent for 10 s. ``protocol``: what came breaks it. ``closed_by_server``.
        """
    @property
    def stages_ms(self) -> dict[str, float]:
        """From the answer to ``ice``, ``connected`` (DTLS is done), ``channel``, ``audio``."""
    @property
    def sent(self) -> int: ...
    @property
    def received(self) -> int:
        """Each packet once."""
    @property
    def lost(self) -> int:
        """As far as sequence numbers tell."""
    @property
    def reordered(self) -> int:
        """Packets that came after a later one."""
    @property
    def duplicated(self) -> int: ...
    @property
    def messages(self) -> int:
        """Data channel messages that came."""
    @property
    def returned(self) -> int:
        """Packets of its own that came back as they were sent."""
    @property
    def at_s(self) -> float:
        """When it told this, in seconds since the `Callers` began."""
    @property
    def heard_s(self) -> tuple[float, float] | None:
        """When the first and the newest audio packet came, in seconds since the `Callers` began."""
    @property
    def jitter_ms(self) -> float:
        """Interarrival jitter, latest (RFC 3550 section 6.4.1)."""
    @property
    def round_trip_ms(self) -> float | None:
        """Of the latest STUN check."""
    @property
    def delays_ms(self) -> list[float]:
        """For each mark that came back: from when its packet was sent to when its onset arrived.

        Right while marks are further apart than they take to come back; the newest 4,096.
        """
    @property
    def marks_missed(self) -> int:
        """Marks that had not come back when the next one was sent."""

def edge_key(master: bytes) -> bytes:
    """Derive what an edge relay needs of a cluster's master key (32 bytes): 48 bytes.

    Raises ValueError for a master of another length.
    """

def encode(
    pcm: bytes,
    *,
    rate: int,
    bitrate: int,
    complexity: int,
    packet_ms: int,
    channels: int = 1,
    fec: bool = False,
    loss_percent: int = 0,
) -> list[bytes]:
    """Encode PCM16LE as Opus payloads of `packet_ms` (10, 20, 40, 60) each. Raises ValueError."""

def decode(packets: Sequence[bytes], *, rate: int) -> bytes:
    """PCM16LE mono of Opus payloads, in order and with none missing. Raises ValueError."""

def seal_token(
    *,
    master: bytes,
    key_id: int,
    cluster: int,
    address: str,
    port: int,
    expiry_slot: int,
    nonce: bytes,
) -> str:
    """Seal a routing token (RT1) as a ufrag. Of an IPv6 address the low 64 bits count."""

def open_token(
    *, master: bytes, key_id: int, ufrag: str, unix_seconds: int
) -> tuple[int, str, int, int]:
    """Open a ufrag: (cluster, address, port, expiry slot). Raises TokenError."""

def seal_hop_header(
    *,
    secret: bytes,
    key_id: int,
    owner: str,
    direction: str,
    flags: int,
    hop_limit: int,
    tick: int,
    client: str,
    ingress: int,
    return_hop: str | None,
) -> bytes:
    """Seal a hop header (RE1) for an empty payload."""
