//! One client from offer to close: an `Rtc` that talks, listens and counts. No I/O.
//!
//! As in the engine, every mutation of the `Rtc` is followed by [`Caller::drain`].

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use firsthop_wire::demux::{self, Kind};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::channel::ChannelId;
use str0m::config::{DtlsCert, DtlsVersion};
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{DatagramSend, Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap, RtpPacket, RtpWrite, SeqNo};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};

use crate::counts::Counts;
use crate::ear::Ear;
use crate::echo::{Echo, Sent};
use crate::gaps::Gaps;
use crate::reception::{Arrival, Order, Reception};
use crate::report::{Failure, Phase, Report, Stages};
use crate::talk::Talk;

/// From the answer to the end of the DTLS handshake.
const SETUP_DEADLINE: Duration = Duration::from_secs(15);
/// Without any answer to its checks, after the ICE agent has already waited for several.
const CONSENT_GRACE: Duration = Duration::from_secs(10);
/// What closing has to say (RTCP BYE, DTLS close_notify) is said within this.
const CLOSING: Duration = Duration::from_millis(200);
/// How often the round trip time is noted.
const STATS_INTERVAL: Duration = Duration::from_secs(2);
/// Messages that may wait for the data channel to open.
const MAX_UNSENT: usize = 64;
/// Messages that are kept until they are taken, and the longest of them.
const MAX_KEPT: usize = 8;
const MAX_KEPT_BYTES: usize = 64 * 1024;
/// Delays that are kept, of the newest marks.
const MAX_DELAYS: usize = 4096;
/// Outputs of one drain, far above what a mutation causes: beyond, the stack is going in circles.
const MAX_OUTPUTS: usize = 10_000;

/// What a new caller is.
pub struct CallerConfig {
    /// The address that its packets come from.
    pub local: SocketAddr,
    /// Shared by all callers: making one costs milliseconds.
    pub certificate: DtlsCert,
    /// Label of its data channel.
    pub channel: Option<String>,
    /// Text messages that hold this are kept for [`Caller::take_message`].
    pub wanted: Option<Arc<str>>,
    /// What it says.
    pub talk: Option<Talk>,
    /// What it listens with.
    pub ear: Option<Ear>,
}

/// Why there is no caller, or none that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdpError(pub String);

impl fmt::Display for SdpError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for SdpError {}

/// What leaves a caller.
#[derive(Default)]
pub struct Outbox {
    /// Datagrams, in order, each with where it goes.
    pub packets: Vec<(SocketAddr, DatagramSend)>,
    /// What was quiet between packets that came.
    pub gaps: Gaps,
}

/// A caller that waits for an answer.
pub struct Offer {
    rtc: Rtc,
    pending: SdpPendingOffer,
    mid: Mid,
    config: CallerConfig,
}

enum State {
    Connecting {
        deadline: Instant,
    },
    Connected {
        consent_lost: Option<Instant>,
    },
    /// It says goodbye.
    Closing {
        deadline: Instant,
    },
    Closed,
    Failed,
}

struct Voice {
    mid: Mid,
    payload_type: Pt,
    sequence: SeqNo,
}

/// One client.
pub struct Caller {
    rtc: Rtc,
    local: SocketAddr,
    state: State,
    failure: Option<Failure>,
    rtc_deadline: Instant,
    answered: Instant,
    stages: Stages,
    voice: Voice,
    talk: Option<Talk>,
    ear: Option<Ear>,
    reception: Reception,
    echo: Echo,
    /// When the first and the newest packet of audio came.
    heard: Option<(Instant, Instant)>,
    counts: Counts,
    /// Set when a packet of audio came out of the stack.
    decrypted: bool,
    channel: Option<ChannelId>,
    unsent: VecDeque<String>,
    wanted: Option<Arc<str>>,
    kept: VecDeque<String>,
    round_trip: Option<Duration>,
    /// When the newest mark was sent, until it comes back.
    mark: Option<Instant>,
    delays: VecDeque<Duration>,
    marks_missed: u64,
}

impl Offer {
    /// A new client and its offer.
    ///
    /// # Errors
    /// [`SdpError`] when its address cannot be a candidate.
    pub fn new(now: Instant, config: CallerConfig) -> Result<(Self, String), SdpError> {
        let mut extensions = ExtensionMap::empty();
        extensions.set(1, Extension::AudioLevel);
        extensions.set(4, Extension::RtpMid);
        let mut rtc = RtcConfig::new()
            .set_dtls_cert(config.certificate.clone())
            .set_dtls_version(DtlsVersion::Auto)
            .clear_codecs()
            .enable_opus(true, false)
            .set_extension_map(extensions)
            .set_rtp_mode(true)
            .set_stats_interval(Some(STATS_INTERVAL))
            .build(now);
        let candidate = Candidate::host(config.local, "udp");
        let candidate = candidate.map_err(|error| SdpError(error.to_string()))?;
        rtc.add_local_candidate(candidate);
        let mut change = rtc.sdp_api();
        let mid = change.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        if let Some(label) = &config.channel {
            change.add_channel(label.clone());
        }
        let applied = change.apply();
        let (offer, pending) = applied.ok_or_else(|| SdpError("nothing to offer".to_owned()))?;
        let waiting = Self {
            rtc,
            pending,
            mid,
            config,
        };
        Ok((waiting, offer.to_sdp_string()))
    }

