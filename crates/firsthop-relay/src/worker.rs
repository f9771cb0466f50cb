//! One thread, its sockets, its forwarder. Workers share nothing but their public addresses.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::{Events, Interest, Poll, Token, Waker};

use crate::bundle::{Bundle, Bundler};
use crate::config::RelayConfig;
use crate::counters::Counters;
use crate::drop_reason::DropReason;
use crate::forwarder::{Forwarder, Now, Verdict};
use crate::udp::{Batch, Received, Socket};

const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// Batches that one socket may have before it is the next one's turn.
const BATCHES_PER_TURN: usize = 4;

/// Public sockets have the tokens that are their ingress ids.
const UPSTREAM: Token = Token(usize::MAX - 1);
const WAKE: Token = Token(usize::MAX);

/// How another thread tells a worker to end.
pub(crate) struct Stopper {
    stopping: AtomicBool,
    waker: Waker,
}

impl Stopper {
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Failing to wake costs the rest of a second: the worker looks at least that often.
        let _ = self.waker.wake();
    }
}

/// What runs on one thread.
pub(crate) struct Worker {
    poll: Poll,
    /// By ingress id.
    public: Vec<Source>,
    upstream: Source,
    forwarder: Forwarder,
    counters: Arc<Counters>,
    stopper: Arc<Stopper>,
    batch: Batch,
    bundler: Bundler,
    started: Instant,
}

/// A socket, and whether something may be waiting there. Readiness is told once per arrival (the
/// system's edge), so a socket that was left with more must be remembered.
struct Source {
    socket: Socket,
    waiting: bool,
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
}

impl Worker {
    /// A worker ready to [`Worker::run`], and the means to stop it. `public` is in the order of
    /// ingress ids.
    pub(crate) fn new(
        config: &RelayConfig,
        public: Vec<Socket>,
        upstream: Socket,
        counters: Arc<Counters>,
    ) -> io::Result<(Self, Arc<Stopper>)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let stopper = Arc::new(Stopper {
            stopping: AtomicBool::new(false),
            waker,
        });
        let public = public.into_iter().enumerate();
        let worker = Self {
            public: public
                .map(|(ingress, socket)| Source::new(&poll, Token(ingress), socket))
                .collect::<io::Result<_>>()?,
            upstream: Source::new(&poll, UPSTREAM, upstream)?,
            poll,
            forwarder: Forwarder::new(config, Arc::clone(&counters)),
            counters,
            stopper: Arc::clone(&stopper),
            batch: Batch::new(),
            bundler: Bundler::default(),
            started: Instant::now(),
        };
        Ok((worker, stopper))
    }

    /// Forwards until it is stopped.
    ///
    /// # Errors
    /// When a socket or the poll itself fails in a way that no packet can cause.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        let mut next_expiry = EXPIRE_EVERY;
        while !self.stopper.stopping.load(Ordering::Relaxed) {
            let waiting = self.upstream.waiting || self.public.iter().any(|source| source.waiting);
            let elapsed = self.started.elapsed();
            let patience = if waiting {
                Duration::ZERO
            } else {
                next_expiry.saturating_sub(elapsed)
            };
            match self.poll.poll(&mut events, Some(patience)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    WAKE => {}
                    UPSTREAM => self.upstream.waiting = true,
                    Token(ingress) => self.public[ingress].waiting = true,
                }
            }
            for ingress in 0..self.public.len() {
                self.serve_public(ingress)?;
            }
            self.serve_upstream()?;

            let now = self.now();
            if now.elapsed >= next_expiry {
                next_expiry = now.elapsed + EXPIRE_EVERY;
                self.forwarder.expire(now);
                // One look a second at every socket, so that no lost edge silences one for longer.
                for source in self.public.iter_mut().chain([&mut self.upstream]) {
                    source.waiting = true;
                }
            }
        }
        Ok(())
    }

    /// One turn of a public socket: packets of clients go to their owners.
    fn serve_public(&mut self, ingress: usize) -> io::Result<()> {
        for _ in 0..BATCHES_PER_TURN {
            let source = &mut self.public[ingress];
            if !source.waiting {
                break;
            }
            receive(source, &mut self.batch, &self.counters)?;
            let now = self.now();
            let (upstream, counters) = (&self.upstream.socket, &*self.counters);
            let send = |bundle: &Bundle| match upstream.send(bundle.to, &bundle.datagram) {
                Ok(()) => {
                    counters.ingress_packets.add(bundle.packets);
                    counters.ingress_bytes.add(bundle.bytes);
                    counters.ingress_datagrams.add(1);
                }
                Err(reason) => counters.dropped(reason, bundle.packets),
            };
            for (client, packet) in self.batch.datagrams() {
                // As many public sockets as there are ingress ids: the configuration was checked.
                let verdict = self.forwarder.ingress(now, client, ingress as u16, packet);
                if let Verdict::Forward { to, header } = verdict {
                    self.bundler.push(to, &header, packet, send);
                }
            }
            self.bundler.flush(send);
        }
        Ok(())
    }

    /// One turn of the upstream socket: records of owners go to their clients.
    fn serve_upstream(&mut self) -> io::Result<()> {
        for _ in 0..BATCHES_PER_TURN {
            let source = &mut self.upstream;
            if !source.waiting {
                break;
            }
            receive(source, &mut self.batch, &self.counters)?;
            let now = self.now();
            let (public, counters) = (&self.public, &*self.counters);
            for (owner, datagram) in self.batch.datagrams() {
                self.forwarder.egress(now, owner, datagram, |delivery| {
                    // The forwarder passes only ingress ids that exist.
                    let socket = &public[usize::from(delivery.ingress)].socket;
                    match socket.send(delivery.client, delivery.payload) {
                        Ok(()) => {
                            counters.egress_packets.add(1);
                            counters.egress_bytes.add(delivery.payload.len() as u64);
                        }
                        Err(reason) => counters.dropped(reason, 1),
                    }
                });
            }
        }
        Ok(())
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

/// Receives one batch, perhaps an empty one.
fn receive(source: &mut Source, batch: &mut Batch, counters: &Counters) -> io::Result<()> {
    match batch.receive(&source.socket)? {
        Received::More => {}
        Received::Drained => source.waiting = false,
        Received::SendFailed => counters.dropped(DropReason::SendFailed, 1),
    }
    Ok(())
}
