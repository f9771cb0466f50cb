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
use firsthop_wire::stun::{Binding, Class, TransactionId};
use str0m::channel::ChannelId;
use str0m::ice::IceCreds;
use str0m::media::MediaKind;
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpPacket;
use str0m::{Input, Output, Rtc, RtcError};

use crate::codec::Codec;
use crate::event::{CloseReason, Event, SessionId, UtteranceId};
use crate::lately::Lately;
use crate::negotiation::{self, Beginning};
pub use crate::negotiation::{AcceptError, SessionConfig};
use crate::offer::OfferError;
use crate::packet::OpusPacket;
use crate::path::{PathKey, Paths, Route, Standing};
use crate::playout::{Progress, QueueFull};
use crate::sound::{Hearing, Speaking};
use crate::voices::{Heard, Voices};

/// From the answer to the end of the DTLS handshake.
const SETUP_DEADLINE: Duration = Duration::from_secs(15);
/// Without an answer to our checks, the client has taken back its consent (RFC 7675 §5.1).
const CONSENT: Duration = Duration::from_secs(30);
/// What closing has to say (RTCP BYE, DTLS close_notify) is said within this.
const CLOSING: Duration = Duration::from_millis(200);
/// Outputs of one drain, far above what a mutation causes: beyond, the stack is going in circles.
const MAX_OUTPUTS: usize = 10_000;

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
    /// Server ufrags that the session goes by no more.
    pub ufrags: Vec<String>,
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
    Connected,
    Closing {
        reason: CloseReason,
        deadline: Instant,
    },
    Closed,
}

/// What SRTP said of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Authentic {
    /// It did not let it through, or had no say.
    No,
    /// It came from the client, by whatever relay.
    Yes,
    /// And none with a higher number came before.
    Newest,
}

/// A check that the ICE agent made.
struct Check {
    client: SocketAddr,
    transaction: TransactionId,
    packet: Vec<u8>,
}

/// One WebRTC session.
pub struct Session {
    id: SessionId,
    rtc: Rtc,
    /// The server ufrags by which checks find it, the latest last: after an ICE restart the client
    /// goes on with the one before until it has read the answer.
    ufrags: Vec<String>,
    /// Where packets arrive as far as the ICE agent knows, most preferred first.
    advertised: Vec<(Protocol, SocketAddr)>,
    state: State,
    rtc_deadline: Instant,
    paths: Paths,
    /// The ICE agent's latest check, for paths that show up after it.
    asked: Option<Check>,
    /// Media that may not have arrived when the client moves to another relay.
    lately: Lately,
    /// When the client last answered a check.
    consent: Instant,
    voices: Voices,
    channel: Option<ChannelId>,
    codec: Codec,
    hearing: Hearing,
    /// The utterance that is what the client says, sent back as it comes.
    mirror: Option<UtteranceId>,
    speaking: Speaking,
    /// What SRTP said of the packet at hand.
    authentic: Authentic,
    /// The highest sequence number heard of the stream.
    newest: u64,
    counts: SessionCounts,
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
        let (id, sound) = (config.id, config.sound);
        let ufrag = config.credentials.ufrag.clone();
        let udp = config.advertised.iter().map(|&udp| (Protocol::Udp, udp));
        let tcp = config.advertised_tcp.iter();
        let tcp = tcp.map(|&tcp| (Protocol::Tcp, tcp));
        let advertised = udp.chain(tcp).collect();
        let Beginning { rtc, answer, codec } = negotiation::begin(now, offer, config)?;
        let session = Self {
            id,
            rtc,
            ufrags: vec![ufrag],
            advertised,
            state: State::SettingUp {
                deadline: now + SETUP_DEADLINE,
            },
            rtc_deadline: now,
            paths: Paths::new(now),
            asked: None,
            lately: Lately::default(),
            consent: now,
            voices: Voices::default(),
            channel: None,
            codec,
            hearing: Hearing::new(codec, sound),
            mirror: None,
            speaking: Speaking::new(codec, sound),
            authentic: Authentic::No,
            newest: 0,
            counts: SessionCounts::default(),
        };
        Ok((session, answer))
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The server ufrags by which a client's checks find it, the latest last.
    #[must_use]
    pub fn ufrags(&self) -> &[String] {
        &self.ufrags
    }

    /// Over: it wants nothing any more, and [`Event::Closed`] was its last event.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// When it is time to say goodbye, so that all is over when consent is.
    fn consent_ends(&self) -> Instant {
        self.consent + CONSENT - CLOSING
    }

    fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected)
    }

    fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing { .. } | State::Closed)
    }

    /// Whether a check of this session has that transaction and went by the path of `route`.
    #[must_use]
    pub fn has_asked(&self, transaction: TransactionId, route: Route) -> bool {
        self.paths.is_check(transaction, route)
    }

    /// All paths that the session keeps.
    pub fn paths(&self) -> impl Iterator<Item = PathKey> {
        self.paths.keys()
    }

    /// When the stack next wants time for what need not be exact, if that is all it wants it for:
    /// reports, checks, retransmissions of a session that is connected.
    #[must_use]
    pub fn housekeeping(&self) -> Option<Instant> {
        self.is_connected().then_some(self.rtc_deadline)
    }

    /// When [`Session::handle_timeout`] is next due, [`Session::housekeeping`] apart.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let state = match self.state {
            State::SettingUp { deadline } | State::Closing { deadline, .. } => {
                deadline.min(self.rtc_deadline)
            }
            State::Connected => self.consent_ends(),
            State::Closed => self.rtc_deadline,
        };
        let speech = self.speaking.deadline();
        let speech = speech.filter(|_| self.is_connected());
        let sound = [speech, self.hearing.deadline()];
        sound.into_iter().flatten().fold(state, Instant::min)
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
        self.follow(now, out);
    }

    /// Leaves the path of `route`, whose edge relay is silent, if there is another. Returns whether
    /// that is news.
    pub fn lost(&mut self, route: Route) -> bool {
        self.paths.lost(route)
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        match self.state {
            State::SettingUp { deadline } if deadline <= now => {
                return self.close(now, CloseReason::SetupTimeout, out);
            }
            State::Connected if self.consent_ends() <= now => {
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
        self.hand_over_sound(now, out);
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

    /// Says what the client says, packet by packet, as `utterance`, until a flush. Of a session whose
    /// sound is PCM nothing is sent back, and so it is reported.
    pub fn mirror(&mut self, now: Instant, utterance: UtteranceId, out: &mut Outbox) {
        if self.is_closing() {
            return;
        }
        // A place in the queue, before there are packets. It holds nothing, so there is room.
        let _ = self.speaking.play_opus(now, utterance, Vec::new(), false);
        self.mirror = self.hearing.is_opus().then_some(utterance);
        self.speak(now, out);
    }

    /// Stops speaking at once; the events tell what was played of each utterance.
    pub fn flush(&mut self, now: Instant, out: &mut Outbox) {
        self.mirror = None;
        self.speaking.flush();
        self.speak(now, out);
    }

    /// Answers an offer in mid-call, by [`Event::Renegotiated`]: other m-lines, or an ICE restart,
    /// for which `credentials` become ours. A ufrag that goes out of use is put into `out`.
    pub fn renegotiate(
        &mut self,
        now: Instant,
        offer: &str,
        credentials: IceCreds,
        out: &mut Outbox,
    ) {
        let ufrag = credentials.ufrag.clone();
        let answered = if self.is_closing() {
            Err(OfferError::over())
        } else {
            negotiation::again(&mut self.rtc, self.codec, offer, credentials)
        };
        let answer = answered.map(|(answer, restarted)| {
            if restarted {
                self.ufrags.push(ufrag);
                // One before the current is enough: clients read their answers in order.
                if self.ufrags.len() > 2 {
                    out.ufrags.push(self.ufrags.remove(0));
                }
            }
            answer
        });
        out.events.push(Event::Renegotiated {
            session: self.id,
            answer,
        });
        self.drain(now, out);
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
        let mut parked = None;
        if binding.class == Class::BindingSuccess && self.paths.is_check(binding.transaction, route)
        {
            self.consent = now;
            parked = self.paths.check_answered(binding.transaction, route);
        }
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
        self.authentic = Authentic::No;
        if self.rtc.handle_input(Input::Receive(now, receive)).is_err() {
            // A handshake does not recover; but no single datagram ends a call (RFC 9147 §4.5.2).
            if matches!(self.state, State::SettingUp { .. }) {
                return self.close(now, CloseReason::ProtocolError, out);
            }
            self.counts.malformed += 1;
        }
        self.drain(now, out);
        if self.mirror.is_some() {
            self.speak(now, out);
        }
        match self.authentic {
            Authentic::No if demux::kind(packet) == Some(Kind::Rtp) => {
                self.voices.disown(&mut self.rtc, packet);
            }
            Authentic::No => {}
            authentic => self.paths.move_to(route, authentic == Authentic::Newest),
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
                    let packet = Vec::from(transmit.contents);
                    self.transmit(now, transmit.destination, packet, out);
                }
                Ok(Output::Event(event)) => self.handle(now, event, out),
                // Of SCTP only the closing fails: the client left while its channel was not up yet.
                Err(RtcError::Sctp(_)) => return self.finish(CloseReason::ClientClosed, out),
                Err(_) => return self.finish(CloseReason::ProtocolError, out),
            }
        }
        self.finish(CloseReason::InternalError, out);
    }

    fn transmit(&mut self, now: Instant, client: SocketAddr, packet: Vec<u8>, out: &mut Outbox) {
        let kind = demux::kind(&packet);
        if kind != Some(Kind::Stun) {
            return match self.paths.media(client) {
                Some(route) => {
                    let latest = self.paths.latest(route).unwrap_or(route);
                    if kind == Some(Kind::Rtp) {
                        self.lately.sent(now, latest, &packet);
                    }
                    self.transmit_by(latest, packet, out);
                }
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
                self.ask_again(route, out);
            }
            class => {
                // By every path from there: one answer proves one of them.
                for route in self.paths.routes(client) {
                    if let Some((Class::BindingRequest, transaction)) = class {
                        self.paths.check(transaction, route);
                    }
                    self.transmit_by(route, packet.clone(), out);
                }
                if let Some((Class::BindingRequest, transaction)) = class {
                    self.asked = Some(Check {
                        client,
                        transaction,
                        packet,
                    });
                }
            }
        }
    }

    /// Sends again what went lately by a relay by which the client does not come any more.
    fn follow(&mut self, now: Instant, out: &mut Outbox) {
        let before = self.lately.route();
        let latest = before.and_then(|before| self.paths.latest(before));
        let Some(route) = latest.filter(|&latest| before != Some(latest)) else {
            return;
        };
        for packet in self.lately.follow(now, route) {
            self.transmit_by(route, packet, out);
        }
    }

    /// Checks a path that is not proved yet by what its client's other paths were checked with: the
    /// ICE agent tells addresses apart, and no more, and would wait for its next round. That
    /// client alone has seen the transaction, so its answer proves the same as another's.
    fn ask_again(&mut self, route: Route, out: &mut Outbox) {
        let Some(check) = &self.asked else { return };
        let others = self.paths.routes(route.client).len() > 1;
        let waits = self.paths.standing(route) == Some(Standing::Confirmed);
        if check.client == route.client && others && waits {
            let (transaction, packet) = (check.transaction, check.packet.clone());
            if !self.paths.is_check(transaction, route) {
                self.paths.check(transaction, route);
            }
            self.transmit_by(route, packet, out);
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
                self.state = State::Connected;
                out.events.push(Event::Connected { session: self.id });
            }
            str0m::Event::MediaAdded(media) if media.kind == MediaKind::Audio => {
                self.voices.agreed(&self.rtc, media.mid);
            }
            str0m::Event::MediaChanged(media) => self.voices.agreed(&self.rtc, media.mid),
            str0m::Event::RtpPacket(packet) => self.hear(now, packet, out),
            str0m::Event::MediaEgressStats(stats) => {
                if let Some(loss) = stats.loss
                    && self.speaking.path_report(now, loss, stats.rtt).is_err()
                {
                    self.close(now, CloseReason::InternalError, out);
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

    fn hear(&mut self, now: Instant, packet: RtpPacket, out: &mut Outbox) {
        self.authentic = Authentic::Yes;
        match self.voices.hear(&mut self.rtc, packet) {
            Heard::Sound {
                restarted,
                sequence,
                rtp_time,
                payload,
            } => {
                if restarted {
                    self.hearing.restart(now);
                }
                if restarted || sequence > self.newest {
                    self.newest = sequence;
                    self.authentic = Authentic::Newest;
                }
                if !self.hearing.push(now, sequence, rtp_time, payload) {
                    self.counts.malformed += 1;
                }
                self.hand_over_sound(now, out);
            }
            Heard::Digit(digit) => out.events.push(Event::Digit {
                session: self.id,
                digit,
            }),
            Heard::Nothing => {}
        }
    }

    fn hand_over_sound(&mut self, now: Instant, out: &mut Outbox) {
        while let Some(event) = self.hearing.poll(self.id) {
            match (event, self.mirror) {
                (Event::Opus { packets, .. }, Some(utterance)) => {
                    let packets = packets.into_iter().map(|heard| heard.packet).collect();
                    if self
                        .speaking
                        .play_opus(now, utterance, packets, false)
                        .is_err()
                    {
                        self.mirror = None;
                    }
                }
                (event, _) => out.events.push(event),
            }
        }
    }

    /// Sends the packets that are due, and reports what became of the utterances.
    fn speak(&mut self, now: Instant, out: &mut Outbox) {
        while self.is_connected() {
            match self.speaking.tick(now) {
                Ok(Some(packet)) => {
                    self.voices.speak(now, &mut self.rtc, packet);
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
