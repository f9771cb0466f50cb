//! One peer from offer to close: an `Rtc`, its paths, what it hears and says.
//!
//! Invariant *one mutation, then drain*: str0m wants every mutation followed by `poll_output`
//! until it asks for a time-out. [`Session::drain`] is the only place that polls, and every
//! public method ends in it. Time and packets come in as arguments; packets and events go out
//! through an [`Outbox`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use firsthop_wire::demux::{self, Kind};
use firsthop_wire::hop::Flags;
use firsthop_wire::stun::{Binding, Class};
use str0m::change::SdpOffer;
use str0m::channel::ChannelId;
use str0m::config::{DtlsCert, DtlsVersion};
use str0m::ice::IceCreds;
use str0m::media::{MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap, RtpWrite, SeqNo, Ssrc};
use str0m::{IceConnectionState, Input, Output, Rtc, RtcConfig, RtcError};

use crate::answer;
use crate::candidate;
use crate::event::{CloseReason, Event, SessionId, UtteranceId};
use crate::offer::{self, OfferError};
use crate::packet::OpusPacket;
use crate::path::{PathKey, Paths, Route, Standing};
use crate::playout::{Packet, Progress, QueueFull};
use crate::sound::{Hearing, Sound, Speaking};

/// From the answer to the end of the DTLS handshake.
const SETUP_DEADLINE: Duration = Duration::from_secs(15);
/// Without any answer to our checks, after the ICE agent has already waited for several.
const CONSENT_GRACE: Duration = Duration::from_secs(10);
/// What closing has to say (RTCP BYE, DTLS close_notify) is said within this.
const CLOSING: Duration = Duration::from_millis(200);
/// Messages and their fragments stay below any path's MTU, IPv6 tunnels included.
const MTU: usize = 1200;
/// Largest data channel message that a client may send, in bytes.
const MAX_MESSAGE: u32 = 256 * 1024;
/// Messages that the client has not acknowledged, in bytes: minutes of events. More is lost.
const MAX_UNACKNOWLEDGED: usize = 1 << 20;
/// Outputs of one drain, far above what a mutation causes: beyond, the stack is going in circles.
const MAX_OUTPUTS: usize = 10_000;

/// What a new session needs besides the offer.
pub struct SessionConfig<'a> {
    /// Its name.
    pub id: SessionId,
    /// Our half of the ICE credentials; the ufrag is the routing token.
    pub credentials: IceCreds,
    /// The addresses that the answer names, most preferred first: the relay's.
    pub advertised: &'a [SocketAddr],
    /// The relay's addresses for clients that cannot send UDP, most preferred first, and less than
    /// all of `advertised`.
    pub advertised_tcp: &'a [SocketAddr],
    /// Shared by all sessions: making one costs milliseconds.
    pub certificate: DtlsCert,
    /// How its sound is handed over and taken.
    pub sound: Sound,
}

/// Where a session puts what leaves it.
#[derive(Default)]
pub struct Outbox {
    /// Datagrams for clients, in order.
    pub packets: Vec<Outgoing>,
    /// Events for the owner of the engine, in order.
    pub events: Vec<Event>,
    /// Paths whose standing rose: the shard maps them to the session.
    pub paths: Vec<(PathKey, Standing)>,
    /// Paths that the session keeps no more.
    pub forgotten: Vec<PathKey>,
}

/// One datagram for a client.
#[derive(Debug)]
pub struct Outgoing {
    /// How it travels.
    pub route: Route,
    /// What the relay may conclude from it.
    pub flags: Flags,
    /// STUN, DTLS, SRTP or SRTCP.
    pub packet: Vec<u8>,
}

/// Counts of one session that the shard adds up. Taken with [`Session::take_counts`].
#[derive(Debug, Default, Clone, Copy)]
pub struct SessionCounts {
    /// Datagrams that no protocol of ours could be made of.
    pub malformed: u64,
    /// From an address that has not proved itself, or to one beyond its allowance.
    pub unproved: u64,
    /// Data channel messages that are not UTF-8 text.
    pub not_text: u64,
    /// Messages for a data channel that could not take them.
    pub not_sent: u64,
}

