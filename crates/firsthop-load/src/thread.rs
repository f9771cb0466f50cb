//! A thread of callers and their sockets: the one place here with I/O and a clock.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use firsthop_udp::{Inbox, Received, Socket};
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::caller::{Caller, Outbox};
use crate::counts::Counts;
use crate::gaps::Gaps;
use crate::report::{Failure, Phase, Report};
use crate::{CallerId, Stopped};

/// Of sockets; theirs are the numbers of their slots.
const COMMANDS: Token = Token(usize::MAX);
const EVENTS: usize = 1024;
/// Sockets read before callers that want to speak get their turn again.
const SOCKETS_AT_A_TIME: usize = 8;
/// Datagrams received at a time, and the room for each.
const INBOX_DATAGRAMS: usize = 8;
const INBOX_BYTES_EACH: usize = 2048;
/// Batches read from one socket before others get their turn.
const MAX_BATCHES: usize = 16;
/// Commands that may wait.
const MAX_COMMANDS: usize = 256;
/// Messages that are kept for who asks, of all callers.
const MAX_MESSAGES: usize = 16_384;
/// Without any deadline the thread still looks at its mailbox this often.
const IDLE: Duration = Duration::from_secs(1);
/// A caller is not woken again within this.
const SHORTEST_WAIT: Duration = Duration::from_micros(100);
/// A datagram has not waited longer to be read: then somebody set the system's clock.
const LONGEST_AGO: Duration = Duration::from_secs(1);
/// At the end callers say goodbye for so long.
const GOODBYE: Duration = Duration::from_millis(300);

/// What a thread is asked to do.
pub(crate) enum Command {
    Add(CallerId, Box<Caller>, Line),
    Send(CallerId, String),
    HangUp(CallerId),
    Measure,
    Summary(SyncSender<Summary>),
    Messages(SyncSender<Vec<(CallerId, String)>>),
    LongestGap(SyncSender<Duration>),
    Over(SyncSender<Vec<(CallerId, Option<Failure>)>>),
    Report(CallerId, SyncSender<Option<Report>>),
}

/// A caller's socket.
pub(crate) struct Line {
    pub(crate) socket: Socket,
    /// The one address that it exchanges packets with.
    pub(crate) server: Option<SocketAddr>,
}

/// The sums of a thread.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) phases: Vec<Phase>,
    pub(crate) counts: Counts,
    pub(crate) gaps: Gaps,
}

/// A running thread.
pub(crate) struct Thread {
    commands: SyncSender<Command>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts a thread without callers.
    ///
    /// # Errors
    /// When the kernel has no thread or poll instance to give.
    pub(crate) fn start(name: String) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), COMMANDS)?;
        let (commands, mailbox) = sync_channel(MAX_COMMANDS);
        let looper = Loop {
            poll,
            mailbox,
            inbox: Inbox::new(INBOX_DATAGRAMS, INBOX_BYTES_EACH),
            outbox: Outbox::default(),
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            deadlines: BTreeSet::new(),
            unread: Vec::new(),
            messages: Vec::new(),
            gone: Counts::default(),
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

    /// Hands it a command; waits while too many do.
    ///
    /// # Errors
    /// [`Stopped`] when the thread is gone.
    pub(crate) fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).map_err(|_| Stopped)?;
        // One that fails only delays the command to the next packet or time-out.
        let _ = self.waker.wake();
        Ok(())
    }

    /// Hands it a question, and waits for the answer.
    ///
    /// # Errors
    /// [`Stopped`] when the thread is gone.
    pub(crate) fn ask<T>(
        &self,
        question: impl FnOnce(SyncSender<T>) -> Command,
    ) -> Result<T, Stopped> {
        let (reply, answer) = sync_channel(1);
        self.send(question(reply))?;
        answer.recv().map_err(|_| Stopped)
    }
}

