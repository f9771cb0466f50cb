//! Clients that cannot send UDP: ICE-TCP (RFC 6544), passive side, with RFC 4571 framing.
//!
//! A connection is a client transport address, and each frame on it is one packet: for all the
//! rest of the relay a TCP listener is one more public socket. The connections of a worker are its
//! own, as its flows are: an owner answers to the upstream socket of the worker that asked.
//!
//! Everything is bounded: connections in all and per client address, accepts and reads per turn
//! (UDP waits for its turn meanwhile), frames in length and time ([`crate::connection`]), and what
//! waits for a slow reader ([`crate::backlog`]).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use firsthop_udp::{Sharing, share};
use firsthop_wire::MAX_CLIENT_DATAGRAM;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Type};

use crate::connection::{Closing, Connection};
use crate::counters::Counters;
use crate::drop_reason::DropReason;

/// Connections that wait to be accepted; the kernel may hold fewer.
const LISTEN_BACKLOG: i32 = 1024;

/// Connections that are accepted, of each listener, before it is UDP's turn.
const ACCEPTS_PER_TURN: usize = 64;

/// Reads, over all connections, before it is UDP's turn.
const READS_PER_TURN: usize = 16;

/// Read at once from a connection, before it is the next one's turn: some packets of media, or
/// all of a ClientHello.
const READ_BYTES: usize = 4 << 10;

/// What the kernel holds for a client beyond what is on its way. Little: of what waits here, it
/// cannot lose what gets too old.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT_BYTES: u32 = 16 << 10;

/// What the connections of one worker may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TcpLimits {
    /// Connections in all.
    pub(crate) connections: usize,
    /// Connections of one IPv4 address, or of one IPv6 /64: what one customer of a provider has.
    pub(crate) per_address: usize,
    /// A connection on which nothing passes for so long is closed.
    pub(crate) idle: Duration,
}

/// A bound, nonblocking TCP listener.
pub(crate) struct Listener {
    io: TcpListener,
    local: SocketAddr,
}

impl Listener {
    /// Binds `address` and listens; port 0 asks for any free port. `only_v6` keeps IPv4 out of an
    /// IPv6 socket.
    ///
    /// # Errors
    /// Of the system, with the address in the message.
    pub(crate) fn bind(address: SocketAddr, sharing: Sharing, only_v6: bool) -> io::Result<Self> {
        Self::try_bind(address, sharing, only_v6)
            .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
    }

    fn try_bind(address: SocketAddr, sharing: Sharing, only_v6: bool) -> io::Result<Self> {
        let socket = socket2::Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        // Connections of the relay before this one may linger; it does not let two listen.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        if sharing == Sharing::Joined {
            share(&socket)?;
        }
        socket.bind(&address.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        // Only now: of two relays that start at the same moment both may bind, and it is `listen`
        // that refuses one of them, unless they share already.
        if sharing == Sharing::Opened {
            share(&socket)?;
        }
        Self::prepare(socket)
    }

    /// Takes over a listener that another process bound, with the connections that wait there.
    ///
    /// # Errors
    /// `InvalidInput` when it is no listening TCP socket; otherwise of the system.
    pub(crate) fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let socket = socket2::Socket::from(fd);
        let listens = socket.is_listener().is_ok_and(|listens| listens);
        if !listens || socket.r#type()? != Type::STREAM {
            let why = "the inherited descriptor is not a TCP listener";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Self::prepare(socket)
    }

    fn prepare(socket: socket2::Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let io = TcpListener::from_std(socket.into());
        let local = io.local_addr()?;
        Ok(Self { io, local })
    }

    /// The address that it is bound to.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

/// All TCP listeners and connections of one worker.
///
/// Its tokens are one range, [`TcpIngress::tokens`]: first the listeners', then one per slot of a
/// connection. The worker passes on every event in that range, gives it one turn per round
/// ([`TcpIngress::serve`]), does not sleep while it [`TcpIngress::is_waiting`], and calls
/// [`TcpIngress::expire`] about once a second.
pub(crate) struct TcpIngress {
    registry: Registry,
    first_token: usize,
    first_ingress: u16,
    limits: TcpLimits,
    listeners: Vec<Accepting>,
    /// By slot; grows as far as it is used.
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    by_client: HashMap<(u16, SocketAddr), usize>,
    by_network: HashMap<IpAddr, usize>,
    /// Slots where something may be waiting, each once.
    ready: VecDeque<usize>,
    buffer: Box<[u8]>,
    counters: Arc<Counters>,
}