    /// Takes the server's answer: from now on it connects. Also returns the addresses, of the
    /// caller's own family, that the answer names for UDP.
    ///
    /// # Errors
    /// [`SdpError`] when the answer cannot be used.
    pub fn answer(self, now: Instant, answer: &str) -> Result<(Caller, Vec<SocketAddr>), SdpError> {
        let Self {
            mut rtc,
            pending,
            mid,
            config,
        } = self;
        let refused = |error: &dyn fmt::Display| SdpError(first_line(&error.to_string()));
        let parsed = SdpAnswer::from_sdp_string(answer).map_err(|error| refused(&error))?;
        rtc.sdp_api()
            .accept_answer(pending, parsed)
            .map_err(|error| refused(&error))?;
        let payload_type = rtc
            .media(mid)
            .and_then(|media| media.remote_pts().first().copied());
        let payload_type =
            payload_type.ok_or_else(|| SdpError("the answer takes no Opus audio".to_owned()))?;
        let caller = Caller {
            rtc,
            local: config.local,
            state: State::Connecting {
                deadline: now + SETUP_DEADLINE,
            },
            failure: None,
            rtc_deadline: now,
            answered: now,
            stages: Stages::default(),
            voice: Voice {
                mid,
                payload_type,
                // A receiver assumes that the rollover counter starts at zero (RFC 3711 §3.3.1).
                sequence: 1.into(),
            },
            talk: config.talk,
            ear: config.ear,
            reception: Reception::default(),
            echo: Echo::default(),
            heard: None,
            counts: Counts::default(),
            decrypted: false,
            channel: None,
            unsent: VecDeque::new(),
            wanted: config.wanted,
            kept: VecDeque::new(),
            round_trip: None,
            mark: None,
            delays: VecDeque::new(),
            marks_missed: 0,
        };
        let mut candidates = udp_candidates(answer);
        // With others no pair can be formed.
        candidates.retain(|candidate| candidate.is_ipv4() == config.local.is_ipv4());
        Ok((caller, candidates))
    }
}

impl Caller {
    /// Takes a datagram that arrived at `arrived`, read at `now`.
    pub fn receive(
        &mut self,
        now: Instant,
        arrived: Instant,
        source: SocketAddr,
        datagram: &[u8],
        out: &mut Outbox,
    ) {
        if self.is_over() {
            return;
        }
        self.counts.received_bytes += datagram.len() as u64;
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.local, datagram) else {
            return;
        };
        self.decrypted = false;
        if self.rtc.handle_input(Input::Receive(now, receive)).is_err() && self.is_connecting() {
            return self.fail(Failure::Dtls);
        }
        self.drain(now, arrived, out);
        if !self.decrypted
            && let Some((ssrc, sequence)) = rtp_header(datagram)
        {
            self.reception.refused(ssrc, sequence);
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        match self.state {
            State::Connecting { deadline } if deadline <= now => {
                let ice = self.stages.ice.is_some();
                return self.fail(if ice { Failure::Dtls } else { Failure::Ice });
            }
            State::Connected {
                consent_lost: Some(since),
            } if since + CONSENT_GRACE <= now => return self.fail(Failure::Lost),
            State::Closing { deadline } if deadline <= now => return self.state = State::Closed,
            _ => {}
        }
        if self.rtc_deadline <= now {
            self.pass_time(now, out);
        }
        self.talk(now, out);
    }

