//! The relay: one public UDP port in front of many transceivers.
//!
//! It reads the routing token in a client's first binding request, forwards the packet to the
//! transceiver that owns the session, and sends back what the owner returns. It decrypts nothing,
//! answers nothing, and remembers only what it may forget.
//!
//! [`Relay`] runs it on sockets; [`forwarder`] has the rules, without any.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

mod backlog;
mod clusters;
mod config;
mod connection;
mod control;
mod counters;
mod drop_reason;
mod edges;
mod flow;
pub mod forwarder;
pub mod frame;
mod handover;
mod label;
mod middle;
mod next_hops;
mod pairs;
mod parking;
mod ranges;
mod tcp;
mod worker;

pub use config::{Cluster, DEFAULT_FLOW_IDLE, Reach, RelayConfig};
pub use connection::Closing;
pub use control::{FlowBytes, Notice};
pub use counters::{Counters, Snapshot};
pub use drop_reason::DropReason;
pub use flow::{address_from_bytes, address_to_bytes};
pub use forwarder::Forwarder;

use control::{ClusterTable, Command, NoticeReceiver};
use firsthop_udp::{Options, Sharing, Socket};
use ipnet::IpNet;
use tcp::Listener;
use worker::{Handle, Sockets, Worker};

/// How long a worker may take to write one page of its flows, or to take new clusters.
const PATIENCE: Duration = Duration::from_secs(1);

/// A relay whose sockets are bound, and that does not forward yet: packets wait in the system.
pub struct Bound {
    local_addrs: Vec<SocketAddr>,
    upstream_addrs: Vec<SocketAddr>,
    notices: NoticeReceiver,
    workers: Vec<Prepared>,
    pin: bool,
}

struct Prepared {
    worker: Worker,
    counters: Arc<Counters>,
    handle: Arc<Handle>,
    sockets: Vec<OwnedFd>,
}

/// A running relay. Dropping it stops it.
pub struct Relay {
    local_addrs: Vec<SocketAddr>,
    upstream_addrs: Vec<SocketAddr>,
    notices: NoticeReceiver,
    workers: Vec<Running>,
}

/// A worker, as seen from outside its thread.
struct Running {
    counters: Arc<Counters>,
    handle: Arc<Handle>,
    /// Its sockets once more, for whoever takes over.
    sockets: Vec<OwnedFd>,
    /// Set when the worker ended with an error.
    error: Arc<OnceLock<io::Error>>,
    /// What it tells when it ends: the flows that changed since the first export.
    changes: Receiver<Vec<u8>>,
    /// Taken when nobody waits for it any more.
    thread: Option<JoinHandle<()>>,
}

impl Bound {
    /// Checks `config` and binds every socket.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a configuration that cannot work, with the field in the
    /// message; what the system refused, such as [`io::ErrorKind::AddrInUse`], with the address in
    /// the message.
    pub fn bind(config: &RelayConfig) -> io::Result<Self> {
        config.check()?;
        let mut first = Vec::new();
        Self::assemble(config, |number| {
            let sockets = bind(config, number, &first)?;
            if number == 0 {
                // What the first worker bound settles what port 0 means.
                first = local_addrs(&sockets);
            }
            Ok(sockets)
        })
    }

    /// Takes the sockets over that [`Relay::sockets`] of another process named, worker by worker.
    ///
    /// # Errors
    /// As [`Bound::bind`]; [`io::ErrorKind::InvalidInput`] also when the sockets are not those that
    /// `config` asks for, with the field in the message.
    pub fn adopt(config: &RelayConfig, sockets: Vec<Vec<OwnedFd>>) -> io::Result<Self> {
        config.check()?;
        if sockets.len() != config.workers {
            return Err(invalid(format!(
                "workers: the relay to take over from has {}, not {}",
                sockets.len(),
                config.workers
            )));
        }
        let mut sockets = sockets.into_iter();
        Self::assemble(config, |number| {
            adopt(config, number, sockets.next().unwrap_or_default())
        })
    }

