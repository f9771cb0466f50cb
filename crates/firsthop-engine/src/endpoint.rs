//! A shard's thread and socket: the one place in the engine with I/O and a clock.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use firsthop_udp::{Inbox, Options, Outbox, Received, SendError, Sharing, Socket};
use firsthop_wire::bundle::Bundler;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::bell::Bell;
use crate::counters::{Counters, DropReason};
use crate::mailbox::EventSender;
use crate::shard::{Command, Now, Output, Packet, Shard};

const SOCKET: Token = Token(0);
const COMMANDS: Token = Token(1);
/// Datagrams received at a time, and the room for each. Relays send trains, which come as one
/// (GRO), so few are many.
const INBOX_DATAGRAMS: usize = 16;
const INBOX_BYTES_EACH: usize = 64 << 10;
/// Datagrams and trains sent at a time.
const OUTBOX_DATAGRAMS: usize = 64;
/// Commands that may wait for a shard.
const MAX_COMMANDS: usize = 4096;
/// Batches read before time-outs and commands get their turn again.
const MAX_BATCHES: usize = 32;
/// From so many sessions on, the loop takes turns: what arrives and falls due meanwhile is read, sent
/// and reported together. Else each packet of a crowd is a wake-up and three system calls of its
/// own, which cost as much as all that the session does with it.
const CROWD: usize = 4;
const LONGEST_TURN: Duration = Duration::from_millis(5);
/// Of many sessions enough comes in less time, and the socket has no room for more.
const TURN_OF_ONE: Duration = Duration::from_millis(500);
/// Turns are as short for so long after a session was added: each step of its handshake waits for one.
const SHORTEST_TURN: Duration = Duration::from_millis(1);
const NEW: Duration = Duration::from_secs(1);
/// Without any deadline the thread still looks at its mailbox this often.
const IDLE: Duration = Duration::from_secs(1);
/// At a shutdown sessions say goodbye for so long.
const GOODBYE: Duration = Duration::from_millis(300);

/// The shard does not keep up, or is gone; the command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxFull;

/// Binds the socket of a shard.
///
/// # Errors
/// As the kernel says, with the address in the message.
pub(crate) fn bind(address: SocketAddr) -> io::Result<Socket> {
    let options = Options {
        sharing: Sharing::Exclusive,
        only_v6: false,
        gro: true,
    };
    Socket::bind(address, options)
        .map_err(|error| io::Error::new(error.kind(), format!("listen {error}")))
}