    /// When [`Caller::handle_timeout`] is next due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let state = match self.state {
            State::Connecting { deadline } | State::Closing { deadline } => Some(deadline),
            State::Connected { consent_lost } => consent_lost.map(|since| since + CONSENT_GRACE),
            State::Closed | State::Failed => return None,
        };
        let talk = self.talk.as_ref().and_then(Talk::deadline);
        let talk = talk.filter(|_| self.is_connected());
        let both = state.into_iter().chain(talk);
        Some(both.fold(self.rtc_deadline, Instant::min))
    }

    /// Sends a text message on the data channel, once it is open.
    pub fn send(&mut self, now: Instant, text: String, out: &mut Outbox) {
        if self.unsent.len() < MAX_UNSENT {
            self.unsent.push_back(text);
        }
        self.send_waiting();
        self.drain(now, now, out);
    }

    /// The next message that came of those that were wanted, each once.
    pub fn take_message(&mut self) -> Option<String> {
        self.kept.pop_front()
    }

    /// Closes properly: the server is told.
    pub fn hang_up(&mut self, now: Instant, out: &mut Outbox) {
        if self.is_over() || matches!(self.state, State::Closing { .. }) {
            return;
        }
        self.start_closing(now);
        if self.rtc.close().is_err() {
            self.state = State::Closed;
            return;
        }
        self.drain(now, now, out);
    }

    /// It wants nothing any more, and will not send.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Closed | State::Failed)
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Connecting { .. } => Phase::Connecting,
            State::Connected { .. } => Phase::Connected,
            State::Closing { .. } | State::Closed => Phase::Closed,
            State::Failed => Phase::Failed,
        }
    }

    /// Why it is over, if it did not hang up itself.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Begins all counts of media anew.
    pub fn measure(&mut self) {
        self.counts = Counts::default();
        self.reception.restart();
        self.echo.restart();
        self.mark = None;
        self.delays.clear();
        self.marks_missed = 0;
    }

    /// What it did since then.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            received: self.reception.received(),
            lost: self.reception.lost(),
            returned: self.echo.returned(),
            unreturned: self.echo.missing(),
            reordered: self.reception.reordered(),
            duplicated: self.reception.duplicated(),
            ..self.counts
        }
    }

    /// One datagram of it could not be sent.
    pub fn not_sent(&mut self) {
        self.counts.unsent += 1;
    }

    /// All that is known of it.
    #[must_use]
    pub fn report(&self) -> Report {
        Report {
            phase: self.phase(),
            failure: self.failure,
            stages: self.stages,
            counts: self.counts(),
            heard: self.heard,
            jitter: self.reception.jitter(),
            round_trip: self.round_trip,
            delays: self.delays.iter().copied().collect(),
            marks_missed: self.marks_missed,
        }
    }

    fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting { .. })
    }

    fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected { .. })
    }

    fn fail(&mut self, failure: Failure) {
        if !self.is_over() {
            self.failure = Some(failure);
            self.state = State::Failed;
            self.rtc.disconnect();
        }
    }

    fn start_closing(&mut self, now: Instant) {
        let deadline = now + CLOSING;
        self.state = State::Closing { deadline };
    }

    fn pass_time(&mut self, now: Instant, out: &mut Outbox) {
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            return self.broken();
        }
        self.drain(now, now, out);
    }

    /// The stack is of no more use.
    fn broken(&mut self) {
        match self.state {
            State::Closing { .. } => self.state = State::Closed,
            State::Connecting { .. } => self.fail(Failure::Dtls),
            _ => self.fail(Failure::Protocol),
        }
    }

    /// Polls until the stack waits for time.
    fn drain(&mut self, now: Instant, arrived: Instant, out: &mut Outbox) {
        for _ in 0..MAX_OUTPUTS {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(deadline)) => {
                    self.rtc_deadline = deadline;
                    if matches!(self.state, State::Closing { .. }) && !self.rtc.is_alive() {
                        self.state = State::Closed;
                    }
                    return;
                }
                Ok(Output::Transmit(transmit)) => {
                    self.counts.sent_bytes += transmit.contents.len() as u64;
                    out.packets.push((transmit.destination, transmit.contents));
                }
                Ok(Output::Event(event)) => self.handle(now, arrived, event, out),
                Err(_) => return self.broken(),
            }
        }
        self.broken();
    }

    fn handle(&mut self, now: Instant, arrived: Instant, event: Event, out: &mut Outbox) {
        let since = now.saturating_duration_since(self.answered);
        match event {
            Event::RtpPacket(packet) => self.hear(arrived, &packet, out),
            Event::PeerStats(stats) => {
                let pair = stats.selected_candidate_pair;
                let round_trip = pair.and_then(|pair| pair.current_round_trip_time);
                self.round_trip = round_trip.or(self.round_trip);
            }
            Event::IceConnectionStateChange(ice) => {
                if ice.is_connected() {
                    self.stages.ice.get_or_insert(since);
                }
                if let State::Connected { consent_lost } = &mut self.state {
                    *consent_lost = (ice == IceConnectionState::Disconnected).then_some(now);
                }
            }
            Event::Connected if self.is_connecting() => {
                self.stages.connected = Some(since);
                self.state = State::Connected { consent_lost: None };
                if let Some(talk) = &mut self.talk {
                    talk.begin(now);
                }
            }
            Event::ChannelOpen(id, _) if self.channel.is_none() => {
                self.stages.channel.get_or_insert(since);
                self.channel = Some(id);
                self.send_waiting();
            }
            Event::ChannelData(data) if Some(data.id) == self.channel => {
                self.counts.messages += 1;
                self.keep(data.data);
            }
            Event::ChannelClose(id) if Some(id) == self.channel => self.channel = None,
            Event::Closed if !matches!(self.state, State::Closing { .. }) => {
                self.failure = Some(Failure::ClosedByServer);
                self.start_closing(now);
            }
            _ => {}
        }
    }

    fn hear(&mut self, arrived: Instant, packet: &RtpPacket, out: &mut Outbox) {
        self.decrypted = true;
        let since = arrived.saturating_duration_since(self.answered);
        self.stages.audio.get_or_insert(since);
        let ticks = opus::packet::get_nb_samples(&packet.payload, 48_000).unwrap_or(0);
        let arrival = Arrival {
            at: arrived,
            ssrc: *packet.header.ssrc,
            sequence: *packet.seq_no,
            rtp_time: packet.time.numer(),
            ticks: ticks as u32,
        };
        match self.reception.arrived(arrival) {
            Order::First => {}
            Order::Next(gap) => out.gaps.add(gap),
            Order::Late => return self.echo.came_late(),
            Order::Again => return,
        }
        self.echo.came(&packet.payload);
        let first = self.heard.map_or(arrived, |(first, _)| first);
        self.heard = Some((first, arrived));
        let ear = self.ear.as_mut();
        let onset = ear.and_then(|ear| ear.hear(arrived, &packet.payload));
        if let Some(onset) = onset
            && let Some(sent) = self.mark.take()
        {
            if self.delays.len() == MAX_DELAYS {
                self.delays.pop_front();
            }
            self.delays
                .push_back(onset.at.saturating_duration_since(sent));
        }
    }

    /// Sends the packets that are due.
    fn talk(&mut self, now: Instant, out: &mut Outbox) {
        while self.is_connected() {
            let Some(talk) = &mut self.talk else { return };
            let due = talk.tick(now);
            self.counts.late += talk.take_late();
            let Some(due) = due else { return };
            if due.mark && self.ear.is_some() && self.mark.replace(now).is_some() {
                self.marks_missed += 1;
            }
            let Voice {
                mid,
                payload_type,
                sequence,
            } = &mut self.voice;
            let payload = Arc::clone(due.packet.payload());
            self.echo.sent(Sent {
                payload: Arc::clone(&payload),
                alone: due.alone,
            });
            let write = RtpWrite::new(*payload_type, sequence.inc(), due.rtp_time, now, payload);
            let mut direct = self.rtc.direct_api();
            if let Some(stream) = direct.stream_tx_by_mid(*mid, None) {
                stream.write_rtp(write.marker(due.first));
                self.counts.sent += 1;
            }
            // The stack sends what was written when time passes, be it none.
            self.pass_time(now, out);
        }
    }

    /// Keeps a message that is wanted, as far as there is room.
    fn keep(&mut self, message: Vec<u8>) {
        let Some(wanted) = &self.wanted else { return };
        if self.kept.len() == MAX_KEPT || message.len() > MAX_KEPT_BYTES {
            return;
        }
        if let Ok(text) = String::from_utf8(message)
            && text.contains(&**wanted)
        {
            self.kept.push_back(text);
        }
    }

    fn send_waiting(&mut self) {
        let Some(mut channel) = self.channel.and_then(|id| self.rtc.channel(id)) else {
            return;
        };
        while let Some(text) = self.unsent.front() {
            if !matches!(channel.write(false, text.as_bytes()), Ok(true)) {
                return;
            }
            self.unsent.pop_front();
        }
    }
}

/// SSRC and sequence number of an RTP packet, which are not encrypted.
fn rtp_header(datagram: &[u8]) -> Option<(u32, u16)> {
    // RTCP's packet types, as they look there (RFC 5761 §4).
    let is_rtcp = (64..96).contains(&(datagram.get(1)? & 0x7F));
    if demux::kind(datagram) != Some(Kind::Rtp) || is_rtcp {
        return None;
    }
    let sequence = u16::from_be_bytes(datagram.get(2..4)?.try_into().ok()?);
    let ssrc = u32::from_be_bytes(datagram.get(8..12)?.try_into().ok()?);
    Some((ssrc, sequence))
}

/// The transport addresses of an answer's UDP candidates (RFC 8839 §5.1).
fn udp_candidates(answer: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.strip_prefix("a=candidate:")?.split_ascii_whitespace();
        let is_udp = words.nth(2)?.eq_ignore_ascii_case("udp");
        let ip = words.nth(1)?.parse().ok().filter(|_| is_udp)?;
        Some(SocketAddr::new(ip, words.next()?.parse().ok()?))
    };
    let mut addresses = answer.lines().filter_map(address).collect::<Vec<_>>();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// A parser's error goes on for lines; the first says it.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}