    fn assemble(
        config: &RelayConfig,
        mut sockets: impl FnMut(usize) -> io::Result<Sockets>,
    ) -> io::Result<Self> {
        let notices = NoticeReceiver::new()?;
        let (mut public_addrs, mut upstream_addrs) = (Vec::new(), Vec::new());
        let mut workers = Vec::with_capacity(config.workers);
        for number in 0..config.workers {
            let sockets = sockets(number)?;
            if number == 0 {
                public_addrs = local_addrs(&sockets);
            }
            upstream_addrs.push(sockets.upstream.local_addr());
            let again = again(&sockets)?;
            let counters = Arc::new(Counters::default());
            let sender = notices.sender(number)?;
            let (worker, handle) = Worker::new(config, sockets, Arc::clone(&counters), sender)?;
            workers.push(Prepared {
                worker,
                counters,
                handle,
                sockets: again,
            });
        }
        Ok(Self {
            local_addrs: public_addrs,
            upstream_addrs,
            notices,
            workers,
            pin: config.pin,
        })
    }

    /// Takes over flows of the same worker of another process: pages of [`Relay::export`] first,
    /// then what [`Relay::finish`] returned. A worker that does not exist has none.
    pub fn restore(&mut self, worker: usize, flows: &[u8]) {
        if let Some(prepared) = self.workers.get_mut(worker) {
            prepared.worker.restore(flows);
        }
    }

    /// Starts the workers. Returns at once.
    ///
    /// # Errors
    /// When the system has no thread to give. Nothing is left running then.
    pub fn run(self) -> io::Result<Relay> {
        let mut relay = Relay {
            local_addrs: self.local_addrs,
            upstream_addrs: self.upstream_addrs,
            notices: self.notices,
            workers: Vec::with_capacity(self.workers.len()),
        };
        for (number, prepared) in self.workers.into_iter().enumerate() {
            relay.workers.push(prepared.run(number, self.pin)?);
        }
        Ok(relay)
    }
}

impl Prepared {
    fn run(self, number: usize, pin: bool) -> io::Result<Running> {
        let error = Arc::new(OnceLock::new());
        let (last_word, changes) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("firsthop-relay-{number}"))
            .spawn({
                let (mut worker, error) = (self.worker, Arc::clone(&error));
                move || {
                    if pin {
                        pin_to_core(number);
                    }
                    // One message in a mailbox for one, and one error: neither can be refused.
                    let _ = match worker.run() {
                        Ok(changes) => last_word.try_send(changes).is_ok(),
                        Err(ended) => error.set(ended).is_ok(),
                    };
                }
            })?;
        Ok(Running {
            counters: self.counters,
            handle: self.handle,
            sockets: self.sockets,
            error,
            changes,
            thread: Some(thread),
        })
    }
}

impl Relay {
    /// Binds and runs. Returns at once.
    ///
    /// # Errors
    /// As [`Bound::bind`] and [`Bound::run`].
    pub fn start(config: &RelayConfig) -> io::Result<Self> {
        Bound::bind(config)?.run()
    }

    /// Public addresses as bound, by the lower byte of their ingress ids.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Upstream addresses as bound, one per worker: the sources of what owners receive.
    #[must_use]
    pub fn upstream_addrs(&self) -> &[SocketAddr] {
        &self.upstream_addrs
    }

    /// What each worker counted since the start.
    pub fn counters(&self) -> impl Iterator<Item = Snapshot> + '_ {
        self.workers.iter().map(|worker| worker.counters.snapshot())
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

    /// All notices that wait, each with its worker's number, oldest first.
    #[must_use]
    pub fn take_notices(&self) -> Vec<(usize, Notice)> {
        self.notices.take().into()
    }

