//! A simulated network on a stepped clock: clients that are plain str0m peers, a shard, and
//! between them links that delay, lose and reorder by a seeded dice, with relays if wanted.
//!
//! The network keeps the books of every client address and fails the test when an address that
//! has not answered a check of the shard's gets more than three times the bytes that it sent.

#![allow(dead_code, reason = "every test file uses its own part of it")]

pub(crate) mod edges;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use firsthop_engine::offer::OfferError;
use firsthop_engine::playout::Encoding;
use firsthop_engine::session::{Session, SessionConfig};
use firsthop_engine::shard::{Command, Now, Output, RelayLink, Shard};
use firsthop_engine::sound::{AudioFormat, Sound};
use firsthop_engine::{CloseReason, Counters, DropReason, Event, SessionId};
use firsthop_relay::DropReason as RelayDrop;
use firsthop_relay::forwarder::{self, Delivery, Transit, Verdict};
use firsthop_relay::{Cluster, Forwarder, Reach, RelayConfig};
use firsthop_wire::bundle::{Bundler, Train};
use firsthop_wire::demux::{self, Kind};
use firsthop_wire::hop::{self, Flags, HOP_LIMIT, Header, HopSecrets};
use firsthop_wire::stun::{Binding, Class};
use firsthop_wire::token::{self, Claims, Owner, TokenKeys};
use str0m::change::{SdpAnswer, SdpApi};
use str0m::channel::{ChannelConfig, ChannelId};
use str0m::config::{DtlsCert, DtlsVersion};
use str0m::crypto::from_feature_flags;
use str0m::format::{Codec, FormatParams};
use str0m::ice::IceCreds;
use str0m::media::{Direction, Frequency, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::rtp::{RtpPacket, RtpWrite, SeqNo};
use str0m::{Candidate, Input, Rtc, RtcConfig, RtcError};

use edges::{Edges, edge_addresses};

pub(crate) const RATE: u32 = 24_000;
pub(crate) const FRAME: Duration = Duration::from_millis(20);
/// Samples of 20 ms.
pub(crate) const TICK_SAMPLES: usize = RATE as usize / 50;
const CLUSTER: u16 = 7;
const KEY_ID: u8 = 1;
const START_UNIX: u64 = 1_800_000_000;

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The shard's own address, as tokens name it.
pub(crate) fn shard_address() -> SocketAddr {
    address("10.1.0.5:4000")
}

/// What answers advertise, whichever relay serves it.
pub(crate) fn public_address() -> SocketAddr {
    address("192.0.2.1:3478")
}

/// What answers advertise for clients that cannot send UDP; it is the relay's socket 1.
pub(crate) fn public_tcp_addresses() -> [SocketAddr; 2] {
    [address("192.0.2.1:443"), address("[2001:db8::1]:443")]
}

/// The upstream socket of relay `index`.
fn upstream_address(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 1, 255, 1 + index as u8], 3500))
}

static CERTIFICATE: LazyLock<DtlsCert> = LazyLock::new(|| {
    let provider = from_feature_flags();
    let certificate = provider.dtls_provider.generate_certificate().unwrap();
    provider.install_process_default();
    certificate
});

/// A dice that rolls the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % limit.max(1)
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

/// What the way between clients and the edge does to packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) delay: Duration,
    /// Up to so much more, for each packet anew: this is what reorders.
    pub(crate) jitter: Duration,
    pub(crate) loss_percent: u64,
}

pub(crate) const CLEAN: Link = Link {
    delay: Duration::from_millis(5),
    jitter: Duration::ZERO,
    loss_percent: 0,
};

const PCM: Sound = Sound::Pcm(AudioFormat {
    rate: RATE,
    frame: FRAME,
    encoding: Encoding {
        bitrate: 32_000,
        complexity: 2,
    },
});

/// A packet for the client: RTP as str0m hands it over, and when.
pub(crate) struct Heard {
    pub(crate) at: Instant,
    pub(crate) packet: RtpPacket,
}

/// A browser: an str0m peer that offers audio and a data channel.
pub(crate) struct Client {
    pub(crate) rtc: Rtc,
    pub(crate) session: SessionId,
    /// The answer to its offer.
    pub(crate) answer: String,
    protocol: Protocol,
    /// The address that it believes to have.
    local: SocketAddr,
    /// The address that the world sees.
    pub(crate) address: SocketAddr,
    deadline: Instant,
    pub(crate) mid: Mid,
    next_sequence: SeqNo,
    /// Opus packets that it will send: when, RTP time, payload.
    speech: BTreeMap<Instant, (u32, Vec<u8>)>,
    pub(crate) connected: bool,
    pub(crate) channel: Option<ChannelId>,
    pub(crate) messages: Vec<String>,
    pub(crate) heard: Vec<Heard>,
    pub(crate) closed: bool,
    /// A client that is switched off neither sends nor receives.
    pub(crate) off: bool,
}

