//! The relay as a Python class: start, look, stop. It never sees a packet.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use firsthop_relay::{Cluster, Relay, RelayConfig};
use ipnet::IpNet;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::convert::{hop_key_id, hop_secrets, parse, token_keys};
use crate::error::os_error;

/// A cluster as Python gives it: (id, /64 prefix, networks, first port, last port).
type ClusterTuple = (u16, Option<String>, Vec<String>, u16, u16);

/// Forwards packets between clients and transceivers.
#[pyclass(frozen, name = "Relay", module = "firsthop._native")]
pub(crate) struct PyRelay {
    /// Gone after `stop`.
    relay: Mutex<Option<Relay>>,
}

impl PyRelay {
    fn look<T>(&self, look: impl FnOnce(&Relay) -> T) -> PyResult<T> {
        let relay = self.relay.lock().unwrap_or_else(PoisonError::into_inner);
        relay
            .as_ref()
            .map(look)
            .ok_or_else(|| PyRuntimeError::new_err("the relay is stopped"))
    }
}

#[pymethods]
impl PyRelay {
    #[new]
    #[pyo3(signature = (*, listen, upstream, workers, flow_capacity, flow_idle_seconds, token_keys,
                        hop_secrets, hop_key_id, clusters))]
    #[allow(clippy::too_many_arguments)] // One per setting, all by keyword.
    fn new(
        py: Python<'_>,
        listen: Vec<String>,
        upstream: &str,
        workers: usize,
        flow_capacity: usize,
        flow_idle_seconds: u64,
        token_keys: HashMap<u8, Vec<u8>>,
        hop_secrets: HashMap<u8, Vec<u8>>,
        hop_key_id: u8,
        clusters: Vec<ClusterTuple>,
    ) -> PyResult<Self> {
        let config = RelayConfig {
            listen: listen
                .iter()
                .map(|address| parse::<SocketAddr>("listen", address))
                .collect::<PyResult<_>>()?,
            upstream: parse("upstream", upstream)?,
            workers,
            flow_capacity,
            flow_idle: Duration::from_secs(flow_idle_seconds),
            token_keys: self::token_keys(&token_keys)?,
            hop_secrets: self::hop_secrets(&hop_secrets)?,
            hop_key_id: self::hop_key_id(hop_key_id)?,
            clusters: clusters.iter().map(cluster).collect::<PyResult<_>>()?,
        };
        let relay = py
            .detach(|| Relay::start(config))
            .map_err(|error| os_error(py, error))?;
        Ok(Self {
            relay: Mutex::new(Some(relay)),
        })
    }

    /// Public transport addresses as bound, by ingress id.
    fn local_addresses(&self) -> PyResult<Vec<String>> {
        self.look(|relay| {
            relay
                .local_addrs()
                .iter()
                .map(SocketAddr::to_string)
                .collect()
        })
    }

    /// Upstream transport addresses as bound, one per worker.
    fn upstream_addresses(&self) -> PyResult<Vec<String>> {
        self.look(|relay| {
            relay
                .upstream_addrs()
                .iter()
                .map(SocketAddr::to_string)
                .collect()
        })
    }

    /// Why a worker is no longer running, if one is not.
    fn failed(&self) -> PyResult<Option<String>> {
        self.look(Relay::failed)
    }

    /// Sums over all workers, by name; one `dropped_<reason>` per reason.
    fn counters(&self) -> PyResult<HashMap<String, u64>> {
        let sums = self.look(Relay::counters)?;
        let mut counters: HashMap<_, _> = [
            ("ingress_packets", sums.ingress_packets),
            ("ingress_bytes", sums.ingress_bytes),
            ("ingress_datagrams", sums.ingress_datagrams),
            ("egress_packets", sums.egress_packets),
            ("egress_bytes", sums.egress_bytes),
            ("flows", sums.flows),
            ("flows_created", sums.flows_created),
            ("flows_moved", sums.flows_moved),
            ("flows_released", sums.flows_released),
            ("flows_expired", sums.flows_expired),
            ("flows_evicted", sums.flows_evicted),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        for (reason, count) in sums.drops() {
            counters.insert(format!("dropped_{}", reason.as_str()), count);
        }
        Ok(counters)
    }

    /// Ends the workers.
    fn stop(&self, py: Python<'_>) {
        let relay = self
            .relay
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        py.detach(|| drop(relay));
    }
}

fn cluster((id, prefix, networks, first_port, last_port): &ClusterTuple) -> PyResult<Cluster> {
    Ok(Cluster {
        id: *id,
        prefix: prefix
            .as_deref()
            .map(|prefix| parse("prefix", prefix))
            .transpose()?,
        networks: networks
            .iter()
            .map(|network| parse::<IpNet>("networks", network))
            .collect::<PyResult<_>>()?,
        ports: *first_port..=*last_port,
    })
}
