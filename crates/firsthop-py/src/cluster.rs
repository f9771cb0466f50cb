//! A cluster as Python gives it to a relay: checked here, kept, and handed over as it is.

use std::net::SocketAddr;

use firsthop_relay::{Cluster, Reach};
use firsthop_wire::edge::EdgeKey;
use firsthop_wire::hop::{EdgeHopKeys, HopSecrets};
use firsthop_wire::token::TokenKeys;
use ipnet::IpNet;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyMapping;

use crate::convert::{fixed, hop_key_id, parse, parse_all};

/// A cluster, its keys, and how its transceivers are reached.
#[pyclass(frozen, name = "Cluster", module = "firsthop._native")]
pub(crate) struct PyCluster(pub(crate) Cluster);

#[pymethods]
impl PyCluster {
    #[new]
    #[pyo3(signature = (id, *, networks, first_port, last_port, ipv6_prefix, keys, key_id,
                        relays = Vec::new()))]
    #[allow(clippy::too_many_arguments)] // One per setting, all by keyword.
    fn new(
        id: u16,
        networks: Vec<String>,
        first_port: u16,
        last_port: u16,
        ipv6_prefix: Option<&str>,
        keys: &Bound<'_, PyMapping>,
        key_id: u8,
        relays: Vec<String>,
    ) -> PyResult<Self> {
        if first_port > last_port {
            let message = format!("first_port: {first_port} is above last_port, {last_port}");
            return Err(PyValueError::new_err(message));
        }
        let keys = keys.items()?.extract::<Vec<(u8, Vec<u8>)>>()?;
        if !keys.iter().any(|(id, _)| *id == key_id) {
            return Err(PyValueError::new_err(format!("key_id: no key {key_id}")));
        }
        let (token_keys, reach) = if relays.is_empty() {
            of_masters(&keys)?
        } else {
            of_edge_keys(&keys, parse_all("relays", &relays)?)?
        };
        Ok(Self(Cluster {
            id,
            prefix: ipv6_prefix
                .map(|prefix| parse("ipv6_prefix", prefix))
                .transpose()?,
            networks: parse_all::<IpNet>("networks", &networks)?,
            ports: first_port..=last_port,
            token_keys,
            key_id,
            reach,
        }))
    }
}

fn of_masters(keys: &[(u8, Vec<u8>)]) -> PyResult<(TokenKeys, Reach)> {
    let (mut token_keys, mut secrets) = (TokenKeys::default(), HopSecrets::default());
    for (id, master) in keys {
        let (id, master) = (hop_key_id("keys", *id)?, fixed("keys", master)?);
        token_keys.insert(id, &master);
        secrets.insert(id, &master);
    }
    Ok((token_keys, Reach::Direct(secrets)))
}

fn of_edge_keys(
    keys: &[(u8, Vec<u8>)],
    addresses: Vec<SocketAddr>,
) -> PyResult<(TokenKeys, Reach)> {
    let (mut token_keys, mut hop_keys) = (TokenKeys::default(), EdgeHopKeys::default());
    for (id, key) in keys {
        let (id, key) = (hop_key_id("keys", *id)?, fixed("keys", key)?);
        let key = EdgeKey::from_bytes(&key);
        token_keys.insert_edge(id, &key);
        hop_keys.insert(id, &key);
    }
    let keys = hop_keys;
    Ok((token_keys, Reach::Relays { addresses, keys }))
}