struct Flight {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// What an address sent and got, in bytes of the client's packets.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Ledger {
    pub(crate) sent: usize,
    pub(crate) got: usize,
    /// Of what it got, packets that were not STUN.
    pub(crate) media: usize,
    /// It has answered a check of the shard's.
    pub(crate) answered: bool,
}

/// A packet that arrived at the edge.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) from: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// Everything.
pub(crate) struct World {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) shard: Shard,
    pub(crate) counters: Arc<Counters>,
    pub(crate) relays: Vec<Forwarder>,
    pub(crate) relay_counters: Vec<Arc<firsthop_relay::Counters>>,
    /// The relay that serves the public address now; `None` is the shard itself.
    pub(crate) via: Option<usize>,
    /// Edge relays in front of relays of the cluster, instead of the relay.
    edges: Option<Edges>,
    /// What answers name for clients that send UDP.
    pub(crate) advertised: Vec<SocketAddr>,
    /// Which of the relay's public sockets clients use now.
    pub(crate) socket: u16,
    /// Packets for clients that each public socket has passed on, and of these, all but STUN.
    pub(crate) passed_by_socket: [u64; 2],
    pub(crate) media_by_socket: [u64; 2],
    /// Relays share what they know of flows: one that does not know a flow forwards all the same.
    pub(crate) flow_cache: bool,
    /// A relay whose packets do not reach clients any more: a balancer translates addresses for
    /// another one.
    pub(crate) forgotten: Option<usize>,
    /// Packets for clients that each relay has passed on.
    pub(crate) passed_down: [u64; 2],
    pub(crate) link: Link,
    /// The form that the sound of new sessions has.
    pub(crate) sound: Sound,
    /// The data channel that new clients and sessions have without telling each other.
    pub(crate) channel: Option<u16>,
    pub(crate) dice: Dice,
    pub(crate) clients: Vec<Client>,
    pub(crate) events: Vec<(Instant, Event)>,
    pub(crate) ledgers: HashMap<SocketAddr, Ledger>,
    /// Everything that clients sent to the edge, while recording.
    pub(crate) recorded: Option<Vec<Arrival>>,
    /// Packets from clients that are matched get lost.
    pub(crate) lose_up: Option<fn(&[u8]) -> bool>,
    in_flight: BTreeMap<(Instant, u64), Flight>,
    flights: u64,
    calls: u64,
    credentials: u16,
}

impl World {
    /// A shard that clients reach directly.
    pub(crate) fn direct() -> Self {
        Self::new(None)
    }

    /// A shard behind relay 0; relay 1 can take over.
    pub(crate) fn relayed() -> Self {
        Self::new(Some(0))
    }

    /// A shard behind two edge relays, of which answers name the first first.
    pub(crate) fn behind_edges() -> Self {
        Self {
            edges: Some(Edges::new()),
            advertised: edge_addresses().to_vec(),
            ..Self::relayed()
        }
    }

    fn new(via: Option<usize>) -> Self {
        LazyLock::force(&CERTIFICATE);
        let now = Instant::now();
        let counters = Arc::new(Counters::default());
        let link = RelayLink::new(&hop_secrets(), KEY_ID, shard_address());
        let relay_counters = [(); 2].map(|()| Arc::new(firsthop_relay::Counters::default()));
        let relays = (0..2)
            .map(|index| Forwarder::new(&relay_config(index), Arc::clone(&relay_counters[index])));
        Self {
            start: now,
            now,
            shard: Shard::new(link, via.is_none(), Arc::clone(&counters)),
            counters,
            relays: relays.collect(),
            relay_counters: relay_counters.to_vec(),
            via,
            edges: None,
            advertised: vec![public_address()],
            socket: 0,
            passed_by_socket: [0; 2],
            media_by_socket: [0; 2],
            flow_cache: false,
            forgotten: None,
            passed_down: [0; 2],
            link: CLEAN,
            sound: PCM,
            channel: None,
            dice: Dice::new(1),
            clients: Vec::new(),
            events: Vec::new(),
            ledgers: HashMap::new(),
            recorded: None,
            lose_up: None,
            in_flight: BTreeMap::new(),
            flights: 0,
            calls: 0,
            credentials: 0,
        }
    }