enum State {
    SettingUp {
        deadline: Instant,
    },
    Connected {
        consent_lost: Option<Instant>,
    },
    Closing {
        reason: CloseReason,
        deadline: Instant,
    },
    Closed,
}

struct Voice {
    mid: Mid,
    payload_type: Pt,
    sequence: SeqNo,
}

/// One WebRTC session.
pub struct Session {
    id: SessionId,
    rtc: Rtc,
    ufrag: String,
    /// Where packets arrive as far as the ICE agent knows, most preferred first.
    advertised: Vec<(Protocol, SocketAddr)>,
    state: State,
    rtc_deadline: Instant,
    paths: Paths,
    voice: Option<Voice>,
    channel: Option<ChannelId>,
    hearing: Hearing,
    /// The stream that is heard: each has its own sequence numbers and clock.
    heard: Option<Ssrc>,
    speaking: Speaking,
    /// Set when SRTP let a packet through: it came from the client, by whatever relay.
    authenticated: bool,
    counts: SessionCounts,
}

/// Why an offer did not become a session.
#[derive(Debug)]
pub enum AcceptError {
    /// The offer is wrong.
    Offer(OfferError),
    /// Something of ours is.
    Internal(String),
}

impl From<OfferError> for AcceptError {
    fn from(error: OfferError) -> Self {
        Self::Offer(error)
    }
}

impl Session {
    /// Accepts `offer`; returns the session and the answer.
    ///
    /// # Errors
    /// [`AcceptError::Offer`] when the client is to blame.
    pub fn accept(
        now: Instant,
        offer: &str,
        config: SessionConfig<'_>,
    ) -> Result<(Self, String), AcceptError> {
        let checked = offer::check(offer)?;
        let refused = |message: String| OfferError {
            line: None,
            message,
        };
        let offer = SdpOffer::from_sdp_string(&checked)
            .map_err(|error| refused(first_line(&error.to_string())))?;

        let ufrag = config.credentials.ufrag.clone();
        let mut rtc = rtc_config(config.credentials, config.certificate).build(now);
        let mut advertised = Vec::new();
        let udp = config.advertised.iter();
        let udp = udp.map(|&address| (Protocol::Udp, address, candidate::udp(address)));
        let tcp = config.advertised_tcp.iter().enumerate();
        let tcp = tcp.map(|(index, &address)| {
            let candidate = candidate::tcp_passive(index, address);
            (Protocol::Tcp, address, candidate)
        });
        for (protocol, address, candidate) in udp.chain(tcp) {
            let candidate =
                candidate.map_err(|error| AcceptError::Internal(format!("{address}: {error}")))?;
            rtc.add_local_candidate(candidate);
            advertised.push((protocol, address));
        }
        let answer = rtc
            .sdp_api()
            .accept_offer(offer)
            .map_err(|error| refused(first_line(&error.to_string())))?
            .to_sdp_string();
        let answer = answer::with_inactive_video(&checked, &answer);
        // An m-line that cannot be served is answered with port 0 (RFC 3264 §6).
        if answer.contains("\r\nm=audio 0 ") {
            return Err(refused("no Opus payload type on the m=audio line".to_owned()).into());
        }

        let opus = |error: opus::Error| AcceptError::Internal(format!("libopus: {error}"));
        let session = Self {
            id: config.id,
            rtc,
            ufrag,
            advertised,
            state: State::SettingUp {
                deadline: now + SETUP_DEADLINE,
            },
            rtc_deadline: now,
            paths: Paths::new(now),
            voice: None,
            channel: None,
            hearing: Hearing::new(config.sound).map_err(opus)?,
            heard: None,
            speaking: Speaking::new(config.sound),
            authenticated: false,
            counts: SessionCounts::default(),
        };
        Ok((session, answer))
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The server ufrag by which a client's checks find it.
    #[must_use]
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// Over: it wants nothing any more, and [`Event::Closed`] was its last event.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected { .. })
    }

    fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing { .. } | State::Closed)
    }

    /// All paths that the session keeps.
    pub fn paths(&self) -> impl Iterator<Item = PathKey> {
        self.paths.keys()
    }

    /// When [`Session::handle_timeout`] is next due.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let state = match self.state {
            State::SettingUp { deadline } | State::Closing { deadline, .. } => Some(deadline),
            State::Connected { consent_lost } => consent_lost.map(|since| since + CONSENT_GRACE),
            State::Closed => None,
        };
        let speech = self.speaking.deadline();
        let speech = speech.filter(|_| self.is_connected());
        [state, speech, self.hearing.deadline()]
            .into_iter()
            .flatten()
            .fold(self.rtc_deadline, Instant::min)
    }

    /// Takes a datagram that the demultiplexer assigned to this session.
    pub fn receive(&mut self, now: Instant, route: Route, packet: &[u8], out: &mut Outbox) {
        out.forgotten
            .extend(self.paths.received(route, packet.len()));
        match demux::kind(packet) {
            Some(Kind::Stun) => self.receive_stun(now, route, packet, out),
            Some(Kind::Dtls | Kind::Rtp) => match self.paths.standing(route) {
                Some(Standing::Proved) => self.feed(now, route, packet, out),
                Some(Standing::Confirmed) if self.paths.park(route, packet) => {}
                _ => self.counts.unproved += 1,
            },
            _ => self.counts.malformed += 1,
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        match self.state {
            State::SettingUp { deadline } if deadline <= now => {
                return self.close(now, CloseReason::SetupTimeout, out);
            }
            State::Connected {
                consent_lost: Some(since),
            } if since + CONSENT_GRACE <= now => {
                return self.close(now, CloseReason::ConsentLost, out);
            }
            State::Closing { reason, deadline } if deadline <= now => {
                return self.finish(reason, out);
            }
            _ => {}
        }
        if self.rtc_deadline <= now {
            self.pass_time(now, out);
        }
        if self.is_closed() {
            return;
        }
        self.hearing.handle_timeout(now);
        self.hand_over_sound(out);
        self.speak(now, out);
    }

    /// Says `pcm` as (the next part of) `utterance`. What is said before the client is connected
    /// waits for it; what is said to a session that closes is ignored. Of an utterance in a form
    /// that is not the session's nothing is played, and so it is reported.
    ///
    /// # Errors
    /// [`QueueFull`] when too much already waits.
    pub fn play(
        &mut self,
        now: Instant,
        utterance: UtteranceId,
        pcm: &[i16],
        complete: bool,
        out: &mut Outbox,
    ) -> Result<(), QueueFull> {
        if self.is_closing() {
            return Ok(());
        }
        let Ok(taken) = self.speaking.play(now, utterance, pcm, complete) else {
            self.close(now, CloseReason::InternalError, out);
            return Ok(());
        };
        self.speak(now, out);
        taken
    }

    /// Says `packets`, as [`Session::play`] does PCM.
    ///
    /// # Errors
    /// [`QueueFull`] when too much already waits.
    pub fn play_opus(
        &mut self,
        now: Instant,
        utterance: UtteranceId,
        packets: Vec<OpusPacket>,
        complete: bool,
        out: &mut Outbox,
    ) -> Result<(), QueueFull> {
        if self.is_closing() {
            return Ok(());
        }
        let taken = self.speaking.play_opus(now, utterance, packets, complete);
        self.speak(now, out);
        taken
    }

    /// Stops speaking at once; the events tell what was played of each utterance.
    pub fn flush(&mut self, now: Instant, out: &mut Outbox) {
        self.speaking.flush();
        self.speak(now, out);
    }

    /// Sends one text message on the client's data channel. It is lost, and counted, while the
    /// channel is not open, and when the client has stopped taking messages.
    pub fn send(&mut self, now: Instant, text: &str, out: &mut Outbox) {
        let channel = self.channel.and_then(|id| self.rtc.channel(id));
        let written = channel.map(|mut channel| channel.write(false, text.as_bytes()));
        if !matches!(written, Some(Ok(true))) {
            self.counts.not_sent += 1;
        }
        self.drain(now, out);
    }

    /// Ends the session: the client is told, the relay forgets its flows.
    pub fn close(&mut self, now: Instant, reason: CloseReason, out: &mut Outbox) {
        if self.is_closing() {
            return;
        }
        self.start_closing(now, reason, out);
        if self.rtc.close().is_err() {
            return self.finish(reason, out);
        }
        self.drain(now, out);
    }

    /// Ends the session without a further word from its stack, which has panicked.
    pub fn abandon(&mut self, out: &mut Outbox) {
        self.finish(CloseReason::InternalError, out);
    }

    /// The counts since the last call.
    pub fn take_counts(&mut self) -> SessionCounts {
        std::mem::take(&mut self.counts)
    }

    fn receive_stun(&mut self, now: Instant, route: Route, packet: &[u8], out: &mut Outbox) {
        let Ok(binding) = Binding::parse(packet) else {
            self.counts.malformed += 1;
            return;
        };
        if binding.class == Class::BindingRequest {
            if !self.paths.admits(now, route.client) {
                self.counts.unproved += 1;
                return;
            }
            self.paths
                .request(binding.transaction, route, binding.use_candidate);
        }
        let parked = match binding.class {
            Class::BindingSuccess => self.paths.check_answered(binding.transaction, route),
            _ => None,
        };
        self.feed(now, route, packet, out);
        if let Some(parked) = parked {
            out.paths.push((route.path(), Standing::Proved));
            for packet in parked {
                self.feed(now, route, &packet, out);
            }
        }
    }

    /// Gives one datagram to the WebRTC stack.
    fn feed(&mut self, now: Instant, route: Route, packet: &[u8], out: &mut Outbox) {
        // One destination per address family: which of the relay's addresses the client used, and
        // whether by UDP or TCP, makes no difference to ICE here, since all lead to this socket.
        let ipv4 = route.client.is_ipv4();
        let mut advertised = self.advertised.iter();
        let Some(&(protocol, destination)) = advertised.find(|(_, a)| a.is_ipv4() == ipv4) else {
            self.counts.unproved += 1;
            return;
        };
        let receive = Receive::new(protocol, route.client, destination, packet);
        let Ok(receive) = receive else {
            self.counts.malformed += 1;
            return;
        };
        self.authenticated = false;
        if self.rtc.handle_input(Input::Receive(now, receive)).is_err() {
            // A handshake does not recover; but no single datagram ends a call (RFC 9147 §4.5.2).
            if matches!(self.state, State::SettingUp { .. }) {
                return self.close(now, CloseReason::ProtocolError, out);
            }
            self.counts.malformed += 1;
        }
        self.drain(now, out);
        if self.authenticated {
            self.paths.move_to(route);
        }
    }

    fn pass_time(&mut self, now: Instant, out: &mut Outbox) {
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            return self.close(now, CloseReason::ProtocolError, out);
        }
        self.drain(now, out);
    }

    /// Polls until the stack waits for time.
    fn drain(&mut self, now: Instant, out: &mut Outbox) {
        for _ in 0..MAX_OUTPUTS {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(deadline)) => {
                    self.rtc_deadline = deadline;
                    if let State::Closing { reason, .. } = self.state
                        && !self.rtc.is_alive()
                    {
                        self.finish(reason, out);
                    }
                    return;
                }
                Ok(Output::Transmit(transmit)) => {
                    self.transmit(transmit.destination, Vec::from(transmit.contents), out);
                }
                Ok(Output::Event(event)) => self.handle(now, event, out),
                // Of SCTP only the closing fails: the client left while its channel was not up yet.
                Err(RtcError::Sctp(_)) => return self.finish(CloseReason::ClientClosed, out),
                Err(_) => return self.finish(CloseReason::ProtocolError, out),
            }
        }
        self.finish(CloseReason::InternalError, out);
    }

    fn transmit(&mut self, client: SocketAddr, packet: Vec<u8>, out: &mut Outbox) {
        if demux::kind(&packet) != Some(Kind::Stun) {
            return match self.paths.media(client) {
                Some(route) => self.transmit_by(route, packet, out),
                None => self.counts.unproved += 1,
            };
        }
        let binding = Binding::parse(&packet).ok();
        match binding.map(|binding| (binding.class, binding.transaction)) {
            Some((Class::BindingSuccess, transaction)) => {
                let Some((route, confirmed)) = self.paths.answered(transaction, client) else {
                    self.counts.unproved += 1;
                    return;
                };
                let path = (route.path(), Standing::Confirmed);
                out.paths.extend(confirmed.then_some(path));
                self.transmit_by(route, packet, out);
            }
            class => {
                // By every path from there: one answer proves one of them.
                for route in self.paths.routes(client) {
                    if let Some((Class::BindingRequest, transaction)) = class {
                        self.paths.check(transaction, route);
                    }
                    self.transmit_by(route, packet.clone(), out);
                }
            }
        }
    }

    fn transmit_by(&mut self, route: Route, packet: Vec<u8>, out: &mut Outbox) {
        match self.paths.spend(route, packet.len()) {
            Some((route, standing)) => {
                out.packets.push(Outgoing {
                    route,
                    flags: flags(standing),
                    packet,
                });
            }
            None => self.counts.unproved += 1,
        }
    }

    fn handle(&mut self, now: Instant, event: str0m::Event, out: &mut Outbox) {
        match event {
            str0m::Event::Connected if matches!(self.state, State::SettingUp { .. }) => {
                self.state = State::Connected { consent_lost: None };
                out.events.push(Event::Connected { session: self.id });
            }
            str0m::Event::IceConnectionStateChange(ice) => {
                if let State::Connected { consent_lost } = &mut self.state {
                    *consent_lost = (ice == IceConnectionState::Disconnected).then_some(now);
                }
            }
            str0m::Event::MediaAdded(media) if media.kind == MediaKind::Audio => {
                self.add_voice(media.mid);
            }
            str0m::Event::RtpPacket(packet) => {
                self.authenticated = true;
                let voice = self.voice.as_ref();
                let opus = voice.is_some_and(|v| v.payload_type == packet.header.payload_type);
                if opus && !packet.payload.is_empty() {
                    if self.heard.replace(packet.header.ssrc) != Some(packet.header.ssrc) {
                        self.hearing.restart(now);
                    }
                    let (sequence, time) = (*packet.seq_no, packet.time.numer());
                    if !self.hearing.push(now, sequence, time, packet.payload) {
                        self.counts.malformed += 1;
                    }
                    self.hand_over_sound(out);
                }
            }
            // One channel per session: the first that opens.
            str0m::Event::ChannelOpen(id, label) if self.channel.is_none() => {
                self.channel = Some(id);
                out.events.push(Event::ChannelOpen {
                    session: self.id,
                    label,
                });
            }
            str0m::Event::ChannelData(data) if Some(data.id) == self.channel => {
                match String::from_utf8(data.data) {
                    Ok(text) => out.events.push(Event::Message {
                        session: self.id,
                        text,
                    }),
                    Err(_) => self.counts.not_text += 1,
                }
            }
            str0m::Event::ChannelClose(id) if Some(id) == self.channel => self.channel = None,
            str0m::Event::Closed if !self.is_closing() => {
                self.start_closing(now, CloseReason::ClientClosed, out);
            }
            _ => {}
        }
    }

    fn add_voice(&mut self, mid: Mid) {
        let Some(media) = self.rtc.media(mid).filter(|_| self.voice.is_none()) else {
            return;
        };
        let Some(&payload_type) = media.remote_pts().first() else {
            return;
        };
        // A receiver assumes that the rollover counter starts at zero (RFC 3711 §3.3.1).
        self.voice = Some(Voice {
            mid,
            payload_type,
            sequence: 1.into(),
        });
    }

    fn hand_over_sound(&mut self, out: &mut Outbox) {
        while let Some(event) = self.hearing.poll(self.id) {
            out.events.push(event);
        }
    }

    /// Sends the packets that are due, and reports what became of the utterances.
    fn speak(&mut self, now: Instant, out: &mut Outbox) {
        while self.is_connected() {
            match self.speaking.tick(now) {
                Ok(Some(packet)) => {
                    if let Some(voice) = &mut self.voice {
                        let Packet {
                            rtp_time,
                            marker,
                            payload,
                        } = packet;
                        let sequence = voice.sequence.inc();
                        let write =
                            RtpWrite::new(voice.payload_type, sequence, rtp_time, now, payload);
                        let mut direct = self.rtc.direct_api();
                        if let Some(stream) = direct.stream_tx_by_mid(voice.mid, None) {
                            stream.write_rtp(write.marker(marker));
                        }
                    }
                    // The stack sends what was written when time passes, be it none.
                    self.pass_time(now, out);
                }
                Ok(None) => break,
                Err(_) => return self.close(now, CloseReason::InternalError, out),
            }
        }
        self.report(out);
    }

    /// Tells what became of the utterances.
    fn report(&mut self, out: &mut Outbox) {
        let session = self.id;
        while let Some(progress) = self.speaking.poll_progress() {
            out.events.push(match progress {
                Progress::Started(utterance) => Event::PlayoutStarted { session, utterance },
                Progress::Ended {
                    utterance,
                    played_ms,
                    interrupted,
                } => Event::PlayoutEnded {
                    session,
                    utterance,
                    played_ms,
                    interrupted,
                },
            });
        }
    }

    /// Nothing is said any more: the owner hears how far the agent came.
    fn start_closing(&mut self, now: Instant, reason: CloseReason, out: &mut Outbox) {
        let deadline = now + CLOSING;
        self.state = State::Closing { reason, deadline };
        self.silence(out);
    }

    fn silence(&mut self, out: &mut Outbox) {
        self.speaking.flush();
        self.report(out);
    }

    /// The last step: the relay forgets, the owner hears.
    fn finish(&mut self, reason: CloseReason, out: &mut Outbox) {
        if self.is_closed() {
            return;
        }
        let reason = match self.state {
            State::Closing { reason, .. } => reason,
            _ => reason,
        };
        self.silence(out);
        self.state = State::Closed;
        for (route, standing) in self.paths.confirmed() {
            let flags = flags(standing) | Flags::RELEASE;
            out.packets.push(Outgoing {
                route,
                flags,
                packet: Vec::new(),
            });
        }
        out.events.push(Event::Closed {
            session: self.id,
            reason,
        });
    }
}

fn flags(standing: Standing) -> Flags {
    match standing {
        Standing::Seen => Flags::default(),
        Standing::Confirmed => Flags::CONFIRM,
        Standing::Proved => Flags::CONFIRM | Flags::PATH,
    }
}

fn rtc_config(credentials: IceCreds, certificate: DtlsCert) -> RtcConfig {
    // No transport-cc: for audio alone its 50 ms timer costs more than it tells.
    let mut extensions = ExtensionMap::empty();
    extensions.set(1, Extension::AudioLevel);
    extensions.set(4, Extension::RtpMid);
    RtcConfig::new()
        .set_local_ice_credentials(credentials)
        .set_dtls_cert(certificate)
        .set_dtls_version(DtlsVersion::Auto)
        .clear_codecs()
        .enable_opus(true, false)
        .set_extension_map(extensions)
        .set_rtp_mode(true)
        .set_rtcp_report_interval_audio(Duration::from_secs(1))
        .set_sctp_max_message_size(MAX_MESSAGE)
        .set_sctp_max_buffered_amount(MAX_UNACKNOWLEDGED)
        .set_mtu(MTU..=usize::MAX)
}

/// A parser's error goes on for lines; the first says it.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}