/// A listener, and whether somebody may be waiting there.
struct Accepting {
    listener: Listener,
    waiting: bool,
}

struct Peer {
    ingress: u16,
    client: SocketAddr,
    connection: Connection<TcpStream>,
    /// Its slot stands in the queue.
    ready: bool,
}

impl TcpIngress {
    /// Listens on `listeners`, whose ingress ids begin with `first_ingress`, and takes the tokens
    /// from `first_token` on. Its thread must be the only writer of `counters`.
    ///
    /// # Errors
    /// Of the poll that `registry` belongs to.
    pub(crate) fn new(
        registry: &Registry,
        first_token: Token,
        first_ingress: u16,
        listeners: Vec<Listener>,
        limits: TcpLimits,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let mut accepting = Vec::with_capacity(listeners.len());
        for (index, mut listener) in listeners.into_iter().enumerate() {
            let token = Token(first_token.0 + index);
            registry.register(&mut listener.io, token, Interest::READABLE)?;
            let waiting = true;
            accepting.push(Accepting { listener, waiting });
        }
        Ok(Self {
            registry: registry.try_clone()?,
            first_token: first_token.0,
            first_ingress,
            limits,
            listeners: accepting,
            peers: Vec::new(),
            free: Vec::new(),
            by_client: HashMap::new(),
            by_network: HashMap::new(),
            ready: VecDeque::new(),
            buffer: vec![0; READ_BYTES].into(),
            counters,
        })
    }

    /// The tokens whose events are for it.
    pub(crate) fn tokens(&self) -> Range<usize> {
        self.first_token..self.first_slot_token() + self.limits.connections
    }

    /// Takes an event of one of its tokens.
    pub(crate) fn wake(&mut self, now: Duration, event: &Event) {
        let Token(token) = event.token();
        let Some(slot) = token.checked_sub(self.first_slot_token()) else {
            self.listeners[token - self.first_token].waiting = true;
            return;
        };
        // Its connection may have ended, by an event before this one.
        let Some(peer) = self.peers.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        if !peer.ready {
            peer.ready = true;
            self.ready.push_back(slot);
        }
        if event.is_writable() {
            let flushed = peer.connection.flush(now);
            self.counters
                .dropped(DropReason::TcpSlow, peer.connection.take_lost());
            if let Err(closing) = flushed {
                self.close(slot, closing);
            }
        }
    }