    /// Readable when notices wait.
    #[must_use]
    pub fn notices_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }

    /// Answers a [`Notice::LookUp`] of `worker`: the flow's owner, or `None` when nobody knows it.
    /// Never waits; returns whether the worker had room for it.
    pub fn answer(&self, worker: usize, flow: FlowBytes, owner: Option<SocketAddr>) -> bool {
        let command = Command::Answer { flow, owner };
        self.workers
            .get(worker)
            .is_some_and(|worker| worker.handle.send(command))
    }

    /// Serves `clusters` and `edges` from now on, in place of those before. Flows whose owner is no
    /// longer allowed are forgotten when they are used; calls of all others go on.
    ///
    /// # Errors
    /// As [`Bound::bind`] for a configuration that cannot work: nothing changes then.
    /// [`io::ErrorKind::TimedOut`] when a worker has no room, or does not answer within a second:
    /// it may serve the old ones still, and asking again is right.
    pub fn set_clusters(&self, edges: Vec<IpNet>, clusters: Vec<Cluster>) -> io::Result<()> {
        config::check_clusters(&clusters).map_err(invalid)?;
        let table = Arc::new(ClusterTable { clusters, edges });
        let asked = self.workers.iter().map(|worker| {
            let (reply, done) = sync_channel(1);
            let table = Arc::clone(&table);
            let room = worker.handle.send(Command::SetClusters { table, reply });
            room.then_some(done)
        });
        // All are asked before any is waited for.
        let asked: Vec<_> = asked.collect();
        for done in asked {
            let done = done.ok_or(io::ErrorKind::TimedOut)?;
            let answer = done.recv_timeout(PATIENCE);
            answer.map_err(|_| io::ErrorKind::TimedOut)?;
        }
        Ok(())
    }

    /// The relays that this one sends to, by cluster and address, and whether any worker takes them
    /// for alive.
    #[must_use]
    pub fn next_hops(&self) -> Vec<(u16, SocketAddr, bool)> {
        let mut all = BTreeMap::new();
        for worker in &self.workers {
            for (cluster, address, alive) in worker.handle.next_hops() {
                *all.entry((cluster, address)).or_default() |= alive;
            }
        }
        let all = all.into_iter();
        all.map(|((cluster, address), alive)| (cluster, address, alive))
            .collect()
    }

    /// The sockets of each worker, for [`Bound::adopt`] in another process.
    pub fn sockets(&self) -> impl Iterator<Item = &[OwnedFd]> {
        self.workers.iter().map(|worker| &*worker.sockets)
    }

    /// A page of the flows of `worker`, for [`Bound::restore`] in another process; `None` past the
    /// last one. Pages begin at multiples of [`Forwarder::PAGE`]. Forwarding goes on meanwhile.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] when the worker does not answer within a second.
    pub fn export(&self, worker: usize, first: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(worker) = self.workers.get(worker) else {
            return Ok(None);
        };
        let (reply, page) = sync_channel(1);
        if !worker.handle.send(Command::Export { first, reply }) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        page.recv_timeout(PATIENCE)
            .map_err(|_| io::ErrorKind::TimedOut.into())
    }

    /// Stops the workers, within milliseconds, and returns for each the flows that changed since
    /// the first [`Relay::export`]. What clients and owners send from now on waits in the sockets.
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        self.tell_to_stop();
        let workers = self.workers.iter_mut();
        let changes = workers.map(|worker| {
            // It gives its memory back by itself: with a million flows that takes milliseconds.
            worker.thread = None;
            // Nothing from a worker that failed before.
            worker.changes.recv().unwrap_or_default()
        });
        changes.collect()
    }

    /// Stops the workers and waits for them: within milliseconds.
    pub fn stop(self) {
        drop(self);
    }

    fn tell_to_stop(&self) {
        for worker in &self.workers {
            worker.handle.stop();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tell_to_stop();
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // A panic was told to standard error when it happened.
                let _ = thread.join();
            }
        }
    }
}

fn options(sharing: Sharing, only_v6: bool, gro: bool) -> Options {
    Options {
        sharing,
        only_v6,
        gro,
    }
}

/// Binds the sockets of worker `number`. `first` are the public addresses that the first worker
/// got.
fn bind(config: &RelayConfig, number: usize, first: &[SocketAddr]) -> io::Result<Sockets> {
    let sharing = match number {
        0 => Sharing::Opened,
        _ => Sharing::Joined,
    };
    let got = |ingress: usize, address| first.get(ingress).copied().unwrap_or(address);
    let mut public = Vec::with_capacity(config.listen.len());
    for (ingress, &address) in config.listen.iter().enumerate() {
        let options = options(sharing, only_v6(address, &config.listen), false);
        let socket = Socket::bind(got(ingress, address), options);
        public.push(socket.map_err(named("listen"))?);
    }
    let mut tcp = Vec::with_capacity(config.tcp_listen.len());
    for (index, &address) in config.tcp_listen.iter().enumerate() {
        let only_v6 = only_v6(address, &config.tcp_listen);
        let address = got(config.listen.len() + index, address);
        let listener = Listener::bind(address, sharing, only_v6);
        tcp.push(listener.map_err(named("tcp_listen"))?);
    }
    let options = options(Sharing::Exclusive, false, true);
    let upstream = Socket::bind(upstream_of(config, number), options);
    Ok(Sockets {
        public,
        tcp,
        upstream: upstream.map_err(named("upstream"))?,
    })
}