/// A running shard.
pub(crate) struct Endpoint {
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Starts the thread of `shard` on a bound socket.
    ///
    /// # Errors
    /// When the kernel has no thread or poll instance to give.
    pub(crate) fn start(
        name: String,
        mut socket: Socket,
        shard: Shard,
        counters: Arc<Counters>,
        events: EventSender,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut socket, SOCKET, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), COMMANDS)?);
        let bell = Arc::new(Bell::new(Instant::now()));
        let (commands, mailbox) = sync_channel(MAX_COMMANDS);
        let looper = Loop {
            poll,
            socket,
            inbox: Inbox::new(INBOX_DATAGRAMS, INBOX_BYTES_EACH),
            bundler: Bundler::default(),
            outbox: Outbox::new(OUTBOX_DATAGRAMS),
            shard,
            counters,
            events,
            mailbox,
            bell: Arc::clone(&bell),
        };
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || looper.run())?;
        Ok(Self {
            commands,
            waker,
            bell,
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
        if self.bell.call(Instant::now()) {
            // One that fails only delays the commands to the next packet or time-out.
            let _ = self.waker.wake();
        }
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
    socket: Socket,
    inbox: Inbox,
    bundler: Bundler,
    /// Each with the number of packets in it.
    outbox: Outbox<u64>,
    shard: Shard,
    counters: Arc<Counters>,
    events: EventSender,
    mailbox: Receiver<Command>,
    bell: Arc<Bell>,
}

impl Loop {
    fn run(mut self) {
        let mut events = Events::with_capacity(8);
        let mut output = Output::default();
        let mut open = true;
        let mut last_word = None;
        let mut more = false;
        let mut turn = Instant::now();
        loop {
            let mut now = clock();
            let is_new = |added| now.instant < added + NEW;
            let apart = turn_length(
                self.shard.sessions(),
                self.shard.newest().is_some_and(is_new),
            );
            let rest = (turn + apart).saturating_duration_since(now.instant);
            if !more && rest > Duration::ZERO {
                std::thread::sleep(rest);
                now = clock();
            }
            let done = match last_word {
                Some(deadline) => now.instant >= deadline || self.shard.sessions() == 0,
                None => false,
            };
            if done {
                return;
            }
            let due = [self.shard.deadline(), self.events.deadline()];
            let due = due.into_iter().flatten().min();
            let wait = due.map_or(IDLE, |due| due.saturating_duration_since(now.instant));
            let wait = wait.min(IDLE);
            let called = self.bell.set(now.instant + wait);
            let wait = if more || called { Duration::ZERO } else { wait };
            // An interrupted poll is a poll that saw nothing.
            let _ = self.poll.poll(&mut events, Some(wait));
            turn = Instant::now();
            more = self.read(&mut output);
            let now = clock();
            self.bell.answered();
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
            self.write(now, &mut output);
            self.events.handle_timeout(now.instant);
        }
    }

    /// Reads what has arrived. Readiness is edge-triggered, so it reads until the socket is dry,
    /// or returns true: then it wants to be called again, with no wait in between.
    fn read(&mut self, output: &mut Output) -> bool {
        for _ in 0..MAX_BATCHES {
            let Ok(received) = self.inbox.receive(&self.socket) else {
                // No packet can cause that. The next turn looks again.
                return false;
            };
            let now = clock();
            for (source, datagram) in self.inbox.datagrams() {
                self.shard.receive(now, source, datagram, output);
            }
            self.write(now, output);
            if received == Received::Drained {
                return false;
            }
        }
        true
    }

    /// Lets all of `output` go: packets in as few system calls as it takes, and events to the
    /// mailbox, where sound may wait for company.
    fn write(&mut self, now: Now, output: &mut Output) {
        let Self {
            socket,
            bundler,
            outbox,
            counters,
            ..
        } = self;
        let account = |packets, sent: Result<(), SendError>| {
            if sent.is_err() {
                counters.drop_many(DropReason::SendFailed, packets);
            }
        };
        let mut post = |to, contents: &[u8], segment_size, packets| {
            if outbox.is_full() {
                outbox.flush(socket, account);
            }
            outbox.push(to, contents, segment_size, packets);
        };
        for Packet {
            to,
            header,
            contents,
        } in output.packets.drain(..)
        {
            match header {
                Some(header) => bundler.push(to, &header, &contents, |train| {
                    post(
                        train.to,
                        train.contents(),
                        train.segment_size(),
                        train.packets,
                    )
                }),
                None => post(to, &contents, None, 1),
            }
        }
        bundler.flush(|train| {
            post(
                train.to,
                train.contents(),
                train.segment_size(),
                train.packets,
            )
        });
        outbox.flush(socket, account);
        let lost = self.events.send(now.instant, output.events.drain(..));
        self.counters.drop_many(DropReason::EventsFull, lost);
    }
}

/// How far apart turns begin, at least.
fn turn_length(sessions: usize, has_new: bool) -> Duration {
    if sessions < CROWD {
        return Duration::ZERO;
    }
    if has_new {
        return SHORTEST_TURN;
    }
    let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
    (TURN_OF_ONE / sessions).clamp(SHORTEST_TURN, LONGEST_TURN)
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

#[cfg(test)]
mod tests {
    use firsthop_wire::bundle::Train;
    use firsthop_wire::hop::{self, Direction, Flags, HOP_LIMIT, Header, HopSecrets};

    use super::*;
    use crate::mailbox::mailbox;
    use crate::shard::RelayLink;

    fn client(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], number))
    }

    #[test]
    fn turns_are_long_where_little_comes_and_nobody_waits_for_them() {
        let ms = Duration::from_millis;
        assert_eq!(turn_length(3, false), Duration::ZERO);
        assert_eq!(turn_length(4, false), ms(5));
        assert_eq!(turn_length(100, false), ms(5));
        assert_eq!(turn_length(250, false), ms(2));
        assert_eq!(turn_length(1_000, false), ms(1));
        assert_eq!(turn_length(3, true), Duration::ZERO);
        assert_eq!(turn_length(4, true), ms(1));
    }

    #[test]
    fn answers_to_a_train_leave_as_trains_in_order() {
        let mut secrets = HopSecrets::default();
        secrets.insert(0, &[1; hop::SECRET_LEN]);
        let local = "127.0.0.1:0".parse().unwrap();
        let (socket, relay) = (bind(local).unwrap(), bind(local).unwrap());
        let address = socket.local_addr();
        let counters = Arc::new(Counters::default());
        let link = RelayLink::new(&secrets, 0, address);
        let shard = Shard::new(link, false, Arc::clone(&counters));
        let events = mailbox().unwrap();
        let sender = events.sender().unwrap();
        let _endpoint = Endpoint::start(
            "engine-test".into(),
            socket,
            shard,
            Arc::clone(&counters),
            sender,
        );

        // Packets of sessions that nobody has: each is answered, without contents.
        let key = secrets.pair(0, address).unwrap();
        let (mut bundler, mut outbox) = (Bundler::default(), Outbox::new(64));
        let mut post = |train: &Train| {
            outbox.push(train.to, train.contents(), train.segment_size(), ());
        };
        for number in 0..1000 {
            let header = Header {
                direction: Direction::Up,
                flags: Flags::default(),
                key_id: 0,
                hop_limit: HOP_LIMIT,
                tick: hop::tick_at(clock().unix_seconds),
                client: client(number),
                ingress: 0,
                return_hop: None,
            };
            bundler.push(address, &header.seal(&key), &[0x80; 100], &mut post);
        }
        bundler.flush(&mut post);
        outbox.flush(&relay, |(), sent| assert_eq!(sent, Ok(())));

        let mut inbox = Inbox::new(INBOX_DATAGRAMS, INBOX_BYTES_EACH);
        let (mut answered, mut datagrams) = (Vec::new(), 0);
        let patience = Instant::now() + Duration::from_secs(10);
        while answered.len() < 1000 && Instant::now() < patience {
            inbox.receive(&relay).unwrap();
            for (source, datagram) in inbox.datagrams() {
                assert_eq!(source, address);
                datagrams += 1;
                for record in hop::records(datagram).map(Result::unwrap) {
                    record.verify(&key, clock().unix_seconds).unwrap();
                    assert_eq!(record.header.flags, Flags::NO_SESSION);
                    answered.push(record.header.client);
                }
            }
        }
        assert!(answered.into_iter().eq((0..1000).map(client)));
        assert!(datagrams < 200, "{datagrams} datagrams for 1000 records");
        assert_eq!(counters.dropped(DropReason::UnknownSession), 1000);
    }
}