    /// A client that offers, and a session that answers. Returns the client's index.
    pub(crate) fn call(&mut self, version: DtlsVersion) -> usize {
        self.call_with(version, true)
    }

    /// As [`World::call`], with or without a data channel.
    pub(crate) fn call_with(&mut self, version: DtlsVersion, channel: bool) -> usize {
        let number = self.clients.len() as u16;
        let local = SocketAddr::from(([192, 168, 1, 2], 40_000 + number));
        let address = SocketAddr::from(([198, 51, 100, 20], 40_000 + number));
        let candidate = Candidate::host(local, "udp").unwrap();
        self.call_from(address, candidate, version, channel)
    }

    /// As [`World::call`], of a client that has `address` and cannot send UDP.
    pub(crate) fn call_by_tcp(&mut self, address: SocketAddr) -> usize {
        let candidate = Candidate::builder().tcp().host(address);
        let candidate = candidate.tcptype(TcpType::Active).build().unwrap();
        self.call_from(address, candidate, DtlsVersion::Auto, true)
    }

    fn call_from(
        &mut self,
        address: SocketAddr,
        candidate: Candidate,
        version: DtlsVersion,
        channel: bool,
    ) -> usize {
        let (local, protocol) = (candidate.addr(), candidate.proto());
        let mut config = RtcConfig::new()
            .set_rtp_mode(true)
            .set_dtls_version(version);
        config.codec_config().add_config(
            Pt::new_with_value(118),
            None,
            Codec::Tele,
            Frequency::FORTY_EIGHT_KHZ,
            None,
            FormatParams::default(),
        );
        let mut rtc = config.build(self.now);
        rtc.add_local_candidate(candidate);
        let mut change = rtc.sdp_api();
        let mid = change.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        if channel {
            change.add_channel_with_config(ChannelConfig {
                label: "oai-events".to_owned(),
                negotiated: self.channel,
                ..ChannelConfig::default()
            });
        }
        let (offer, pending) = change.apply().unwrap();
        let (session, answer) = self.accept(&offer.to_sdp_string());
        let parsed = SdpAnswer::from_sdp_string(&answer).unwrap();
        rtc.sdp_api().accept_answer(pending, parsed).unwrap();
        self.clients.push(Client {
            rtc,
            session,
            answer,
            protocol,
            local,
            address,
            deadline: self.now,
            mid,
            next_sequence: 1000.into(),
            speech: BTreeMap::new(),
            connected: false,
            channel: None,
            messages: Vec::new(),
            heard: Vec::new(),
            closed: false,
            off: false,
        });
        self.clients.len() - 1
    }

    /// A session for `offer`, in the shard.
    pub(crate) fn accept(&mut self, offer: &str) -> (SessionId, String) {
        self.calls += 1;
        let id = SessionId(self.calls);
        let config = SessionConfig {
            id,
            credentials: self.credentials(),
            advertised: &self.advertised,
            advertised_tcp: &public_tcp_addresses(),
            certificate: CERTIFICATE.clone(),
            channel: self.channel,
            sound: self.sound,
        };
        let (session, answer) = Session::accept(self.now, offer, config).unwrap();
        self.counters
            .sessions
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.command(Command::Add(Box::new(session)));
        (id, answer)
    }

    /// Fresh ones, by which relays find the shard.
    fn credentials(&mut self) -> IceCreds {
        self.credentials += 1;
        let mut nonce = [0; 6];
        nonce[..2].copy_from_slice(&self.credentials.to_be_bytes());
        let claims = Claims {
            cluster: CLUSTER,
            owner: match shard_address() {
                SocketAddr::V4(address) => Owner::V4(address),
                SocketAddr::V6(_) => unreachable!("it is an IPv4 address"),
            },
            expiry_slot: token::slot_at(self.clock().unix_seconds + 3600),
        };
        IceCreds {
            ufrag: token_keys().seal(KEY_ID, &claims, nonce).unwrap(),
            pass: format!("abcdefghijklmnopqrstuvwxyz{}", self.credentials),
        }
    }

    /// The shard that a server ufrag leads to.
    pub(crate) fn owner_of(&self, ufrag: &str) -> SocketAddr {
        let claims = token_keys().open(ufrag.as_bytes(), self.clock().unix_seconds);
        match claims.unwrap().owner {
            Owner::V4(address) => address.into(),
            other => panic!("{other:?}"),
        }
    }

