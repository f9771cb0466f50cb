//! The relay as a Python class: bind, run, look, hand over, stop. It never sees a packet.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firsthop_relay::{
    Bound as BoundRelay, Cluster, FlowBytes, Forwarder, Notice, Relay, RelayConfig, Snapshot,
    address_from_bytes, address_to_bytes,
};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::cluster::PyCluster;
use crate::convert::{parse, parse_all};
use crate::error::os_error;

/// What a worker tells of its flows; each variant is a class of its own for `match`.
#[pyclass(frozen, name = "Notice", module = "firsthop._native")]
pub(crate) enum PyNotice {
    /// A packet of an unknown flow waits.
    LookUp { worker: usize, flow: Py<PyBytes> },
    /// A proved flow was learned or moved, or is still alive.
    Kept {
        flow: Py<PyBytes>,
        owner: Py<PyBytes>,
    },
    /// Its owner ended the flow.
    Gone { flow: Py<PyBytes> },
}

impl PyNotice {
    fn new(py: Python<'_>, worker: usize, notice: Notice) -> Self {
        let bytes = |bytes: &[u8]| PyBytes::new(py, bytes).unbind();
        match notice {
            Notice::LookUp { flow } => Self::LookUp {
                worker,
                flow: bytes(&flow),
            },
            Notice::Kept { flow, owner } => Self::Kept {
                flow: bytes(&flow),
                owner: bytes(&address_to_bytes(owner)),
            },
            Notice::Gone { flow } => Self::Gone { flow: bytes(&flow) },
        }
    }
}

/// Forwards packets between clients and transceivers.
#[pyclass(frozen, name = "Relay", module = "firsthop._native")]
pub(crate) struct PyRelay {
    state: Mutex<State>,
}

enum State {
    Bound(BoundRelay),
    Running(Relay),
    Stopped,
}

impl PyRelay {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<T>(&self, look: impl FnOnce(&Relay) -> T) -> PyResult<T> {
        match &*self.state() {
            State::Running(relay) => Ok(look(relay)),
            State::Bound(_) | State::Stopped => Err(not_running()),
        }
    }
}

