//! A shard's thread and socket: the one place in the engine with I/O and a clock.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use crate::counters::{Counters, DropReason};
use crate::mailbox::EventSender;
use crate::shard::{Command, Now, Output, Shard};

const SOCKET: Token = Token(0);
const COMMANDS: Token = Token(1);
/// Asked of the kernel; it gives what its limits allow.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Several datagrams of one sender may come as one (GRO), up to the size of any UDP payload.
const RECEIVE_BYTES: usize = 64 * 1024;
/// Commands that may wait for a shard.
const MAX_COMMANDS: usize = 4096;
/// Batches read before time-outs and commands get their turn again.
const MAX_BATCHES: usize = 16;
/// Without any deadline the thread still looks at its mailbox this often.
const IDLE: Duration = Duration::from_secs(1);
/// At a shutdown sessions say goodbye for so long.
const GOODBYE: Duration = Duration::from_millis(300);

/// The shard does not keep up, or is gone; the command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxFull;

/// A bound socket, not yet running.
pub(crate) struct Bound {
    socket: std::net::UdpSocket,
    address: SocketAddr,
}

impl Bound {
    /// Binds `address`.
    ///
    /// # Errors
    /// As the kernel says, with the address in the message.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let bind = || {
            let socket = Socket::new(
                Domain::for_address(address),
                Type::DGRAM,
                Some(Protocol::UDP),
            )?;
            // Best effort: the kernel caps what it gives to unprivileged processes.
            let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
            let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            let socket = std::net::UdpSocket::from(socket);
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        };
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("listen {address}: {error}"));
        bind().map_err(named)
    }

    /// The bound address, with the port that the kernel chose if 0 was asked for.
    #[must_use]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A running shard.
pub(crate) struct Endpoint {
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Starts the thread of `shard` on a bound socket.
    ///
    /// # Errors
    /// When the kernel has no thread or poll instance to give.
    pub(crate) fn start(
        name: String,
        bound: Bound,
        shard: Shard,
        counters: Arc<Counters>,
        events: EventSender,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut socket = UdpSocket::from_std(bound.socket);
        poll.registry()
            .register(&mut socket, SOCKET, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), COMMANDS)?);
        let state = UdpSocketState::new((&socket).into())?;
        let (commands, mailbox) = sync_channel(MAX_COMMANDS);
        let looper = Loop {
            poll,
            socket,
            state,
            shard,
            counters,
            events,
            mailbox,
        };
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || looper.run())?;
        Ok(Self {
            commands,
            waker,
            thread: Some(thread),
        })
    }

    /// Hands a command to the shard, without waiting.
    ///
    /// # Errors
    /// [`MailboxFull`].
    pub(crate) fn send(&self, command: Command) -> Result<(), MailboxFull> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                TrySendError::Full(_) | TrySendError::Disconnected(_) => MailboxFull,
            })?;
        // A wake-up that fails only delays the command to the next packet or time-out.
        let _ = self.waker.wake();
        Ok(())
    }
}

impl Drop for Endpoint {
    /// Closes the mailbox; the thread closes its sessions, and is waited for.
    fn drop(&mut self) {
        let (closed, _) = sync_channel(0);
        self.commands = closed;
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Loop {
    poll: Poll,
    socket: UdpSocket,
    state: UdpSocketState,
    shard: Shard,
    counters: Arc<Counters>,
    events: EventSender,
    mailbox: Receiver<Command>,
}

impl Loop {
    fn run(mut self) {
        let mut events = Events::with_capacity(8);
        let mut buffers = vec![[0; RECEIVE_BYTES]; BATCH_SIZE];
        let mut output = Output::default();
        let mut open = true;
        let mut last_word = None;
        let mut more = false;
        loop {
            let now = clock();
            let done = match last_word {
                Some(deadline) => now.instant >= deadline || self.shard.session_ids().is_empty(),
                None => false,
            };
            if done {
                return;
            }
            let due = self.shard.deadline();
            let wait = match due.map_or(IDLE, |due| due - now.instant) {
                _ if more => Duration::ZERO,
                wait => wait.min(IDLE),
            };
            // An interrupted poll is a poll that saw nothing.
            let _ = self.poll.poll(&mut events, Some(wait));
            more = self.read(&mut buffers, &mut output);
            let now = clock();
            while open {
                match self.mailbox.try_recv() {
                    Ok(command) => self.shard.handle_command(now, command, &mut output),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        open = false;
                        last_word = Some(now.instant + GOODBYE);
                        for id in self.shard.session_ids() {
                            self.shard
                                .handle_command(now, Command::Close(id), &mut output);
                        }
                    }
                }
            }
            self.shard.handle_timeout(now, &mut output);
            self.write(&mut output);
        }
    }

    /// Reads what has arrived. Readiness is edge-triggered, so it reads until the socket is dry,
    /// or returns true: then it wants to be called again, with no wait in between.
    fn read(&mut self, buffers: &mut [[u8; RECEIVE_BYTES]], output: &mut Output) -> bool {
        for _ in 0..MAX_BATCHES {
            let mut metas = [RecvMeta::default(); BATCH_SIZE];
            let mut slices: Vec<_> = buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
            let Self { socket, state, .. } = self;
            let received = socket.try_io(|| state.recv((&*socket).into(), &mut slices, &mut metas));
            let count = match received {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An ICMP error of an earlier send: nothing was received, more may wait.
                Err(_) => continue,
            };
            let now = clock();
            for (meta, buffer) in metas.iter().zip(buffers.iter()).take(count) {
                let source = canonical(meta.addr);
                for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                    self.shard.receive(now, source, datagram, output);
                }
            }
            self.write(output);
        }
        true
    }

    fn write(&mut self, output: &mut Output) {
        for datagram in output.datagrams.drain(..) {
            let transmit = Transmit {
                destination: datagram.to,
                ecn: None,
                contents: &datagram.bytes,
                segment_size: None,
                src_ip: None,
            };
            let Self { socket, state, .. } = self;
            if socket
                .try_io(|| state.try_send((&*socket).into(), &transmit))
                .is_err()
            {
                self.counters.drop_many(DropReason::SendFailed, 1);
            }
        }
        let lost = self.events.send(output.events.drain(..));
        self.counters.drop_many(DropReason::EventsFull, lost);
    }
}

fn clock() -> Now {
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        instant: Instant::now(),
        unix_seconds: unix.as_secs(),
    }
}

/// An IPv4 address as itself, also when a dual-stack socket shows it mapped into IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