    /// Lets the session of `client` answer an offer in mid-call.
    pub(crate) fn offer_again(&mut self, client: usize, offer: &str) -> Result<String, OfferError> {
        let session = self.clients[client].session;
        let credentials = self.credentials();
        let offer = offer.to_owned();
        self.command(Command::Renegotiate {
            session,
            offer,
            credentials,
        });
        let events = self.events.iter().rev();
        let mut answers = events.filter_map(|(_, event)| match event {
            Event::Renegotiated { session: s, answer } if *s == session => Some(answer.clone()),
            _ => None,
        });
        answers.next().expect("every offer is answered")
    }

    /// Lets `client` make and send an offer with `change`, and take the answer.
    pub(crate) fn renegotiate(&mut self, client: usize, change: impl FnOnce(&mut SdpApi<'_>)) {
        let mut api = self.clients[client].rtc.sdp_api();
        change(&mut api);
        let (offer, pending) = api.apply().expect("something changes");
        let answer = self.offer_again(client, &offer.to_sdp_string()).unwrap();
        let parsed = SdpAnswer::from_sdp_string(&answer).unwrap();
        let peer = &mut self.clients[client];
        peer.rtc.sdp_api().accept_answer(pending, parsed).unwrap();
        peer.answer = answer;
        self.drain_client(client);
    }

    pub(crate) fn clock(&self) -> Now {
        Now {
            instant: self.now,
            unix_seconds: START_UNIX + (self.now - self.start).as_secs(),
        }
    }

    pub(crate) fn command(&mut self, command: Command) {
        let mut output = Output::default();
        self.shard
            .handle_command(self.clock(), command, &mut output);
        self.take(output);
    }

    /// Runs for `duration`.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until `done`, or for `limit`; tells whether it was done.
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) {
            if !self.step(end) {
                self.now = end;
                return done(self);
            }
        }
        true
    }

    /// Runs until client and session are connected and the data channel is open at both ends. SCTP
    /// repeats its first packets after 3, 6 and 12 seconds, so a bad link takes that long.
    pub(crate) fn connect(&mut self, client: usize) {
        let session = self.clients[client].session;
        let done = |world: &Self| {
            let open = |event: &Event| matches!(event, Event::ChannelOpen { session: s, .. } if *s == session);
            world.clients[client].connected
                && world.clients[client].channel.is_some()
                && world.events.iter().any(|(_, event)| open(event))
        };
        assert!(
            self.run_until(Duration::from_secs(60), done),
            "client {client} is connected: {}, has a channel: {}; {:?}",
            self.clients[client].connected,
            self.clients[client].channel.is_some(),
            self.said(client)
        );
    }

    /// A connected client of a new session.
    pub(crate) fn connected_call(&mut self) -> usize {
        let client = self.call(DtlsVersion::Auto);
        self.connect(client);
        client
    }

    /// Puts a packet on the edge as if `from` had sent it: no link in between.
    pub(crate) fn inject(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.arrive_at_edge(from, self.socket, bytes);
    }

    /// Puts a record on the shard as if relay `relay` had sent it, sealed under a wrong key.
    pub(crate) fn inject_forged(&mut self, relay: usize, from: SocketAddr, bytes: &[u8]) {
        let mut datagram = Vec::new();
        self.up_header(from).write_record(bytes, &mut datagram);
        // A bit of the MAC.
        datagram[16] ^= 1;
        let mut output = Output::default();
        let source = upstream_address(relay);
        self.shard
            .receive(self.clock(), source, &datagram, &mut output);
        self.take(output);
    }

    /// Lets the agent say `ms` as utterance 1.
    pub(crate) fn play(&mut self, client: usize, ms: usize) {
        self.command(Command::Play {
            session: self.clients[client].session,
            utterance: 1,
            pcm: sweep(ms),
            complete: true,
        });
    }

    /// How many RTP packets of those that left for `client` did not come.
    pub(crate) fn gaps(&self, client: usize) -> u64 {
        let heard = &self.clients[client].heard;
        let numbers = heard.iter().map(|heard| *heard.packet.seq_no);
        let (first, last) = (numbers.clone().min(), numbers.clone().max());
        let span = last.zip(first).map_or(0, |(last, first)| last - first + 1);
        span - heard.len() as u64
    }

    /// What the shard said of `client`'s session, without its sound.
    pub(crate) fn said(&self, client: usize) -> Vec<&Event> {
        let session = self.clients[client].session;
        let events = self.events.iter().map(|(_, event)| event);
        events
            .filter(|event| session_of(event) == session)
            .filter(|event| !matches!(event, Event::Audio { .. } | Event::Opus { .. }))
            .collect()
    }

    pub(crate) fn closed(&self, session: SessionId) -> Option<CloseReason> {
        let mut reasons = self.events.iter().filter_map(|(_, event)| match event {
            Event::Closed { session: s, reason } if *s == session => Some(*reason),
            _ => None,
        });
        let reason = reasons.next();
        assert_eq!(reasons.next(), None, "a session closes once");
        reason
    }

    /// The PCM that came from `client`, as (position, samples), in order.
    pub(crate) fn audio_of(&self, client: usize) -> Vec<(u64, &[i16])> {
        let id = self.clients[client].session;
        let audio = |event| match event {
            &Event::Audio {
                session,
                position,
                ref pcm,
            } if session == id => Some((position, &pcm[..])),
            _ => None,
        };
        self.events
            .iter()
            .filter_map(|(_, event)| audio(event))
            .collect()
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.dropped(reason)
    }

    pub(crate) fn sessions(&self) -> u64 {
        self.counters
            .sessions
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Lets `client` say `packets` of 20 ms each, from now on.
    pub(crate) fn speak(&mut self, client: usize, packets: &[Vec<u8>]) {
        self.speak_in_steps(client, packets, FRAME);
    }

    /// Lets `client` say `packets`, one every `step`, from now on.
    pub(crate) fn speak_in_steps(&mut self, client: usize, packets: &[Vec<u8>], step: Duration) {
        let now = self.now;
        let client = &mut self.clients[client];
        let start = client.speech.keys().next_back().map_or(now, |&t| t + step);
        for (n, packet) in packets.iter().enumerate() {
            let at = start + step * n as u32;
            let rtp_time = (at - self.start).as_millis() as u32 * 48;
            client.speech.insert(at, (rtp_time, packet.clone()));
        }
        client.deadline = client.deadline.min(start);
    }

    /// Gives `client` another microphone: a stream with an SSRC and numbers of its own.
    pub(crate) fn change_microphone(&mut self, client: usize) {
        let number = self.dice.below(1 << 16);
        let peer = &mut self.clients[client];
        peer.next_sequence = number.into();
        let mut direct = peer.rtc.direct_api();
        let ssrc = direct.new_ssrc();
        let changed = direct.reset_stream_tx(peer.mid, None, ssrc, None);
        assert!(changed.is_some());
    }

    /// Lets `client` send one packet of a telephone event, on the clock of its sound.
    pub(crate) fn press(&mut self, client: usize, rtp_time: u32, report: [u8; 4]) {
        let now = self.now;
        let peer = &mut self.clients[client];
        let params = peer.rtc.codec_config().params();
        let digits = params
            .iter()
            .find(|params| params.spec().codec == Codec::Tele);
        let payload_type = digits.expect("the client knows telephone events").pt();
        let sequence = peer.next_sequence.inc();
        let write = RtpWrite::new(payload_type, sequence, rtp_time, now, report.to_vec());
        let mut direct = peer.rtc.direct_api();
        direct
            .stream_tx_by_mid(peer.mid, None)
            .unwrap()
            .write_rtp(write);
        self.wake_client(client);
    }

    /// Lets `client` send a text message.
    pub(crate) fn send_text(&mut self, client: usize, text: &str) {
        let peer = &mut self.clients[client];
        let id = peer.channel.unwrap();
        let sent = peer
            .rtc
            .channel(id)
            .unwrap()
            .write(false, text.as_bytes())
            .unwrap();
        assert!(sent);
        self.drain_client(client);
    }

    /// Lets `client` close its side.
    pub(crate) fn hang_up(&mut self, client: usize) {
        let peer = &mut self.clients[client];
        if peer.rtc.close().is_err() {
            peer.rtc.disconnect();
        }
        self.drain_client(client);
    }

    fn step(&mut self, end: Instant) -> bool {
        let mut next = self.in_flight.keys().next().map(|&(at, _)| at);
        let mut earlier = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
        self.shard.deadline().into_iter().for_each(&mut earlier);
        for client in self.clients.iter().filter(|client| !client.off) {
            earlier(client.deadline);
        }
        let Some(next) = next.filter(|&next| next <= end) else {
            return false;
        };
        self.now = self.now.max(next);
        while let Some(entry) = self.in_flight.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let flight = entry.remove();
            self.arrive(flight);
        }
        let mut output = Output::default();
        self.shard.handle_timeout(self.clock(), &mut output);
        self.take(output);
        for client in 0..self.clients.len() {
            if self.clients[client].deadline <= self.now && !self.clients[client].off {
                self.wake_client(client);
            }
        }
        true
    }

    fn wake_client(&mut self, index: usize) {
        let now = self.now;
        let client = &mut self.clients[index];
        client.rtc.handle_input(Input::Timeout(now)).unwrap();
        while let Some(entry) = client.speech.first_entry() {
            if *entry.key() > now {
                break;
            }
            let (rtp_time, payload) = entry.remove();
            let payload_type = client.rtc.media(client.mid).unwrap().remote_pts()[0];
            let sequence = client.next_sequence.inc();
            let write = RtpWrite::new(payload_type, sequence, rtp_time, now, payload);
            let mut direct = client.rtc.direct_api();
            direct
                .stream_tx_by_mid(client.mid, None)
                .unwrap()
                .write_rtp(write);
            client.rtc.handle_input(Input::Timeout(now)).unwrap();
        }
        self.drain_client(index);
    }

    fn drain_client(&mut self, index: usize) {
        loop {
            let client = &mut self.clients[index];
            match client.rtc.poll_output() {
                Ok(str0m::Output::Timeout(at)) => {
                    let speech = client.speech.keys().next().copied();
                    client.deadline = speech.map_or(at, |speech| speech.min(at));
                    // Time must go on.
                    client.deadline = client.deadline.max(self.now + Duration::from_micros(100));
                    return;
                }
                Ok(str0m::Output::Transmit(transmit)) => {
                    let from = client.address;
                    self.fly(from, transmit.destination, transmit.contents.to_vec());
                }
                Ok(str0m::Output::Event(event)) => client.note(self.now, event),
                // It was closed while SCTP was not yet up, which str0m takes ill.
                Err(RtcError::Sctp(_)) => {
                    client.rtc.disconnect();
                    client.closed = true;
                }
                Err(error) => panic!("client {index}: {error}"),
            }
        }
    }

    fn fly(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        if self.dice.percent(self.link.loss_percent) {
            return;
        }
        let jitter = self.link.jitter.as_micros() as u64;
        let jitter = Duration::from_micros(self.dice.below(jitter + 1));
        let at = self.now + self.link.delay + jitter;
        self.flights += 1;
        self.in_flight
            .insert((at, self.flights), Flight { from, to, bytes });
    }

    fn arrive(&mut self, flight: Flight) {
        let Flight { from, to, bytes } = flight;
        if to == shard_address() {
            let mut output = Output::default();
            self.shard.receive(self.clock(), from, &bytes, &mut output);
            return self.take(output);
        }
        let by_tcp = public_tcp_addresses().contains(&to);
        let edge = self.edges.as_ref();
        let edge = edge.and_then(|_| edge_addresses().iter().position(|&edge| edge == to));
        if by_tcp || edge.is_some() || to == public_address() {
            if !self.lose_up.is_some_and(|lose| lose(&bytes)) {
                let socket = if by_tcp { 1 } else { self.socket };
                let socket = edge.map_or(socket, |edge| edge as u16);
                self.arrive_at_edge(from, socket, &bytes);
            }
            return;
        }
        let now = self.now;
        let by_tcp = public_tcp_addresses().contains(&from);
        // One that is off still has its address: nobody else is heard there.
        let addressed = |client: &Client| client.address == to && client.is_tcp() == by_tcp;
        let Some(index) = self.clients.iter().position(addressed) else {
            return;
        };
        let client = &mut self.clients[index];
        if client.off {
            return;
        }
        if let Ok(receive) = Receive::new(client.protocol, from, client.local, &bytes) {
            // What is not for this client it refuses, and goes on, as a browser does.
            let _ = client.rtc.handle_input(Input::Receive(now, receive));
            self.drain_client(index);
        }
    }

    fn arrive_at_edge(&mut self, from: SocketAddr, socket: u16, bytes: &[u8]) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push(Arrival {
                from,
                bytes: bytes.to_vec(),
            });
        }
        let ledger = self.ledgers.entry(from).or_default();
        ledger.sent += bytes.len();
        ledger.answered |=
            Binding::parse(bytes).is_ok_and(|binding| binding.class == Class::BindingSuccess);

        if self.edges.is_some() {
            let output = self.up_by_edge(usize::from(socket), from, bytes);
            return self.take(output);
        }
        let mut output = Output::default();
        let clock = self.clock();
        match self.via {
            None => self.shard.receive(clock, from, bytes, &mut output),
            Some(index) => {
                let now = self.relay_now();
                let header = match self.relays[index].ingress(now, from, socket, bytes) {
                    Verdict::Forward { to, header } => {
                        assert_eq!(to, shard_address());
                        Some(header)
                    }
                    Verdict::Parked
                    | Verdict::Drop(RelayDrop::UnknownFlow | RelayDrop::ParkingFull)
                        if self.flow_cache =>
                    {
                        Some(self.up_header(from))
                    }
                    Verdict::Drop(_) | Verdict::Parked => None,
                };
                if let Some(header) = header {
                    let mut datagram = Vec::new();
                    header.write_record(bytes, &mut datagram);
                    let source = upstream_address(index);
                    self.shard.receive(clock, source, &datagram, &mut output);
                }
            }
        }
        self.take(output);
    }

    /// Gives the shard's packets to relays, bundled, or to clients, and keeps its events.
    fn take(&mut self, output: Output) {
        let now = self.now;
        self.events
            .extend(output.events.into_iter().map(|event| (now, event)));
        let mut bundler = Bundler::default();
        let mut trains = Vec::new();
        let mut leave = |train: &Train| {
            let contents = train.contents();
            let size = train.segment_size().map_or(contents.len(), usize::from);
            trains.extend(contents.chunks(size).map(|part| (train.to, part.to_vec())));
        };
        for packet in output.packets {
            match packet.header {
                Some(header) => bundler.push(packet.to, &header, &packet.contents, &mut leave),
                None => self.leave_edge(0, packet.to, packet.contents),
            }
        }
        bundler.flush(leave);
        for (to, datagram) in trains {
            let relay = (0..self.relays.len()).find(|&n| upstream_address(n) == to);
            let relay = relay.expect("only relays sent records");
            if self.edges.is_some() {
                self.down_by_edges(relay, &datagram);
                continue;
            }
            let relay_now = self.relay_now();
            let mut deliveries = Vec::new();
            let deliver = |delivery: Delivery<'_>| {
                let socket = usize::from(delivery.ingress);
                deliveries.push((socket, delivery.client, delivery.payload.to_vec()));
            };
            let nobody = |_: Transit<'_>| unreachable!("there are no edge relays here");
            self.relays[relay].egress(relay_now, shard_address(), &datagram, deliver, nobody);
            for ready in self.relays[relay].take_ready().collect::<Vec<_>>() {
                let mut datagram = Vec::new();
                ready.header.write_record(&ready.packet, &mut datagram);
                self.fly(upstream_address(relay), shard_address(), datagram);
            }
            self.passed_down[relay] += deliveries.len() as u64;
            if self.forgotten == Some(relay) {
                continue;
            }
            for (socket, client, payload) in deliveries {
                let media = demux::kind(&payload) != Some(Kind::Stun);
                self.passed_by_socket[socket] += 1;
                self.media_by_socket[socket] += u64::from(media);
                self.leave_edge(socket, client, payload);
            }
        }
    }

    fn leave_edge(&mut self, socket: usize, client: SocketAddr, bytes: Vec<u8>) {
        let ledger = self.ledgers.entry(client).or_default();
        ledger.got += bytes.len();
        ledger.media += usize::from(demux::kind(&bytes) != Some(Kind::Stun));
        assert!(
            ledger.answered || ledger.got <= 3 * ledger.sent,
            "{client} has proved nothing and gets {ledger:?}"
        );
        // The second socket is TCP's for clients that use TCP, and one more UDP socket for others.
        let tcp_client = |other: &Client| other.address == client && other.is_tcp();
        let by_tcp = socket == 1 && self.clients.iter().any(tcp_client);
        let from = match by_tcp {
            true => public_tcp_addresses()[usize::from(client.is_ipv6())],
            false if self.edges.is_some() => edge_addresses()[socket],
            false => public_address(),
        };
        self.fly(from, client, bytes);
    }

    fn up_header(&self, client: SocketAddr) -> hop::SealedHeader {
        let header = Header {
            direction: hop::Direction::Up,
            flags: Flags::default(),
            key_id: KEY_ID,
            hop_limit: HOP_LIMIT,
            tick: hop::tick_at(self.clock().unix_seconds),
            client,
            ingress: self.socket,
            return_hop: None,
        };
        header.seal(&hop_secrets().pair(KEY_ID, shard_address()).unwrap())
    }

    fn relay_now(&self) -> forwarder::Now {
        forwarder::Now {
            elapsed: self.now - self.start,
            unix_seconds: self.clock().unix_seconds,
        }
    }
}