/// Takes over the sockets of worker `number`, in the order of [`again`].
fn adopt(config: &RelayConfig, number: usize, sockets: Vec<OwnedFd>) -> io::Result<Sockets> {
    let count = sockets.len();
    if count != config.ingresses() + 1 {
        return Err(invalid(format!(
            "listen, tcp_listen: the relay to take over from has {} public sockets, not {}",
            count.saturating_sub(1),
            config.ingresses()
        )));
    }
    let mut sockets = sockets.into_iter();
    // As many as there are: counted above.
    let mut next = |field: &str| sockets.next().ok_or_else(|| invalid(field.to_owned()));
    let mut public = Vec::with_capacity(config.listen.len());
    for &wanted in &config.listen {
        let socket = Socket::adopt(next("listen")?, false).map_err(named("listen"))?;
        same("listen", wanted, socket.local_addr())?;
        public.push(socket);
    }
    let mut tcp = Vec::with_capacity(config.tcp_listen.len());
    for &wanted in &config.tcp_listen {
        let listener = Listener::adopt(next("tcp_listen")?).map_err(named("tcp_listen"))?;
        same("tcp_listen", wanted, listener.local_addr())?;
        tcp.push(listener);
    }
    let upstream = Socket::adopt(next("upstream")?, true).map_err(named("upstream"))?;
    same(
        "upstream",
        upstream_of(config, number),
        upstream.local_addr(),
    )?;
    Ok(Sockets {
        public,
        tcp,
        upstream,
    })
}

/// The public addresses of a worker, by ingress id.
fn local_addrs(sockets: &Sockets) -> Vec<SocketAddr> {
    let udp = sockets.public.iter().map(Socket::local_addr);
    let tcp = sockets.tcp.iter().map(Listener::local_addr);
    udp.chain(tcp).collect()
}

/// The sockets of a worker once more: public ones by ingress id, then the upstream socket.
fn again(sockets: &Sockets) -> io::Result<Vec<OwnedFd>> {
    let udp = sockets.public.iter().map(AsFd::as_fd);
    let tcp = sockets.tcp.iter().map(AsFd::as_fd);
    let all = udp.chain(tcp).chain([sockets.upstream.as_fd()]);
    all.map(|socket| socket.try_clone_to_owned()).collect()
}

/// Whether an IPv6 socket leaves IPv4 alone: an IPv4 address beside it takes that part of the port.
fn only_v6(address: SocketAddr, all: &[SocketAddr]) -> bool {
    all.iter()
        .any(|other| other.is_ipv4() && other.port() == address.port())
}

fn upstream_of(config: &RelayConfig, number: usize) -> SocketAddr {
    let mut address = config.upstream;
    if address.port() != 0 {
        // The configuration was checked: it fits.
        address.set_port(address.port() + number as u16);
    }
    address
}

/// Refuses a socket at another address than the configuration asks for.
fn same(field: &str, wanted: SocketAddr, found: SocketAddr) -> io::Result<()> {
    if found.ip() == wanted.ip() && (wanted.port() == 0 || found.port() == wanted.port()) {
        return Ok(());
    }
    Err(invalid(format!(
        "{field}: the relay to take over from has {found}, not {wanted}"
    )))
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// Puts the field of the configuration before what the system says.
fn named(field: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{field} {error}"))
}

/// Keeps this thread on one of the cores that it may use, counted from the first. Best effort:
/// a worker that may not choose runs where it is put.
#[cfg(target_os = "linux")]
fn pin_to_core(number: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    let cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    let Some(core) = cores.cycle().nth(number % allowed.count().max(1) as usize) else {
        return;
    };
    let mut only = CpuSet::new();
    only.set(core);
    let _ = sched_setaffinity(None, &only);
}

#[cfg(not(target_os = "linux"))]
fn pin_to_core(_number: usize) {}
