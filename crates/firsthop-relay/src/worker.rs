//! One thread, its sockets, its forwarder. Workers share nothing but their public addresses.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use firsthop_udp::{Inbox, Outbox, Received, SendError, Socket};
use firsthop_wire::bundle::{Bundler, Train};
use firsthop_wire::hop::{Direction, SealedHeader};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::config::RelayConfig;
use crate::control::{Command, MAX_COMMANDS, NoticeSender};
use crate::counters::Counters;
use crate::drop_reason::DropReason;
use crate::forwarder::{Delivery, Forwarder, Now, Ready, Transit, Verdict};
use crate::tcp::{Listener, TcpIngress, TcpLimits};

const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// Batches that one socket may have before it is the next one's turn.
const BATCHES_PER_TURN: usize = 2;

/// Packets of clients in one batch: what of them is for one owner leaves in one message.
const CLIENT_BATCH: usize = 256;
/// Above what a client may send, so that a packet that fills its buffer is one that was cut.
const CLIENT_BUFFER_BYTES: usize = 2048;
/// What the kernel joins (GRO) is up to 64 KiB, with some hundred packets.
const OWNER_BATCH: usize = 8;
const OWNER_BUFFER_BYTES: usize = 64 << 10;
/// Datagrams that leave in one call.
const SEND_BATCH: usize = 64;

/// Public UDP sockets have the tokens that are their ingress ids; those of TCP follow.
const UPSTREAM: Token = Token(usize::MAX - 1);
const WAKE: Token = Token(usize::MAX);

/// The sockets of one worker.
pub(crate) struct Sockets {
    /// By ingress id.
    pub(crate) public: Vec<Socket>,
    /// Their ingress ids follow.
    pub(crate) tcp: Vec<Listener>,
    /// Owners answer to it.
    pub(crate) upstream: Socket,
}

/// How other threads reach a worker.
pub(crate) struct Handle {
    stopping: AtomicBool,
    waker: Waker,
    commands: SyncSender<Command>,
    next_hops: Mutex<Vec<NextHop>>,
}

/// A relay that this one sends to: its cluster, its address, whether it is alive.
pub(crate) type NextHop = (u16, SocketAddr, bool);