    /// Whether it wants a turn without waiting for an event: [`TcpIngress::serve`] left something.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.ready.is_empty() || self.listeners.iter().any(|listener| listener.waiting)
    }

    /// One turn: accepts, reads, and passes what clients sent to `each`, packet by packet: ingress
    /// id, client, packet.
    pub(crate) fn serve(&mut self, now: Duration, mut each: impl FnMut(u16, SocketAddr, &[u8])) {
        for index in 0..self.listeners.len() {
            self.accept(now, index);
        }
        for _ in 0..READS_PER_TURN {
            let Some(slot) = self.ready.pop_front() else {
                return;
            };
            let Some(peer) = &mut self.peers[slot] else {
                continue;
            };
            let (ingress, client) = (peer.ingress, peer.client);
            let read = peer.connection.read(now, &mut self.buffer, |packet| {
                each(ingress, client, packet);
            });
            match read {
                Ok(true) => self.ready.push_back(slot),
                Ok(false) => peer.ready = false,
                Err(closing) => self.close(slot, closing),
            }
        }
    }

    /// Sends an owner's packet to a client, or tells why it could not go. What a client does not
    /// take at once waits for it, and may get too old: that is counted here.
    pub(crate) fn send(
        &mut self,
        now: Duration,
        ingress: u16,
        client: SocketAddr,
        packet: &[u8],
    ) -> Result<(), DropReason> {
        if packet.len() > MAX_CLIENT_DATAGRAM {
            return Err(DropReason::SendTooBig);
        }
        let slot = self.by_client.get(&(ingress, client)).copied();
        let slot = slot.ok_or(DropReason::TcpGone)?;
        let Some(peer) = &mut self.peers[slot] else {
            return Err(DropReason::TcpGone);
        };
        let sent = peer.connection.send(now, packet);
        self.counters
            .dropped(DropReason::TcpSlow, peer.connection.take_lost());
        sent.map_err(|closing| {
            self.close(slot, closing);
            DropReason::SendFailed
        })
    }

    /// Closes the connections that missed a deadline.
    pub(crate) fn expire(&mut self, now: Duration) {
        for slot in 0..self.peers.len() {
            let peer = self.peers[slot].as_ref();
            let overdue = peer.and_then(|peer| peer.connection.overdue(now, self.limits.idle));
            if let Some(closing) = overdue {
                self.close(slot, closing);
            }
        }
        // There may be room again, also for what the system had none for.
        for listener in &mut self.listeners {
            listener.waiting = true;
        }
    }

    fn first_slot_token(&self) -> usize {
        self.first_token + self.listeners.len()
    }

    fn accept(&mut self, now: Duration, index: usize) {
        let ingress = self.first_ingress + index as u16;
        for _ in 0..ACCEPTS_PER_TURN {
            let Accepting { listener, waiting } = &mut self.listeners[index];
            if !*waiting {
                return;
            }
            match listener.io.accept() {
                Ok((stream, client)) => {
                    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
                    match self.admit(now, stream, ingress, client) {
                        Some(()) => self.counters.tcp_accepted.add(1),
                        None => self.counters.tcp_refused.add(1),
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => *waiting = false,
                    // It left while it waited.
                    io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::Interrupted => {}
                    // No descriptors, no memory: trying again at once would not help.
                    _ => {
                        *waiting = false;
                        self.counters.tcp_refused.add(1);
                    }
                },
            }
        }
    }

    /// Takes a connection in; `None` when there is no room for it, and it is closed.
    fn admit(
        &mut self,
        now: Duration,
        mut stream: TcpStream,
        ingress: u16,
        client: SocketAddr,
    ) -> Option<()> {
        // The kernel has one connection per address: what we know of an older one is history.
        if let Some(&slot) = self.by_client.get(&(ingress, client)) {
            self.close(slot, Closing::Reset);
        }
        let network = network(client.ip());
        let of_network = self.by_network.get(&network).copied().unwrap_or_default();
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.peers.len(),
        };
        let token = Token(self.first_slot_token() + slot);
        let room = slot < self.limits.connections && of_network < self.limits.per_address;
        if !room || self.set_up(&mut stream, token).is_err() {
            if slot < self.peers.len() {
                self.free.push(slot);
            }
            abort(&stream);
            return None;
        }
        let peer = Peer {
            ingress,
            client,
            connection: Connection::new(now, stream),
            ready: true,
        };
        if slot == self.peers.len() {
            self.peers.push(Some(peer));
        } else {
            self.peers[slot] = Some(peer);
        }
        self.by_client.insert((ingress, client), slot);
        self.by_network.insert(network, of_network + 1);
        // Its first frame is often there already.
        self.ready.push_back(slot);
        Some(())
    }

    fn set_up(&self, stream: &mut TcpStream, token: Token) -> io::Result<()> {
        // Every frame is due at once.
        stream.set_nodelay(true)?;
        #[cfg(any(target_os = "android", target_os = "linux"))]
        SockRef::from(&*stream).set_tcp_notsent_lowat(UNSENT_BYTES)?;
        self.registry
            .register(stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    fn close(&mut self, slot: usize, closing: Closing) {
        let Some(mut peer) = self.peers[slot].take() else {
            return;
        };
        let stream = peer.connection.stream();
        if closing.is_ours() {
            abort(stream);
        }
        // Closing the descriptor, which follows, does it too.
        let _ = self.registry.deregister(stream);
        if peer.ready {
            self.ready.retain(|&ready| ready != slot);
        }
        self.by_client.remove(&(peer.ingress, peer.client));
        let network = network(peer.client.ip());
        if let Some(count) = self.by_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.by_network.remove(&network);
            }
        }
        self.free.push(slot);
        self.counters.tcp_closed(closing);
    }
}

