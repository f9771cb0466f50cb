//! The relay: one public UDP port in front of many transceivers.
//!
//! It reads the routing token in a client's first binding request, forwards the packet to the
//! transceiver that owns the session, and sends back what the owner returns. It decrypts nothing,
//! answers nothing, and remembers only what it may forget.
//!
//! [`Relay`] runs it on sockets; [`forwarder`] has the rules, without any.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

mod bundle;
mod config;
mod counters;
mod drop_reason;
mod flow;
pub mod forwarder;
mod pairs;
mod udp;
mod worker;

pub use config::{Cluster, DEFAULT_FLOW_IDLE, RelayConfig};
pub use counters::{Counters, Snapshot};
pub use drop_reason::DropReason;
pub use forwarder::Forwarder;

use udp::{Sharing, Socket};
use worker::{Stopper, Worker};

/// A running relay. Dropping it stops it.
#[derive(Debug)]
pub struct Relay {
    local_addrs: Vec<SocketAddr>,
    upstream_addrs: Vec<SocketAddr>,
    workers: Vec<Running>,
}

/// A worker, as seen from outside its thread.
struct Running {
    counters: Arc<Counters>,
    stopper: Arc<Stopper>,
    /// Set when the worker ended with an error.
    error: Arc<OnceLock<io::Error>>,
    /// Taken when it is joined.
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Checks `config`, binds every socket, then starts the workers. Returns at once.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a configuration that cannot work, with the field in the
    /// message; what the system refused, such as [`io::ErrorKind::AddrInUse`], with the address in
    /// the message. Nothing is left running then.
    pub fn start(config: RelayConfig) -> io::Result<Self> {
        config.check()?;
        let mut relay = Self {
            local_addrs: Vec::new(),
            upstream_addrs: Vec::new(),
            workers: Vec::new(),
        };
        let mut workers = Vec::with_capacity(config.workers);
        for number in 0..config.workers {
            workers.push(relay.bind(&config, number)?);
        }
        // Threads only after every bind: a client must not reach half a relay.
        for (number, (public, upstream)) in workers.into_iter().enumerate() {
            relay.spawn(&config, number, public, upstream)?;
        }
        Ok(relay)
    }

    /// Public addresses as bound, by ingress id.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Upstream addresses as bound, one per worker: the sources of what owners receive.
    #[must_use]
    pub fn upstream_addrs(&self) -> &[SocketAddr] {
        &self.upstream_addrs
    }

    /// What all workers counted since the start.
    #[must_use]
    pub fn counters(&self) -> Snapshot {
        self.workers
            .iter()
            .map(|worker| worker.counters.snapshot())
            .sum()
    }

    /// Why a worker is no longer running, if one is not. A relay that failed serves only some
    /// clients, or none: end it, and start another.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        self.workers
            .iter()
            .enumerate()
            .find_map(|(number, worker)| match worker.error.get() {
                Some(error) => Some(format!("relay worker {number}: {error}")),
                None if worker.thread.as_ref().is_some_and(JoinHandle::is_finished) => {
                    Some(format!("relay worker {number}: panicked"))
                }
                None => None,
            })
    }

    /// Stops the workers and waits for them: within milliseconds.
    pub fn stop(self) {
        drop(self);
    }

    /// The sockets of worker `number`. The first worker settles what port 0 means.
    fn bind(&mut self, config: &RelayConfig, number: usize) -> io::Result<(Vec<Socket>, Socket)> {
        let mut public = Vec::with_capacity(config.listen.len());
        for (ingress, &address) in config.listen.iter().enumerate() {
            // An IPv4 address beside it takes IPv4's part of the port.
            let only_v6 = config
                .listen
                .iter()
                .any(|other| other.is_ipv4() && other.port() == address.port());
            let address = self.local_addrs.get(ingress).copied().unwrap_or(address);
            let sharing = match number {
                0 => Sharing::Opened,
                _ => Sharing::Joined,
            };
            let socket = Socket::bind(address, sharing, only_v6).map_err(named("listen"))?;
            if number == 0 {
                self.local_addrs.push(socket.local_addr());
            }
            public.push(socket);
        }
        let mut address = config.upstream;
        if address.port() != 0 {
            // The configuration was checked: it fits.
            address.set_port(address.port() + number as u16);
        }
        let upstream = Socket::bind(address, Sharing::Exclusive, false);
        let upstream = upstream.map_err(named("upstream"))?;
        self.upstream_addrs.push(upstream.local_addr());
        Ok((public, upstream))
    }

    fn spawn(
        &mut self,
        config: &RelayConfig,
        number: usize,
        public: Vec<Socket>,
        upstream: Socket,
    ) -> io::Result<()> {
        let counters = Arc::new(Counters::default());
        let error = Arc::new(OnceLock::new());
        let (worker, stopper) = Worker::new(config, public, upstream, Arc::clone(&counters))?;
        let thread = std::thread::Builder::new()
            .name(format!("firsthop-relay-{number}"))
            .spawn({
                let error = Arc::clone(&error);
                move || {
                    if let Err(ended) = worker.run() {
                        // The only one who sets it.
                        let _ = error.set(ended);
                    }
                }
            })?;
        self.workers.push(Running {
            counters,
            stopper,
            error,
            thread: Some(thread),
        });
        Ok(())
    }
}

/// Puts the field of the configuration before what the system says.
fn named(field: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{field} {error}"))
}

impl Drop for Relay {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.stopper.stop();
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // A panic was told to standard error when it happened.
                let _ = thread.join();
            }
        }
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Running")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}