impl Drop for Thread {
    /// Closes the mailbox; the thread's callers hang up, and it is waited for.
    fn drop(&mut self) {
        let (closed, _) = sync_channel(0);
        self.commands = closed;
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Slot {
    id: CallerId,
    caller: Box<Caller>,
    /// None, once it is over.
    line: Option<Line>,
    /// Its entry in the queue of deadlines: at its deadline or before.
    scheduled: Option<Instant>,
    /// It hung up: nobody asks for it any more.
    forgotten: bool,
}

struct Loop {
    poll: Poll,
    mailbox: Receiver<Command>,
    inbox: Inbox,
    outbox: Outbox,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    by_id: HashMap<CallerId, usize>,
    deadlines: BTreeSet<(Instant, usize)>,
    /// Sockets in which something was left.
    unread: Vec<usize>,
    /// What came to callers and is wanted.
    messages: Vec<(CallerId, String)>,
    /// What callers did that are forgotten.
    gone: Counts,
}

impl Loop {
    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut last_word = None;
        loop {
            let now = Instant::now();
            if last_word.is_some_and(|end| now >= end || self.by_id.is_empty()) {
                return;
            }
            self.wait(now, &mut events);
            let unread = std::mem::take(&mut self.unread);
            let ready = events.iter().map(|event| event.token());
            let ready = ready.filter(|&token| token != COMMANDS);
            let ready = unread.into_iter().chain(ready.map(usize::from));
            for (turn, slot) in ready.enumerate() {
                self.read(slot);
                if turn % SOCKETS_AT_A_TIME == SOCKETS_AT_A_TIME - 1 {
                    self.handle_timeouts();
                }
            }
            self.handle_timeouts();
            while last_word.is_none() {
                match self.mailbox.try_recv() {
                    Ok(command) => self.handle_command(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        last_word = Some(Instant::now() + GOODBYE);
                        for id in self.by_id.keys().copied().collect::<Vec<_>>() {
                            self.handle_command(Command::HangUp(id));
                        }
                    }
                }
            }
        }
    }

    /// Waits for packets and commands, until the next deadline at most.
    fn wait(&mut self, now: Instant, events: &mut Events) {
        let due = self.deadlines.first().map_or(now + IDLE, |&(due, _)| due);
        let wait = due.saturating_duration_since(now).min(IDLE);
        if !wait.is_zero() && self.unread.is_empty() {
            // Mio waits for whole milliseconds; callers have their time to the microsecond.
            let timeout = Timespec::try_from(wait).ok();
            let mut ready = [PollFd::new(self.poll.registry(), PollFlags::IN)];
            let _ = rustix::event::poll(&mut ready, timeout.as_ref());
        }
        // An interrupted poll is a poll that saw nothing.
        let _ = self.poll.poll(events, Some(Duration::ZERO));
    }

    fn handle_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Add(id, caller, line) => self.add(now, id, caller, line),
            Command::Send(id, text) => {
                self.with_id(now, id, |caller, outbox| caller.send(now, text, outbox));
            }
            Command::HangUp(id) => {
                self.with_id(now, id, |caller, outbox| caller.hang_up(now, outbox));
                self.forget(now, id);
            }
            Command::Measure => {
                self.gone = Counts::default();
                self.outbox.gaps = Gaps::default();
                for slot in self.slots.iter_mut().flatten() {
                    slot.caller.measure();
                }
            }
            // Who asked and did not wait wants no answer.
            Command::Summary(reply) => drop(reply.try_send(self.summary())),
            Command::Messages(reply) => {
                drop(reply.try_send(std::mem::take(&mut self.messages)));
            }
            Command::LongestGap(reply) => {
                let _ = reply.try_send(self.outbox.gaps.take_longest());
            }
            Command::Over(reply) => drop(reply.try_send(self.over())),
            Command::Report(id, reply) => {
                let slot = self
                    .by_id
                    .get(&id)
                    .and_then(|&slot| self.slots[slot].as_ref());
                let slot = slot.filter(|slot| !slot.forgotten);
                drop(reply.try_send(slot.map(|slot| slot.caller.report())));
            }
        }
    }

    fn summary(&self) -> Summary {
        let mut counts = self.gone;
        let mut phases = Vec::with_capacity(self.slots.len());
        for slot in self.slots.iter().flatten() {
            counts += slot.caller.counts();
            if !slot.forgotten {
                phases.push(slot.caller.phase());
            }
        }
        Summary {
            phases,
            counts,
            gaps: self.outbox.gaps.clone(),
        }
    }

    fn over(&self) -> Vec<(CallerId, Option<Failure>)> {
        let slots = self.slots.iter().flatten().filter(|slot| !slot.forgotten);
        let over =
            slots.filter(|slot| matches!(slot.caller.phase(), Phase::Closed | Phase::Failed));
        over.map(|slot| (slot.id, slot.caller.failure())).collect()
    }

    fn add(&mut self, now: Instant, id: CallerId, caller: Box<Caller>, mut line: Line) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let registry = self.poll.registry();
        let registered = registry.register(&mut line.socket, Token(index), Interest::READABLE);
        self.slots[index] = Some(Slot {
            id,
            caller,
            // Without the poll's help it hears nothing, and fails in its time.
            line: registered.is_ok().then_some(line),
            scheduled: None,
            forgotten: false,
        });
        self.by_id.insert(id, index);
        self.schedule(index, now);
    }

    /// Reads what has arrived at a socket. Readiness is edge-triggered, so it is read dry, or has
    /// its turn again.
    fn read(&mut self, index: usize) {
        for _ in 0..MAX_BATCHES {
            let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else {
                return;
            };
            let Some(line) = &slot.line else { return };
            let Ok(received) = self.inbox.receive(&line.socket) else {
                return;
            };
            let now = Instant::now();
            let unix = SystemTime::now().duration_since(UNIX_EPOCH);
            let unix = unix.unwrap_or_default();
            for (source, datagram, stamp) in self.inbox.stamped() {
                let ago = stamp.map_or(Duration::ZERO, |stamp| unix.saturating_sub(stamp));
                let arrived = now.checked_sub(ago.min(LONGEST_AGO)).unwrap_or(now);
                slot.caller
                    .receive(now, arrived, source, datagram, &mut self.outbox);
            }
            self.settle(index, now);
            if received == Received::Drained {
                return;
            }
        }
        self.unread.push(index);
    }

    /// Wakes the callers that are due now. Those that become due meanwhile have their turn after
    /// sockets had theirs.
    fn handle_timeouts(&mut self) {
        let start = Instant::now();
        let mut now = start;
        while let Some(&(scheduled, index)) = self.deadlines.first() {
            if scheduled > start {
                return;
            }
            self.deadlines.pop_first();
            let Some(slot) = self.slots[index].as_mut() else {
                continue;
            };
            slot.scheduled = None;
            // What a caller waits for moves with every packet, mostly to later. The queue learns of
            // it here, and not with every packet.
            if slot.caller.deadline().is_some_and(|due| due <= now) {
                slot.caller.handle_timeout(now, &mut self.outbox);
                // Sending takes time, and the next one should not seem to be on time for that.
                now = Instant::now();
            }
            self.settle(index, now);
        }
    }

    fn with_id(&mut self, now: Instant, id: CallerId, call: impl FnOnce(&mut Caller, &mut Outbox)) {
        let Some(&index) = self.by_id.get(&id) else {
            return;
        };
        if let Some(slot) = self.slots[index].as_mut() {
            call(&mut slot.caller, &mut self.outbox);
            self.settle(index, now);
        }
    }

    fn forget(&mut self, now: Instant, id: CallerId) {
        let Some(&index) = self.by_id.get(&id) else {
            return;
        };
        if let Some(slot) = self.slots[index].as_mut() {
            slot.forgotten = true;
            self.settle(index, now);
        }
    }

    /// After every call into a caller: sends what it wants sent, and learns when it is next due.
    fn settle(&mut self, index: usize, now: Instant) {
        let Some(slot) = self.slots[index].as_mut() else {
            return;
        };
        for (to, contents) in self.outbox.packets.drain(..) {
            let sent = slot
                .line
                .as_ref()
                .is_some_and(|line| line.send(to, &contents));
            if !sent {
                slot.caller.not_sent();
            }
        }
        while let Some(message) = slot.caller.take_message() {
            if self.messages.len() < MAX_MESSAGES {
                self.messages.push((slot.id, message));
            }
        }
        if slot.caller.is_over() {
            slot.line = None;
            if slot.forgotten {
                self.remove(index);
            }
            return;
        }
        let due = slot.caller.deadline();
        if let Some(due) = due.map(|due| due.max(now + SHORTEST_WAIT))
            && slot.scheduled.is_none_or(|scheduled| due < scheduled)
        {
            self.schedule(index, due);
        }
    }

    fn schedule(&mut self, index: usize, due: Instant) {
        let Some(slot) = self.slots[index].as_mut() else {
            return;
        };
        if let Some(scheduled) = slot.scheduled.replace(due) {
            self.deadlines.remove(&(scheduled, index));
        }
        self.deadlines.insert((due, index));
    }

    fn remove(&mut self, index: usize) {
        let Some(slot) = self.slots[index].take() else {
            return;
        };
        if let Some(scheduled) = slot.scheduled {
            self.deadlines.remove(&(scheduled, index));
        }
        self.gone += slot.caller.counts();
        self.by_id.remove(&slot.id);
        self.free.push(index);
    }
}

impl Line {
    /// Whether the system took it.
    fn send(&self, to: SocketAddr, contents: &[u8]) -> bool {
        match self.server {
            Some(server) if server == to => self.socket.send(contents),
            // The socket would send it, and not hear the answer.
            Some(_) => return false,
            None => self.socket.send_to(contents, to),
        }
        .is_ok()
    }
}