impl Handle {
    /// Asks it to end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Hands it a command without waiting; whether there was room.
    pub(crate) fn send(&self, command: Command) -> bool {
        match self.commands.try_send(command) {
            Ok(()) => {
                self.wake();
                true
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// The relays that the worker sends to, as it last saw them.
    pub(crate) fn next_hops(&self) -> Vec<NextHop> {
        let next_hops = self.next_hops.lock();
        next_hops.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell_next_hops(&self, seen: Vec<NextHop>) {
        let next_hops = self.next_hops.lock();
        *next_hops.unwrap_or_else(PoisonError::into_inner) = seen;
    }

    fn wake(&self) {
        // Failing to wake costs the rest of a second: the worker looks at least that often.
        let _ = self.waker.wake();
    }
}

/// What runs on one thread.
pub(crate) struct Worker {
    poll: Poll,
    /// By ingress id.
    public: Vec<Public>,
    tcp: TcpIngress,
    uplink: Uplink,
    /// What clients sent, and what owners sent.
    clients: Inbox,
    owners: Inbox,
    forwarder: Forwarder,
    counters: Arc<Counters>,
    handle: Arc<Handle>,
    commands: Receiver<Command>,
    notices: NoticeSender,
    busy_poll: Duration,
    started: Instant,
}

/// A socket, and whether something may be waiting there. Readiness is told once per arrival (the
/// system's edge), so a socket that was left with more must be remembered.
struct Source {
    socket: Socket,
    waiting: bool,
}

/// A public socket, and what is about to leave by it.
struct Public {
    source: Source,
    /// Towards clients. Each datagram with its length.
    down: Outbox<usize>,
}

/// The way to other hops: the socket that they answer to, and what is about to leave by it.
struct Uplink {
    source: Source,
    /// Towards owners, and towards edge relays.
    up: Bundler,
    down: Bundler,
    /// Each train with what it carries.
    outbox: Outbox<Load>,
    /// A header without a packet.
    bare: Vec<u8>,
}

/// What a train carries.
#[derive(Clone, Copy)]
struct Load {
    direction: Direction,
    packets: u64,
    bytes: u64,
    datagrams: u64,
}

impl Source {
    fn new(poll: &Poll, token: Token, mut socket: Socket) -> io::Result<Self> {
        poll.registry()
            .register(&mut socket, token, Interest::READABLE)?;
        Ok(Self {
            socket,
            waiting: true,
        })
    }

    /// Receives one batch, perhaps an empty one.
    fn receive(&mut self, inbox: &mut Inbox, counters: &Counters) -> io::Result<()> {
        match inbox.receive(&self.socket)? {
            Received::More => {}
            Received::Drained => self.waiting = false,
            Received::SendFailed => counters.dropped(DropReason::SendFailed, 1),
        }
        Ok(())
    }
}

impl Worker {
    /// A worker ready to [`Worker::run`], and the means to reach it then.
    pub(crate) fn new(
        config: &RelayConfig,
        sockets: Sockets,
        counters: Arc<Counters>,
        notices: NoticeSender,
    ) -> io::Result<(Self, Arc<Handle>)> {
        let poll = Poll::new()?;
        let (commands, mailbox) = sync_channel(MAX_COMMANDS);
        let handle = Arc::new(Handle {
            stopping: AtomicBool::new(false),
            waker: Waker::new(poll.registry(), WAKE)?,
            commands,
            next_hops: Mutex::default(),
        });
        let public = sockets.public.into_iter().enumerate();
        let public = public.map(|(ingress, socket)| {
            Ok(Public {
                source: Source::new(&poll, Token(ingress), socket)?,
                down: Outbox::new(SEND_BATCH),
            })
        });
        let public = public.collect::<io::Result<Vec<_>>>()?;
        let tcp = TcpIngress::new(
            poll.registry(),
            Token(public.len()),
            // The configuration was checked: an ingress id fits.
            public.len() as u16,
            sockets.tcp,
            TcpLimits {
                connections: config.tcp_connections,
                per_address: config.tcp_connections_per_address,
                idle: config.flow_idle,
            },
            Arc::clone(&counters),
        )?;
        let mut worker = Self {
            public,
            tcp,
            uplink: Uplink {
                source: Source::new(&poll, UPSTREAM, sockets.upstream)?,
                up: Bundler::default(),
                down: Bundler::default(),
                outbox: Outbox::new(SEND_BATCH),
                bare: Vec::new(),
            },
            poll,
            clients: Inbox::new(CLIENT_BATCH, CLIENT_BUFFER_BYTES),
            owners: Inbox::new(OWNER_BATCH, OWNER_BUFFER_BYTES),
            forwarder: Forwarder::new(config, Arc::clone(&counters)),
            counters,
            handle: Arc::clone(&handle),
            commands: mailbox,
            notices,
            busy_poll: config.busy_poll,
            started: Instant::now(),
        };
        worker.tell_next_hops();
        Ok((worker, handle))
    }

    /// Takes over flows before it runs; see [`Forwarder::restore`].
    pub(crate) fn restore(&mut self, flows: &[u8]) {
        let now = self.now();
        self.forwarder.restore(now, flows);
    }

    /// Forwards until it is stopped. Returns the flows that changed since a handover began, as
    /// [`Forwarder::changes`] writes them.
    ///
    /// # Errors
    /// When a socket or the poll itself fails in a way that no packet can cause.
    pub(crate) fn run(&mut self) -> io::Result<Vec<u8>> {
        let mut events = Events::with_capacity(64);
        let mut next_expiry = EXPIRE_EVERY;
        let mut last_packet = Duration::ZERO;
        while !self.handle.stopping.load(Ordering::Relaxed) {
            let elapsed = self.started.elapsed();
            let patience = if self.waiting() || elapsed < last_packet + self.busy_poll {
                Duration::ZERO
            } else {
                let due = self.forwarder.deadline().unwrap_or(next_expiry);
                due.min(next_expiry).saturating_sub(elapsed)
            };
            match self.poll.poll(&mut events, Some(patience)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    WAKE => self.obey(),
                    UPSTREAM => self.uplink.source.waiting = true,
                    Token(token) if self.tcp.tokens().contains(&token) => {
                        self.tcp.wake(self.started.elapsed(), event);
                    }
                    Token(ingress) => self.public[ingress].source.waiting = true,
                }
            }
            if self.waiting() {
                self.serve()?;
                last_packet = self.started.elapsed();
            }

            let now = self.now();
            self.forwarder.give_up_parked(now);
            self.probe(now);
            if now.elapsed >= next_expiry {
                let done = self.forwarder.expire(now);
                self.tcp.expire(now.elapsed);
                self.obey();
                next_expiry = now.elapsed + if done { EXPIRE_EVERY } else { Duration::ZERO };
                // One look a second at every socket, so that no lost edge silences one for longer.
                self.look_at_all();
            }
            let lost = self.notices.send(self.forwarder.take_notices());
            self.counters.dropped(DropReason::MailboxFull, lost);
        }
        // What came before it was told to stop: the goodbye of a transceiver that ends with it, say.
        self.look_at_all();
        self.serve()?;
        Ok(self.forwarder.changes())
    }

    /// Forwards what waits in the sockets.
    fn serve(&mut self) -> io::Result<()> {
        for ingress in 0..self.public.len() {
            self.serve_public(ingress)?;
        }
        self.serve_tcp();
        self.serve_upstream()
    }

    /// Has every socket be read, whatever the poll says of it.
    fn look_at_all(&mut self) {
        for public in &mut self.public {
            public.source.waiting = true;
        }
        self.uplink.source.waiting = true;
    }

    fn waiting(&self) -> bool {
        self.uplink.source.waiting
            || self.tcp.is_waiting()
            || self.public.iter().any(|public| public.source.waiting)
    }

    /// Does what the control plane asks.
    fn obey(&mut self) {
        let now = self.now();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Answer { flow, owner } => self.forwarder.answer(now, &flow, owner),
                Command::Export { first, reply } => {
                    // Who asked waits for it, or is gone.
                    let _ = reply.try_send(self.forwarder.export(now, first));
                }
                Command::SetClusters { table, reply } => {
                    self.forwarder
                        .set_clusters(now, &table.clusters, &table.edges);
                    self.tell_next_hops();
                    let _ = reply.try_send(());
                }
            }
        }
        self.forward_ready();
    }

    /// Asks the relays that we send to whether they are there.
    fn probe(&mut self, now: Now) {
        let (uplink, counters) = (&mut self.uplink, &self.counters);
        let mut asked = false;
        self.forwarder.probe(now, |relay, probe| {
            uplink.push_bare(relay, Direction::Up, probe, counters);
            asked = true;
        });
        if asked {
            uplink.flush(counters);
        }
        self.tell_next_hops();
    }

    fn tell_next_hops(&mut self) {
        if let Some(seen) = self.forwarder.changed_next_hops() {
            self.handle.tell_next_hops(seen);
        }
    }

    /// One turn of a public socket: packets of clients go to their owners.
    fn serve_public(&mut self, ingress: usize) -> io::Result<()> {
        for _ in 0..BATCHES_PER_TURN {
            let source = &mut self.public[ingress].source;
            if !source.waiting {
                break;
            }
            source.receive(&mut self.clients, &self.counters)?;
            let now = self.now();
            let (uplink, counters) = (&mut self.uplink, &*self.counters);
            // As many public sockets as there are ingress ids: the configuration was checked.
            let (ingress, packets) = (ingress as u16, self.clients.datagrams());
            self.forwarder
                .ingress_batch(now, ingress, packets, |to, header, packet| {
                    uplink.push(to, Direction::Up, header, packet, counters);
                });
            uplink.flush(counters);
        }
        Ok(())
    }

    /// One turn of the TCP connections: the same for what clients sent there.
    fn serve_tcp(&mut self) {
        if !self.tcp.is_waiting() {
            return;
        }
        let now = self.now();
        let (forwarder, uplink) = (&mut self.forwarder, &mut self.uplink);
        self.tcp.serve(now.elapsed, |ingress, client, packet| {
            let verdict = forwarder.ingress(now, client, ingress, packet);
            if let Verdict::Forward { to, header } = verdict {
                uplink.push(to, Direction::Up, &header, packet, &self.counters);
            }
        });
        uplink.flush(&self.counters);
    }

    /// One turn of the upstream socket: records go to their clients, or to the next hop.
    fn serve_upstream(&mut self) -> io::Result<()> {
        for _ in 0..BATCHES_PER_TURN {
            if !self.uplink.source.waiting {
                break;
            }
            self.uplink
                .source
                .receive(&mut self.owners, &self.counters)?;
            let now = self.now();
            let (public, tcp, counters) = (&mut self.public, &mut self.tcp, &*self.counters);
            let uplink = &mut self.uplink;
            for (source, datagram) in self.owners.datagrams() {
                let deliver = |delivery: Delivery<'_>| {
                    let (client, packet) = (delivery.client, delivery.payload);
                    let Some(public) = public.get_mut(usize::from(delivery.ingress)) else {
                        // The forwarder passes only ingress ids that exist: it is one of TCP.
                        match tcp.send(now.elapsed, delivery.ingress, client, packet) {
                            Ok(()) => {
                                counters.egress_packets.add(1);
                                counters.egress_bytes.add(packet.len() as u64);
                            }
                            Err(reason) => counters.dropped(reason, 1),
                        }
                        return;
                    };
                    if public.down.is_full() {
                        public.flush(counters);
                    }
                    public.down.push(client, packet, None, packet.len());
                };
                let pass_on = |transit: Transit<'_>| uplink.pass_on(&transit, counters);
                self.forwarder
                    .egress(now, source, datagram, deliver, pass_on);
            }
            for public in public {
                public.flush(counters);
            }
            self.forward_ready();
        }
        Ok(())
    }