/// Makes the closing of `stream` a reset: it is forgotten at once, with what is under way. A
/// client that gets nothing from us costs the kernel nothing after its end.
fn abort(stream: &TcpStream) {
    // Should it fail, the kernel holds it for a minute longer.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// What counts as one client address.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, Shutdown};

    use mio::{Events, Poll};

    use super::*;
    use crate::connection::{CONFIRMED_WITHIN, FIRST_FRAME_WITHIN, TAKEN_WITHIN};

    const FIRST_INGRESS: u16 = 3;
    const LIMITS: TcpLimits = TcpLimits {
        connections: 50,
        per_address: 50,
        idle: Duration::from_secs(35),
    };
    /// Only decides how long a test that fails takes.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// A worker that serves TCP alone, at a time that stands still unless it is moved.
    struct Worker {
        poll: Poll,
        tcp: TcpIngress,
        counters: Arc<Counters>,
        address: SocketAddr,
        now: Duration,
        heard: Vec<(u16, SocketAddr, Vec<u8>)>,
    }

    impl Worker {
        fn new(limits: TcpLimits) -> Self {
            Self::listening("127.0.0.1:0", limits).unwrap()
        }

        fn listening(address: &str, limits: TcpLimits) -> io::Result<Self> {
            let listener = Listener::bind(address.parse().unwrap(), Sharing::Opened, false)?;
            let address = listener.local_addr();
            let poll = Poll::new()?;
            let counters = Arc::new(Counters::default());
            let tcp = TcpIngress::new(
                poll.registry(),
                Token(7),
                FIRST_INGRESS,
                vec![listener],
                limits,
                Arc::clone(&counters),
            )?;
            Ok(Self {
                poll,
                tcp,
                counters,
                address,
                now: Duration::ZERO,
                heard: Vec::new(),
            })
        }

        /// One round, as a worker's loop makes it.
        fn turn(&mut self, patience: Duration) {
            self.wake(patience);
            let heard = &mut self.heard;
            self.tcp.serve(self.now, |ingress, client, packet| {
                heard.push((ingress, client, packet.to_vec()));
            });
        }

        /// The first half of a round: takes the events.
        fn wake(&mut self, patience: Duration) {
            let mut events = Events::with_capacity(64);
            let patience = match self.tcp.is_waiting() {
                true => Duration::ZERO,
                false => patience,
            };
            self.poll.poll(&mut events, Some(patience)).unwrap();
            for event in &events {
                assert!(self.tcp.tokens().contains(&event.token().0));
                self.tcp.wake(self.now, event);
            }
        }

        /// Works until `condition`.
        fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
            let start = std::time::Instant::now();
            while !condition(self) {
                assert!(start.elapsed() < PATIENCE, "not in time: {what}");
                self.turn(Duration::from_millis(10));
            }
        }

        fn connect(&mut self) -> std::net::TcpStream {
            let stream = std::net::TcpStream::connect(self.address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let before = self.seen();
            self.until("a connection is seen", |worker| worker.seen() > before);
            stream
        }

        fn seen(&self) -> u64 {
            let counts = self.counters.snapshot();
            counts.tcp_accepted + counts.tcp_refused
        }

        fn open(&self) -> u64 {
            let open = self.counters.snapshot().tcp_connections();
            assert_eq!(open, self.tcp.by_client.len() as u64);
            let by_network: usize = self.tcp.by_network.values().sum();
            assert_eq!(open, by_network as u64);
            open
        }

        fn closed(&self, closing: Closing) -> u64 {
            let counts = self.counters.snapshot();
            let mut closed = counts.tcp_closed();
            closed.find(|(reason, _)| *reason == closing).unwrap().1
        }

        fn send(&mut self, client: SocketAddr, packet: &[u8]) -> Result<(), DropReason> {
            self.tcp.send(self.now, FIRST_INGRESS, client, packet)
        }
    }

    fn framed(packet: &[u8]) -> Vec<u8> {
        [&(packet.len() as u16).to_be_bytes()[..], packet].concat()
    }

    /// The next frame that the client reads.
    fn frame(stream: &mut std::net::TcpStream) -> Vec<u8> {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut packet).unwrap();
        packet
    }

    /// Whether the relay has closed the connection, after what it sent on it.
    fn is_over(stream: &mut std::net::TcpStream) -> bool {
        let read = stream.read_to_end(&mut Vec::new());
        read.is_ok() || read.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
    }

    #[test]
    fn a_packet_goes_in_and_one_comes_back() {
        let mut worker = Worker::new(LIMITS);
        let mut stream = worker.connect();
        let client = stream.local_addr().unwrap();
        stream.write_all(&framed(b"request")).unwrap();
        worker.until("a packet is heard", |worker| !worker.heard.is_empty());
        assert_eq!(worker.heard, [(FIRST_INGRESS, client, b"request".to_vec())]);
        worker.send(client, b"response").unwrap();
        assert_eq!(frame(&mut stream), b"response");
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let mut worker = Worker::new(LIMITS);
        let mut stream = worker.connect();
        for byte in framed(b"byte by byte") {
            stream.write_all(&[byte]).unwrap();
            worker.turn(Duration::from_millis(1));
        }
        let two = [framed(b"two at"), framed(b"once")].concat();
        stream.write_all(&two).unwrap();
        worker.until("all is heard", |worker| worker.heard.len() == 3);
        let packets = worker.heard.iter().map(|(_, _, packet)| &packet[..]);
        let packets: Vec<_> = packets.collect();
        assert_eq!(packets, [&b"byte by byte"[..], b"two at", b"once"]);
    }

    #[test]
    fn a_frame_that_is_too_long_closes_the_connection() {
        let mut worker = Worker::new(LIMITS);
        let mut stream = worker.connect();
        let bytes = [framed(b"good"), vec![0xFF; 100]].concat();
        stream.write_all(&bytes).unwrap();
        worker.until("it is closed", |worker| worker.open() == 0);
        assert_eq!(worker.closed(Closing::Oversize), 1);
        assert_eq!(worker.heard.len(), 1);
        assert!(is_over(&mut stream));
    }

    #[test]
    fn nothing_longer_than_a_packet_of_ours_is_sent() {
        let mut worker = Worker::new(LIMITS);
        let client = worker.connect().local_addr().unwrap();
        let packet = [0; MAX_CLIENT_DATAGRAM + 1];
        assert_eq!(worker.send(client, &packet), Err(DropReason::SendTooBig));
        assert_eq!(worker.send(client, &packet[1..]), Ok(()));
    }

    #[test]
    fn a_flood_of_half_open_connections_stays_within_the_limits_and_is_gone_after_the_deadline() {
        let mut worker = Worker::new(LIMITS);
        let mut streams = Vec::new();
        for number in 0..2000 {
            let mut stream = worker.connect();
            if number < LIMITS.connections {
                streams.push(stream);
            } else {
                assert!(is_over(&mut stream), "connection {number}");
            }
        }
        assert_eq!(worker.open(), LIMITS.connections as u64);
        assert_eq!(worker.counters.snapshot().tcp_refused, 1950);
        // Half of them begin a frame.
        for stream in streams.iter_mut().step_by(2) {
            stream.write_all(&[0]).unwrap();
        }
        worker.turn(Duration::ZERO);
        worker.now = FIRST_FRAME_WITHIN - Duration::from_millis(1);
        worker.tcp.expire(worker.now);
        assert_eq!(worker.open(), LIMITS.connections as u64);
        worker.now = FIRST_FRAME_WITHIN;
        worker.tcp.expire(worker.now);
        assert_eq!(worker.open(), 0);
        let closed = worker.closed(Closing::Silent) + worker.closed(Closing::SlowFrame);
        assert_eq!(closed, LIMITS.connections as u64);
        assert!(streams.iter_mut().all(is_over));
        assert_eq!(worker.tcp.peers.len(), LIMITS.connections);
        // And there is room again.
        worker.connect();
        assert_eq!(worker.open(), 1);
    }

    #[test]
    fn a_connection_that_no_owner_answers_ends_and_an_answered_one_stays() {
        let mut worker = Worker::new(LIMITS);
        let mut streams = [worker.connect(), worker.connect()];
        for stream in &mut streams {
            stream.write_all(&framed(b"request")).unwrap();
        }
        worker.until("both are heard", |worker| worker.heard.len() == 2);
        let client = streams[0].local_addr().unwrap();
        worker.send(client, b"answer").unwrap();
        worker.now = CONFIRMED_WITHIN;
        worker.tcp.expire(worker.now);
        assert_eq!((worker.open(), worker.closed(Closing::Unconfirmed)), (1, 1));
        // Reset, so that the kernel keeps nothing of it.
        let error = streams[1].read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(worker.send(client, b"more"), Ok(()));
        let other = streams[1].local_addr().unwrap();
        assert_eq!(worker.send(other, b"more"), Err(DropReason::TcpGone));
    }

    #[test]
    fn a_closed_connection_leaves_nothing_behind() {
        let mut worker = Worker::new(LIMITS);
        let mut stream = worker.connect();
        worker.turn(Duration::ZERO);
        stream.write_all(&framed(b"request")).unwrap();
        worker.wake(PATIENCE);
        assert_eq!(worker.tcp.ready, [0]);
        worker.tcp.expire(FIRST_FRAME_WITHIN);
        assert_eq!(worker.open(), 0);
        assert!(worker.tcp.ready.is_empty());
        assert!(worker.tcp.by_network.is_empty());
        assert_eq!(worker.tcp.free, [0]);
    }

    #[test]
    fn a_slow_reader_loses_packets_first_and_the_connection_after_the_deadline() {
        let mut worker = Worker::new(LIMITS);
        let mut stream = worker.connect();
        let client = stream.local_addr().unwrap();
        stream.write_all(&framed(b"request")).unwrap();
        worker.until("a packet is heard", |worker| !worker.heard.is_empty());
        let lost = |worker: &Worker| worker.counters.snapshot().dropped(DropReason::TcpSlow);
        // As much as the kernel takes for a client that does not read, and more.
        let mut sent: u64 = 0;
        while lost(&worker) == 0 {
            worker.send(client, &[0; 1200]).unwrap();
            sent += 1;
            assert!(sent < 100_000, "nothing is lost");
        }
        let limit = TAKEN_WITHIN;
        worker.now = limit - Duration::from_millis(1);
        worker.tcp.expire(worker.now);
        assert_eq!(worker.open(), 1);

        // It reads again: what got late is gone, what is new comes, and no frame is broken.
        worker.send(client, b"fresh").unwrap();
        let reader = std::thread::spawn(move || {
            let mut frames = 0;
            while frame(&mut stream) != b"fresh" {
                frames += 1;
            }
            (stream, frames)
        });
        worker.until("all is taken", |_| reader.is_finished());
        let (_stream, frames) = reader.join().unwrap();
        assert_eq!(frames + lost(&worker), sent);

        // The next time it does not.
        let before = lost(&worker);
        while lost(&worker) == before {
            worker.send(client, &[0; 1200]).unwrap();
        }
        worker.now += limit;
        worker.tcp.expire(worker.now);
        assert_eq!((worker.open(), worker.closed(Closing::Stalled)), (0, 1));
    }

    #[test]
    fn one_address_gets_its_share_and_no_more() {
        let limits = TcpLimits {
            per_address: 3,
            ..LIMITS
        };
        let mut worker = Worker::new(limits);
        let mut streams: Vec<_> = (0..5).map(|_| worker.connect()).collect();
        assert_eq!(worker.open(), 3);
        assert!(streams.drain(3..).all(|mut stream| is_over(&mut stream)));
        // One that leaves makes room.
        streams.pop();
        worker.until("it has left", |worker| worker.open() == 2);
        streams.push(worker.connect());
        assert_eq!(worker.open(), 3);
    }

    #[test]
    fn an_ipv6_customer_is_its_64() {
        let one: IpAddr = "2001:db8:1:2:3::4".parse().unwrap();
        let same: IpAddr = "2001:db8:1:2:ffff::".parse().unwrap();
        let other: IpAddr = "2001:db8:1:3::".parse().unwrap();
        assert_eq!(network(one), network(same));
        assert_ne!(network(one), network(other));
        let v4 = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(network(v4), v4);
    }

    #[test]
    fn a_connection_ends_as_its_client_ends_it() {
        let mut worker = Worker::new(LIMITS);
        let (left, broken) = (worker.connect(), worker.connect());
        left.shutdown(Shutdown::Both).unwrap();
        abort_std(&broken);
        drop(broken);
        worker.until("both are gone", |worker| worker.open() == 0);
        assert_eq!(worker.closed(Closing::Client), 1);
        assert_eq!(worker.closed(Closing::Reset), 1);
    }

    #[test]
    fn a_reset_found_by_sending_ends_the_connection() {
        let mut worker = Worker::new(LIMITS);
        let stream = worker.connect();
        let client = stream.local_addr().unwrap();
        abort_std(&stream);
        drop(stream);
        assert_eq!(worker.send(client, b"late"), Err(DropReason::SendFailed));
        assert_eq!(worker.send(client, b"late"), Err(DropReason::TcpGone));
        assert_eq!(worker.closed(Closing::Reset), 1);
    }

    fn abort_std(stream: &std::net::TcpStream) {
        SockRef::from(stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    #[test]
    fn a_firehose_leaves_others_and_udp_their_turns() {
        let mut worker = Worker::new(LIMITS);
        let (mut firehose, mut other) = (worker.connect(), worker.connect());
        worker.turn(Duration::ZERO);
        // As much as the kernel holds.
        firehose.set_nonblocking(true).unwrap();
        let packets = framed(&[0x80; 1000]).repeat(10);
        while firehose.write(&packets).is_ok() {}
        other.write_all(&framed(b"a word")).unwrap();
        let client = other.local_addr().unwrap();
        for turn in 0.. {
            assert!(turn < 10, "the other client starves");
            let before = worker.heard.len();
            worker.turn(PATIENCE);
            assert!(worker.heard.len() - before <= 100, "UDP starves");
            if worker.heard.iter().any(|(_, from, _)| *from == client) {
                break;
            }
        }
        worker.until("more of the flood is heard", |worker| {
            worker.heard.len() > 70
        });
    }

    #[test]
    fn workers_share_an_address_and_a_second_relay_is_refused() {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = Listener::bind(any, Sharing::Opened, false).unwrap();
        let address = first.local_addr();
        let second = Listener::bind(address, Sharing::Joined, false).unwrap();
        assert_eq!(second.local_addr(), address);
        for sharing in [Sharing::Opened, Sharing::Exclusive] {
            let Err(error) = Listener::bind(address, sharing, false) else {
                panic!("{address} was free");
            };
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
        drop((first, second));
        Listener::bind(address, Sharing::Opened, false).unwrap();
    }

    #[test]
    fn a_restarted_relay_listens_though_old_connections_linger() {
        let mut worker = Worker::new(LIMITS);
        let address = worker.address;
        let stream = worker.connect();
        // The relay's end goes first, and waits for late packets of the client.
        drop(worker);
        drop(stream);
        Worker::listening(&address.to_string(), LIMITS).unwrap();
    }

    #[test]
    fn a_dual_stack_listener_knows_ipv4_clients_by_their_own_address() {
        let Ok(mut worker) = Worker::listening("[::]:0", LIMITS) else {
            return; // A machine without IPv6.
        };
        worker.address.set_ip(Ipv4Addr::LOCALHOST.into());
        let mut stream = worker.connect();
        let client = stream.local_addr().unwrap();
        assert!(client.is_ipv4());
        stream.write_all(&framed(b"request")).unwrap();
        worker.until("a packet is heard", |worker| !worker.heard.is_empty());
        assert_eq!(worker.heard[0].1, client);
        worker.send(client, b"response").unwrap();
        assert_eq!(frame(&mut stream), b"response");
    }
}