impl Client {
    fn is_tcp(&self) -> bool {
        self.protocol != Protocol::Udp
    }

    fn note(&mut self, now: Instant, event: str0m::Event) {
        match event {
            str0m::Event::Connected => self.connected = true,
            str0m::Event::ChannelOpen(id, _) => self.channel = Some(id),
            str0m::Event::ChannelData(data) => {
                self.messages.push(String::from_utf8(data.data).unwrap());
            }
            str0m::Event::RtpPacket(packet) => self.heard.push(Heard { at: now, packet }),
            str0m::Event::Closed => self.closed = true,
            _ => {}
        }
    }
}

pub(crate) fn session_of(event: &Event) -> SessionId {
    match *event {
        Event::Connected { session }
        | Event::ChannelOpen { session, .. }
        | Event::Message { session, .. }
        | Event::Audio { session, .. }
        | Event::Opus { session, .. }
        | Event::PlayoutStarted { session, .. }
        | Event::PlayoutEnded { session, .. }
        | Event::Digit { session, .. }
        | Event::Renegotiated { session, .. }
        | Event::Closed { session, .. } => session,
    }
}

fn token_keys() -> TokenKeys {
    let mut keys = TokenKeys::default();
    keys.insert(KEY_ID, &[0x5A; token::MASTER_LEN]);
    keys
}

