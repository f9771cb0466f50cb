//! Many sessions behind one socket: finds the session of a packet, wakes the sessions that are due.
//!
//! Datagrams come in with their source, packets go out with their destination; the socket, and what
//! packets share a datagram, are [`crate::endpoint`]'s. Invariants kept here: *a path belongs to the
//! session that it was confirmed for, and moves only to one for which it is proved*; *a session that
//! misbehaves ends alone* (a panic below is caught, counted and costs that one session); *one
//! session, one deadline*, so that the queue of deadlines is never longer than the list of sessions.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use firsthop_wire::demux::{self, Kind};
use firsthop_wire::hop::{
    self, Direction, Flags, Header, HopError, HopSecrets, PairKey, SealedHeader,
};
use firsthop_wire::stun::Binding;
use str0m::ice::IceCreds;

use crate::budget::Budget;
use crate::counters::{Counters, DropReason};
use crate::event::{CloseReason, Event, SessionId, UtteranceId};
use crate::packet::OpusPacket;
use crate::path::{PathKey, RelayHop, Route, Standing};
use crate::playout::QueueFull;
use crate::session::{Outbox, Outgoing, Session};

/// A session that wants time at once is woken after this, so that it cannot stop the others.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// What need not be exact is done at such moments, for all sessions together: a thousand silent ones
/// wake the thread fifty times a second, and what they send leaves in few system calls.
const HOUSEKEEPING: Duration = Duration::from_millis(20);

/// A moment on both clocks that the shard needs.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For time-outs and pacing.
    pub instant: Instant,
    /// For the tick of hop headers: seconds since the Unix epoch.
    pub unix_seconds: u64,
}

/// What the rest of the process asks of a shard.
pub enum Command {
    /// Takes over a session that [`Session::accept`] made, and that is counted already.
    Add(Box<Session>),
    /// Says something.
    Play {
        /// In which session.
        session: SessionId,
        /// As part of which utterance.
        utterance: UtteranceId,
        /// PCM16, mono, at the session's rate.
        pcm: Vec<i16>,
        /// No more of this utterance follows.
        complete: bool,
    },
    /// Says something that is encoded already.
    PlayOpus {
        /// In which session.
        session: SessionId,
        /// As part of which utterance.
        utterance: UtteranceId,
        /// What is said.
        packets: Vec<OpusPacket>,
        /// No more of this utterance follows.
        complete: bool,
    },
    /// Says what the client says, as it comes.
    Mirror {
        /// In which session.
        session: SessionId,
        /// As which utterance.
        utterance: UtteranceId,
    },
    /// Answers an offer in mid-call.
    Renegotiate {
        /// In which session.
        session: SessionId,
        /// The SDP.
        offer: String,
        /// Our half of the ICE credentials, in case the offer restarts ICE.
        credentials: IceCreds,
    },
    /// Stops speaking.
    Flush(SessionId),
    /// Sends a text message on the data channel.
    Send(SessionId, String),
    /// Hangs up.
    Close(SessionId),
    /// Speaks to relays under other keys from now on; every session goes on.
    Link(Box<RelayLink>),
}

/// One packet for a client.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where to: a relay, or a client that reached us directly.
    pub to: SocketAddr,
    /// What stands in front of it on the way to a relay.
    pub header: Option<SealedHeader>,
    /// The client's own bytes. None, when only the header has something to say.
    pub contents: Vec<u8>,
}

/// What a shard has for the outside after each call.
#[derive(Default)]
pub struct Output {
    /// For the socket, in order.
    pub packets: Vec<Packet>,
    /// For the owner of the engine, in order.
    pub events: Vec<Event>,
}

/// How a shard speaks to relays.
pub struct RelayLink {
    keys: [Option<PairKey>; hop::KEY_IDS],
    key_id: u8,
}

impl RelayLink {
    /// The link of a shard whose address, as tokens name it, is `own`: it takes records under any
    /// of `secrets`, and seals its own under `key_id`, which has to be one of them.
    #[must_use]
    pub fn new(secrets: &HopSecrets, key_id: u8, own: SocketAddr) -> Self {
        let keys = std::array::from_fn(|id| secrets.pair(id as u8, own));
        Self { keys, key_id }
    }
}