    /// Sends on what was parked and may go now.
    fn forward_ready(&mut self) {
        for Ready { to, header, packet } in self.forwarder.take_ready() {
            self.uplink
                .push(to, Direction::Up, &header, &packet, &self.counters);
        }
        self.uplink.flush(&self.counters);
    }

    fn now(&self) -> Now {
        // Before 1970 every token is expired, and that is the right answer to such a clock.
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            elapsed: self.started.elapsed(),
            unix_seconds: unix.as_secs(),
        }
    }
}

impl Public {
    /// Sends what waits for clients.
    fn flush(&mut self, counters: &Counters) {
        let (mut packets, mut bytes) = (0, 0);
        self.down
            .flush(&self.source.socket, |length, sent| match sent {
                Ok(()) => {
                    packets += 1;
                    bytes += length as u64;
                }
                Err(error) => counters.dropped(reason(error), 1),
            });
        counters.egress_packets.add(packets);
        counters.egress_bytes.add(bytes);
    }
}

impl Uplink {
    /// Puts a packet among what leaves with the next flush, at the latest.
    fn push(
        &mut self,
        to: SocketAddr,
        direction: Direction,
        header: &SealedHeader,
        packet: &[u8],
        counters: &Counters,
    ) {
        let (outbox, socket) = (&mut self.outbox, &self.source.socket);
        let bundler = match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        };
        bundler.push(to, header, packet, |train| {
            queue(outbox, train, direction, socket, counters);
        });
    }

    /// The same for what came from another hop.
    fn pass_on(&mut self, transit: &Transit<'_>, counters: &Counters) {
        let &Transit {
            to,
            direction,
            ref header,
            payload,
        } = transit;
        match payload {
            [] => self.push_bare(to, direction, header, counters),
            packet => self.push(to, direction, header, packet, counters),
        }
    }

    /// The same for a header without a packet, which is nobody's and counts as none.
    fn push_bare(
        &mut self,
        to: SocketAddr,
        direction: Direction,
        header: &SealedHeader,
        counters: &Counters,
    ) {
        if self.outbox.is_full() {
            send(&mut self.outbox, &self.source.socket, counters);
        }
        self.bare.clear();
        header.write_record(&[], &mut self.bare);
        let load = Load {
            direction,
            packets: 0,
            bytes: 0,
            datagrams: 0,
        };
        self.outbox.push(to, &self.bare, None, load);
    }

    /// Sends what waits for other hops.
    fn flush(&mut self, counters: &Counters) {
        let (outbox, socket) = (&mut self.outbox, &self.source.socket);
        for (bundler, direction) in [
            (&mut self.up, Direction::Up),
            (&mut self.down, Direction::Down),
        ] {
            bundler.flush(|train| queue(outbox, train, direction, socket, counters));
        }
        send(outbox, socket, counters);
    }
}