fn hop_secrets() -> HopSecrets {
    let mut secrets = HopSecrets::default();
    secrets.insert(KEY_ID, &[0xC3; hop::SECRET_LEN]);
    secrets
}

fn relay_config(index: usize) -> RelayConfig {
    RelayConfig {
        site: 0,
        listen: vec![public_address(); 2],
        tcp_listen: Vec::new(),
        tcp_connections: 100,
        tcp_connections_per_address: 10,
        upstream: upstream_address(index),
        workers: 1,
        pin: false,
        busy_poll: Duration::ZERO,
        flow_capacity: 1000,
        flow_idle: firsthop_relay::DEFAULT_FLOW_IDLE,
        look_up: false,
        edges: Vec::new(),
        clusters: vec![Cluster {
            id: CLUSTER,
            prefix: None,
            networks: vec!["10.1.0.0/16".parse().unwrap()],
            ports: 4000..=4010,
            token_keys: token_keys(),
            key_id: KEY_ID,
            reach: Reach::Direct(hop_secrets()),
        }],
    }
}

/// Opus packets of 20 ms of `pcm`, at [`RATE`].
pub(crate) fn opus_packets(pcm: &[i16]) -> Vec<Vec<u8>> {
    let mode = opus::Application::Voip;
    let mut encoder = opus::Encoder::new(RATE, opus::Channels::Mono, mode).unwrap();
    encoder.set_bitrate(opus::Bitrate::Bits(32_000)).unwrap();
    encoder.set_inband_fec(true).unwrap();
    encoder.set_packet_loss_perc(20).unwrap();
    let frames = pcm.chunks_exact(TICK_SAMPLES);
    frames
        .map(|frame| encoder.encode_vec(frame, 400).unwrap())
        .collect()
}