struct Slot {
    /// Boxed: it has kilobytes, and a table keeps room for half as many again.
    session: Box<Session>,
    budget: Budget,
    /// Its entry in the queue of deadlines: at its deadline or before.
    scheduled: Instant,
}

/// Who packets of a path are for.
struct Holder {
    session: SessionId,
    standing: Standing,
    /// The session that was confirmed there latest while the path is proved for another: two callers
    /// whose NAT swaps their ports, or a caller that is gone and whose port is another's now. The
    /// answers to its checks are for it, and prove the path if they come.
    contender: Option<SessionId>,
}

/// The sessions of one socket.
pub struct Shard {
    link: RelayLink,
    direct: bool,
    slots: HashMap<SessionId, Slot>,
    by_ufrag: HashMap<String, SessionId>,
    by_path: HashMap<PathKey, Holder>,
    deadlines: BTreeSet<(Instant, SessionId)>,
    counters: Arc<Counters>,
    outbox: Outbox,
    dice: Dice,
    /// From when the moments of housekeeping are counted.
    origin: Option<Instant>,
    /// When a session was last added.
    newest: Option<Instant>,
}

impl Shard {
    /// An empty shard; `direct` lets clients reach it without a relay.
    #[must_use]
    pub fn new(link: RelayLink, direct: bool, counters: Arc<Counters>) -> Self {
        Self {
            link,
            direct,
            slots: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_path: HashMap::new(),
            deadlines: BTreeSet::new(),
            counters,
            outbox: Outbox::default(),
            dice: Dice::default(),
            origin: None,
            newest: None,
        }
    }

    /// Takes one datagram from the socket.
    pub fn receive(&mut self, now: Now, source: SocketAddr, datagram: &[u8], out: &mut Output) {
        match demux::kind(datagram) {
            Some(Kind::Hop) => {
                for record in hop::records(datagram) {
                    self.receive_record(now, source, record, out);
                }
            }
            Some(_) if self.direct => {
                let route = Route {
                    client: source,
                    relay: None,
                };
                self.receive_packet(now, route, datagram, out);
            }
            Some(_) => self.count(DropReason::NotFromRelay),
            None => self.count(DropReason::Malformed),
        }
    }

    /// Does what the rest of the process asks.
    pub fn handle_command(&mut self, now: Now, command: Command, out: &mut Output) {
        let at = now.instant;
        match command {
            Command::Add(session) => self.add(now, session),
            Command::Play {
                session,
                utterance,
                pcm,
                complete,
            } => {
                let mut taken = Ok(());
                self.with(now, session, out, |session, outbox| {
                    taken = session.play(at, utterance, &pcm, complete, outbox);
                });
                self.count_full(taken);
            }
            Command::PlayOpus {
                session,
                utterance,
                packets,
                complete,
            } => {
                let mut taken = Ok(());
                self.with(now, session, out, |session, outbox| {
                    taken = session.play_opus(at, utterance, packets, complete, outbox);
                });
                self.count_full(taken);
            }
            Command::Mirror { session, utterance } => {
                self.with(now, session, out, |s, outbox| {
                    s.mirror(at, utterance, outbox)
                });
            }
            Command::Renegotiate {
                session,
                offer,
                credentials,
            } => self.renegotiate(now, session, &offer, credentials, out),
            Command::Flush(session) => {
                self.with(now, session, out, |s, outbox| s.flush(at, outbox))
            }
            Command::Send(session, text) => {
                self.with(now, session, out, |s, outbox| s.send(at, &text, outbox));
            }
            Command::Close(session) => self.with(now, session, out, |s, outbox| {
                s.close(at, CloseReason::HungUp, outbox);
            }),
            Command::Link(link) => self.link = *link,
        }
    }

    /// Wakes the sessions that are due at `now`.
    pub fn handle_timeout(&mut self, now: Now, out: &mut Output) {
        while let Some(&(scheduled, id)) = self.deadlines.first() {
            if scheduled > now.instant {
                return;
            }
            // What a session waits for moves with every packet, mostly to later. The queue learns
            // of it here, and not with every packet.
            let slot = self.slots.get(&id);
            if slot.is_some_and(|slot| due(self.origin, &slot.session) <= now.instant) {
                self.with(now, id, out, |s, outbox| {
                    s.handle_timeout(now.instant, outbox)
                });
            }
            if let Some(slot) = self.slots.get(&id) {
                let next = due(self.origin, &slot.session).max(now.instant + SHORTEST_WAIT);
                self.schedule(id, next);
            }
        }
    }