#[pymethods]
impl PyRelay {
    #[new]
    #[pyo3(signature = (*, listen, tcp_listen, tcp_connections, tcp_connections_per_address,
                        upstream, workers, pin, busy_poll_us, flow_capacity, flow_idle_seconds,
                        look_up, site, edges, clusters, sockets))]
    #[allow(clippy::too_many_arguments)] // One per setting, all by keyword.
    fn new(
        py: Python<'_>,
        listen: Vec<String>,
        tcp_listen: Vec<String>,
        tcp_connections: usize,
        tcp_connections_per_address: usize,
        upstream: &str,
        workers: usize,
        pin: bool,
        busy_poll_us: u64,
        flow_capacity: usize,
        flow_idle_seconds: u64,
        look_up: bool,
        site: u8,
        edges: Vec<String>,
        clusters: Vec<PyRef<'_, PyCluster>>,
        sockets: Option<Vec<Vec<RawFd>>>,
    ) -> PyResult<Self> {
        let config = RelayConfig {
            site,
            listen: parse_all("listen", &listen)?,
            tcp_listen: parse_all("tcp_listen", &tcp_listen)?,
            tcp_connections,
            tcp_connections_per_address,
            upstream: parse("upstream", upstream)?,
            workers,
            pin,
            busy_poll: Duration::from_micros(busy_poll_us),
            flow_capacity,
            flow_idle: Duration::from_secs(flow_idle_seconds),
            look_up,
            edges: parse_all("edges", &edges)?,
            clusters: native(&clusters),
        };
        let bound = py.detach(|| match sockets {
            None => BoundRelay::bind(&config),
            Some(sockets) => {
                let owned = |worker: Vec<RawFd>| -> std::io::Result<Vec<OwnedFd>> {
                    worker.into_iter().map(firsthop_udp::duplicate).collect()
                };
                let sockets = sockets.into_iter().map(owned);
                BoundRelay::adopt(&config, sockets.collect::<std::io::Result<_>>()?)
            }
        });
        Ok(Self {
            state: Mutex::new(State::Bound(bound.map_err(|error| os_error(py, error))?)),
        })
    }

    /// Takes over flows of a worker of another process.
    fn restore(&self, py: Python<'_>, worker: usize, flows: &[u8]) -> PyResult<()> {
        py.detach(|| match &mut *self.state() {
            State::Bound(bound) => {
                bound.restore(worker, flows);
                Ok(())
            }
            State::Running(_) | State::Stopped => {
                Err(PyRuntimeError::new_err("the relay is not just bound"))
            }
        })
    }

    /// Starts the workers.
    fn run(&self, py: Python<'_>) -> PyResult<()> {
        let mut state = self.state();
        match std::mem::replace(&mut *state, State::Stopped) {
            State::Bound(bound) => {
                let relay = py.detach(|| bound.run());
                *state = State::Running(relay.map_err(|error| os_error(py, error))?);
                Ok(())
            }
            other => {
                *state = other;
                Err(PyRuntimeError::new_err("the relay was started already"))
            }
        }
    }

    /// Public transport addresses as bound, by ingress id.
    fn local_addresses(&self) -> PyResult<Vec<String>> {
        self.look(|relay| texts(relay.local_addrs()))
    }

    /// Upstream transport addresses as bound, one per worker.
    fn upstream_addresses(&self) -> PyResult<Vec<String>> {
        self.look(|relay| texts(relay.upstream_addrs()))
    }

    /// Why a worker is no longer running, if one is not.
    fn failed(&self) -> PyResult<Option<String>> {
        self.look(Relay::failed)
    }

    /// Sums over all workers, by name; one `dropped_<reason>` and `tcp_closed_<reason>` per reason.
    fn counters(&self) -> PyResult<HashMap<String, u64>> {
        Ok(by_name(&self.look(|relay| relay.counters().sum())?))
    }

    /// The same for each worker.
    fn worker_counters(&self) -> PyResult<Vec<HashMap<String, u64>>> {
        self.look(|relay| relay.counters().map(|one| by_name(&one)).collect())
    }

    /// A descriptor that is readable when notices wait.
    fn fileno(&self) -> PyResult<RawFd> {
        self.look(|relay| relay.notices_fd().as_raw_fd())
    }

    /// All notices that wait, oldest first.
    fn take_notices(&self, py: Python<'_>) -> PyResult<Vec<PyNotice>> {
        let notices = self.look(Relay::take_notices)?.into_iter();
        let notices = notices.map(|(worker, notice)| PyNotice::new(py, worker, notice));
        Ok(notices.collect())
    }

    /// Answers a look-up; whether the worker had room for it.
    fn answer(&self, worker: usize, flow: FlowBytes, owner: Option<[u8; 18]>) -> PyResult<bool> {
        let owner = owner.map(|owner| address_from_bytes(&owner));
        self.look(|relay| relay.answer(worker, flow, owner))
    }

    /// Serves other clusters and edges from now on.
    fn set_clusters(
        &self,
        py: Python<'_>,
        edges: Vec<String>,
        clusters: Vec<PyRef<'_, PyCluster>>,
    ) -> PyResult<()> {
        let (edges, clusters) = (parse_all("edges", &edges)?, native(&clusters));
        let done = py.detach(|| self.look(|relay| relay.set_clusters(edges, clusters)))?;
        done.map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => PyValueError::new_err(error.to_string()),
            _ => os_error(py, error),
        })
    }

    /// The relays that this one sends to: cluster, address, whether it is alive.
    fn next_hops(&self) -> PyResult<Vec<(u16, String, bool)>> {
        let hops = self.look(Relay::next_hops)?.into_iter();
        let hops = hops.map(|(cluster, address, alive)| (cluster, address.to_string(), alive));
        Ok(hops.collect())
    }

    /// The descriptors of each worker's sockets, good while the relay is not stopped.
    fn sockets(&self) -> PyResult<Vec<Vec<RawFd>>> {
        let raw = |fds: &[OwnedFd]| fds.iter().map(AsRawFd::as_raw_fd).collect();
        self.look(|relay| relay.sockets().map(raw).collect())
    }

    /// All flows of a worker while it forwards, for `restore` of another process.
    fn export<'py>(&self, py: Python<'py>, worker: usize) -> PyResult<Bound<'py, PyBytes>> {
        let flows = py.detach(|| {
            self.look(|relay| -> std::io::Result<Vec<u8>> {
                let (mut flows, mut first) = (Vec::new(), 0);
                while let Some(page) = relay.export(worker, first)? {
                    flows.extend_from_slice(&page);
                    first += Forwarder::PAGE;
                }
                Ok(flows)
            })
        })?;
        let flows = flows.map_err(|error| os_error(py, error))?;
        Ok(PyBytes::new(py, &flows))
    }

    /// Ends the workers, and returns for each the flows that changed since the export.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let state = std::mem::replace(&mut *self.state(), State::Stopped);
        let State::Running(relay) = state else {
            return Err(not_running());
        };
        let changes = py.detach(|| relay.finish());
        Ok(changes
            .iter()
            .map(|flows| PyBytes::new(py, flows))
            .collect())
    }

    /// Ends the workers.
    fn stop(&self, py: Python<'_>) {
        let state = std::mem::replace(&mut *self.state(), State::Stopped);
        py.detach(|| drop(state));
    }
}

fn not_running() -> PyErr {
    PyRuntimeError::new_err("the relay is not running")
}

fn texts(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(SocketAddr::to_string).collect()
}

fn by_name(counters: &Snapshot) -> HashMap<String, u64> {
    let named = counters
        .named()
        .map(|(name, value)| (name.to_owned(), value));
    let dropped = counters.drops();
    let dropped = dropped.map(|(reason, count)| (format!("dropped_{}", reason.as_str()), count));
    let closed = counters.tcp_closed();
    let closed = closed.map(|(reason, count)| (format!("tcp_closed_{}", reason.as_str()), count));
    named.chain(dropped).chain(closed).collect()
}

fn native(clusters: &[PyRef<'_, PyCluster>]) -> Vec<Cluster> {
    clusters.iter().map(|cluster| cluster.0.clone()).collect()
}