/// `ms` of a voice-like sweep: unlike itself at any other position, so that a shift shows.
pub(crate) fn sweep(ms: usize) -> Vec<i16> {
    let mut phase = 0.0_f64;
    (0..ms * RATE as usize / 1000)
        .map(|n| {
            let seconds = n as f64 / f64::from(RATE);
            let hertz = 300.0 + 400.0 * (seconds * 1.7).sin().abs() + 100.0 * seconds;
            phase += hertz * std::f64::consts::TAU / f64::from(RATE);
            (phase.sin() * 9000.0) as i16
        })
        .collect()
}

/// How alike two stretches are: 1 the same up to loudness, 0 unrelated.
pub(crate) fn correlation(a: &[i16], b: &[i16]) -> f64 {
    let dot = |a: &[i16], b: &[i16]| -> f64 {
        let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
        products.sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1.0)
}

/// The shift in samples, up to `most`, at which `late` is most like `early`, and how alike.
pub(crate) fn best_shift(early: &[i16], late: &[i16], most: usize) -> (usize, f64) {
    let at = |shift: usize| {
        let length = early.len().min(late.len().saturating_sub(shift));
        (
            shift,
            correlation(&early[..length], &late[shift..shift + length]),
        )
    };
    (0..most)
        .map(at)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap()
}