/// Puts a train among what leaves next, and makes room for it first if there is none.
fn queue(
    outbox: &mut Outbox<Load>,
    train: &Train,
    direction: Direction,
    socket: &Socket,
    counters: &Counters,
) {
    if outbox.is_full() {
        send(outbox, socket, counters);
    }
    let load = Load {
        direction,
        packets: train.packets,
        bytes: train.bytes,
        datagrams: train.datagrams(),
    };
    outbox.push(train.to, train.contents(), train.segment_size(), load);
}

fn send(outbox: &mut Outbox<Load>, socket: &Socket, counters: &Counters) {
    let (mut packets, mut bytes, mut datagrams) = (0, 0, 0);
    outbox.flush(socket, |load, sent| match (sent, load.direction) {
        (Ok(()), Direction::Up) => {
            packets += load.packets;
            bytes += load.bytes;
            datagrams += load.datagrams;
        }
        (Ok(()), Direction::Down) => {
            counters.egress_packets.add(load.packets);
            counters.egress_bytes.add(load.bytes);
        }
        (Err(error), _) => counters.dropped(reason(error), load.packets),
    });
    counters.ingress_packets.add(packets);
    counters.ingress_bytes.add(bytes);
    counters.ingress_datagrams.add(datagrams);
}

fn reason(error: SendError) -> DropReason {
    match error {
        SendError::Blocked => DropReason::SendBlocked,
        SendError::TooBig => DropReason::SendTooBig,
        SendError::Failed => DropReason::SendFailed,
    }
}