    /// When [`Shard::handle_timeout`] is next due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(scheduled, _)| scheduled)
    }

    /// How many sessions there are.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.slots.len()
    }

    /// When a session was last added.
    #[must_use]
    pub fn newest(&self) -> Option<Instant> {
        self.newest
    }

    /// The sessions that are left, for a shutdown that closes them.
    pub fn session_ids(&self) -> Vec<SessionId> {
        self.slots.keys().copied().collect()
    }

    /// How many sessions, ufrags, paths and deadlines the shard remembers. They grow with the
    /// sessions and end with them.
    #[must_use]
    pub fn remembered(&self) -> [usize; 4] {
        [
            self.slots.len(),
            self.by_ufrag.len(),
            self.by_path.len(),
            self.deadlines.len(),
        ]
    }

    fn add(&mut self, now: Now, session: Box<Session>) {
        let id = session.id();
        self.origin.get_or_insert(now.instant);
        self.newest = Some(now.instant);
        let scheduled = due(self.origin, &session).max(now.instant);
        for ufrag in session.ufrags() {
            self.by_ufrag.insert(ufrag.clone(), id);
        }
        let slot = Slot {
            session,
            budget: Budget::new(now.instant),
            scheduled,
        };
        self.slots.insert(id, slot);
        self.deadlines.insert((scheduled, id));
    }

    /// Answers an offer in mid-call. A session that is gone has told so by its last event.
    fn renegotiate(
        &mut self,
        now: Now,
        id: SessionId,
        offer: &str,
        credentials: IceCreds,
        out: &mut Output,
    ) {
        if !self.slots.contains_key(&id) {
            return;
        }
        let ufrag = credentials.ufrag.clone();
        self.by_ufrag.insert(ufrag.clone(), id);
        self.with(now, id, out, |session, outbox| {
            session.renegotiate(now.instant, offer, credentials, outbox);
        });
        let slot = self.slots.get(&id);
        if slot.is_none_or(|slot| !slot.session.ufrags().contains(&ufrag)) {
            self.by_ufrag.remove(&ufrag);
        }
    }

    fn schedule(&mut self, id: SessionId, at: Instant) {
        if let Some(slot) = self.slots.get_mut(&id) {
            self.deadlines.remove(&(slot.scheduled, id));
            self.deadlines.insert((at, id));
            slot.scheduled = at;
        }
    }

    fn receive_record(
        &mut self,
        now: Now,
        source: SocketAddr,
        record: Result<hop::Record<'_>, HopError>,
        out: &mut Output,
    ) {
        let verified = record.and_then(|record| {
            let key = self.link.keys.get(usize::from(record.header.key_id));
            let key = key.and_then(Option::as_ref).ok_or(HopError::UnknownKey)?;
            record.verify(key, now.unix_seconds)?;
            if record.header.direction != Direction::Up {
                return Err(HopError::Malformed);
            }
            Ok(record)
        });
        match verified {
            Ok(record) => {
                let hop::Record {
                    header, payload, ..
                } = record;
                let Header {
                    flags,
                    client,
                    ingress,
                    return_hop,
                    ..
                } = header;
                let relay = RelayHop {
                    address: source,
                    ingress,
                    return_hop,
                };
                let route = Route {
                    client,
                    relay: Some(relay),
                };
                // Without a packet of the client's: a relay's own word, or nothing that we know.
                if payload.is_empty() && flags == Flags::EDGE_LOST {
                    self.lose(route);
                } else if flags == Flags::default() {
                    self.receive_packet(now, route, payload, out);
                } else {
                    self.count(DropReason::Malformed);
                }
            }
            Err(HopError::Malformed) => self.count(DropReason::Malformed),
            Err(HopError::UnknownKey) => self.count(DropReason::HopUnknownKey),
            Err(HopError::Mac) => self.count(DropReason::HopMac),
            Err(HopError::Tick) => self.count(DropReason::HopTick),
        }
    }

    /// Takes one packet of a client.
    fn receive_packet(&mut self, now: Now, route: Route, packet: &[u8], out: &mut Output) {
        self.counters
            .ingress_packets
            .fetch_add(1, Ordering::Relaxed);
        match self.find(route, packet) {
            Some(id) if !self.admits(now, id) => self.count(DropReason::TooMany),
            Some(id) => self.with(now, id, out, |session, outbox| {
                session.receive(now.instant, route, packet, outbox);
            }),
            None => {
                self.count(DropReason::UnknownSession);
                // The relay may drop its flow, and need not ask us again. But whoever spoofs the
                // address of a client that we serve cannot have that client's flow dropped.
                if route.relay.is_some() && !self.by_path.contains_key(&route.path()) {
                    let packet = Vec::new();
                    self.send(
                        now,
                        Outgoing {
                            route,
                            flags: Flags::NO_SESSION,
                            packet,
                        },
                        out,
                    );
                }
            }
        }
    }

    /// Has the session leave a path whose edge relay is silent. A path that nobody holds, or that
    /// goes by another edge relay by now, is none to leave.
    fn lose(&mut self, route: Route) {
        let holder = self.by_path.get(&route.path());
        let slot = holder.and_then(|holder| self.slots.get_mut(&holder.session));
        if slot.is_some_and(|slot| slot.session.lost(route)) {
            self.counters.paths_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn admits(&mut self, now: Now, id: SessionId) -> bool {
        let slot = self.slots.get_mut(&id);
        slot.is_some_and(|slot| slot.budget.spend(now.instant))
    }

    /// The session of a packet: a binding request names it, everything else has its path.
    fn find(&self, route: Route, packet: &[u8]) -> Option<SessionId> {
        let holder = self.by_path.get(&route.path());
        if demux::kind(packet) == Some(Kind::Stun)
            && let Ok(binding) = Binding::parse(packet)
        {
            if let Some(ufrag) = binding.server_ufrag() {
                let ufrag = std::str::from_utf8(ufrag).ok()?;
                return self.by_ufrag.get(ufrag).copied();
            }
            let contender = holder.and_then(|holder| self.slots.get(&holder.contender?));
            let asked = |slot: &&Slot| slot.session.has_asked(binding.transaction, route);
            if let Some(slot) = contender.filter(asked) {
                return Some(slot.session.id());
            }
        }
        holder.map(|holder| holder.session)
    }

    /// One call into one session: whatever it does, the others go on.
    fn with(
        &mut self,
        now: Now,
        id: SessionId,
        out: &mut Output,
        call: impl FnOnce(&mut Session, &mut Outbox),
    ) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let mut outbox = std::mem::take(&mut self.outbox);
        fastrand::seed(self.dice.roll());
        let call = AssertUnwindSafe(|| call(&mut slot.session, &mut outbox));
        if catch_unwind(call).is_err() {
            slot.session.abandon(&mut outbox);
        }
        let counts = slot.session.take_counts();
        let over = slot.session.is_closed();
        let due = due(self.origin, &slot.session);
        if due < slot.scheduled {
            self.schedule(id, due);
        }
        self.counters
            .drop_many(DropReason::Malformed, counts.malformed);
        self.counters
            .drop_many(DropReason::Unproved, counts.unproved);
        self.counters
            .drop_many(DropReason::NotText, counts.not_text);
        self.counters
            .drop_many(DropReason::NotSent, counts.not_sent);

        for (path, standing) in outbox.paths.drain(..) {
            self.assign(path, id, standing);
        }
        for outgoing in outbox.packets.drain(..) {
            // Of a path that the session holds no more, the relay's flow is another's too.
            let release = outgoing.flags.contains(Flags::RELEASE);
            if !release || self.holds(id, outgoing.route.path()) {
                self.send(now, outgoing, out);
            }
        }
        for ufrag in outbox.ufrags.drain(..) {
            self.by_ufrag.remove(&ufrag);
        }
        for path in outbox.forgotten.drain(..) {
            self.leave(id, path);
        }
        out.events.append(&mut outbox.events);
        self.outbox = outbox;
        if over {
            self.remove(id);
        }
    }

    fn holds(&self, id: SessionId, path: PathKey) -> bool {
        let holder = self.by_path.get(&path);
        holder.is_some_and(|holder| holder.session == id)
    }

    /// Takes a path from a session that held it, or contended for it.
    fn leave(&mut self, id: SessionId, path: PathKey) {
        let Entry::Occupied(mut occupied) = self.by_path.entry(path) else {
            return;
        };
        let holder = occupied.get_mut();
        if holder.contender == Some(id) {
            holder.contender = None;
        }
        if holder.session == id {
            match holder.contender.take() {
                Some(session) => {
                    holder.session = session;
                    holder.standing = Standing::Confirmed;
                }
                None => {
                    occupied.remove();
                }
            }
        }
    }

    /// Maps a path to a session that it was confirmed or proved for.
    fn assign(&mut self, path: PathKey, id: SessionId, standing: Standing) {
        match self.by_path.entry(path) {
            Entry::Vacant(vacant) => {
                vacant.insert(Holder {
                    session: id,
                    standing,
                    contender: None,
                });
            }
            Entry::Occupied(mut occupied) => {
                let holder = occupied.get_mut();
                // A confirmed request from a spoofed source must not take over a proved path.
                if standing == Standing::Proved || holder.standing < Standing::Proved {
                    if holder.contender == Some(id) {
                        holder.contender = None;
                    }
                    holder.session = id;
                    holder.standing = standing;
                } else if holder.session != id {
                    holder.contender = Some(id);
                }
            }
        }
    }

    fn remove(&mut self, id: SessionId) {
        let Some(slot) = self.slots.remove(&id) else {
            return;
        };
        self.deadlines.remove(&(slot.scheduled, id));
        for ufrag in slot.session.ufrags() {
            self.by_ufrag.remove(ufrag);
        }
        for path in slot.session.paths() {
            self.leave(id, path);
        }
        self.counters.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Puts out a packet for the relay that its client came by, or for the client.
    fn send(&mut self, now: Now, outgoing: Outgoing, out: &mut Output) {
        let Outgoing {
            route,
            flags,
            packet,
        } = outgoing;
        let Some(relay) = route.relay else {
            if !packet.is_empty() {
                self.counters.egress_packets.fetch_add(1, Ordering::Relaxed);
                out.packets.push(Packet {
                    to: route.client,
                    header: None,
                    contents: packet,
                });
            }
            return;
        };
        let key_id = self.link.key_id;
        let Some(key) = &self.link.keys[usize::from(key_id)] else {
            return self.count(DropReason::HopUnknownKey);
        };
        let header = Header {
            direction: Direction::Down,
            flags,
            key_id,
            hop_limit: hop::HOP_LIMIT,
            tick: hop::tick_at(now.unix_seconds),
            client: route.client,
            ingress: relay.ingress,
            return_hop: relay.return_hop,
        };
        self.counters.egress_packets.fetch_add(1, Ordering::Relaxed);
        out.packets.push(Packet {
            to: relay.address,
            header: Some(header.seal(key)),
            contents: packet,
        });
    }

    fn count_full(&self, taken: Result<(), QueueFull>) {
        if taken.is_err() {
            self.count(DropReason::PlayoutFull);
        }
    }

    fn count(&self, reason: DropReason) {
        self.counters.drop_many(reason, 1);
    }
}

/// When a session next wants time. Moments of housekeeping are counted from `origin`.
fn due(origin: Option<Instant>, session: &Session) -> Instant {
    let housekeeping = session.housekeeping().map(|at| {
        let origin = origin.unwrap_or(at);
        let moments = at.saturating_duration_since(origin).as_micros();
        let moments = moments.div_ceil(HOUSEKEEPING.as_micros());
        at.max(origin + HOUSEKEEPING * u32::try_from(moments).unwrap_or(u32::MAX))
    });
    let deadline = session.deadline();
    housekeeping.into_iter().fold(deadline, Instant::min)
}

/// Seeds for the numbers that the WebRTC stack draws, STUN transaction ids among them. Its
/// generator is a fast one, of which a few numbers tell all that follow; but an answer to a check
/// proves an address only if nobody else can know the check's id. So each call into a session
/// draws from a seed that nobody can compute: SipHash of a count, under keys from the kernel.
#[derive(Default)]
struct Dice {
    keys: RandomState,
    rolled: u64,
}

impl Dice {
    fn roll(&mut self) -> u64 {
        self.rolled += 1;
        self.keys.hash_one(self.rolled)
    }
}
