//! The wire codecs as plain functions: for tests, tools, and whoever mints tokens elsewhere.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4};

use firsthop_wire::edge::EdgeKey;
use firsthop_wire::hop::{Direction, Flags, Header, HopSecrets};
use firsthop_wire::token::{Claims, Owner, TokenKeys};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::{fixed, hop_key_id, parse, token_keys};
use crate::error::token_error;

fn keys(id: u8, master: &[u8]) -> PyResult<TokenKeys> {
    token_keys(&[(id, master.to_vec())].into())
}

/// Seals a routing token (RT1) as a ufrag.
#[pyfunction]
#[pyo3(signature = (*, master, key_id, cluster, address, port, expiry_slot, nonce))]
pub(crate) fn seal_token(
    master: &[u8],
    key_id: u8,
    cluster: u16,
    address: &str,
    port: u16,
    expiry_slot: u8,
    nonce: &[u8],
) -> PyResult<String> {
    let owner = match parse::<IpAddr>("address", address)? {
        IpAddr::V4(ip) => Owner::V4(SocketAddrV4::new(ip, port)),
        IpAddr::V6(ip) => Owner::V6 {
            interface_id: u128::from(ip) as u64,
            port,
        },
    };
    let claims = Claims {
        cluster,
        owner,
        expiry_slot,
    };
    keys(key_id, master)?
        .seal(key_id, &claims, fixed("nonce", nonce)?)
        .ok_or_else(|| PyValueError::new_err(format!("key_id: no key {key_id}")))
}

/// Opens a ufrag: (cluster, address, port, expiry slot).
#[pyfunction]
#[pyo3(signature = (*, master, key_id, ufrag, unix_seconds))]
pub(crate) fn open_token(
    master: &[u8],
    key_id: u8,
    ufrag: &str,
    unix_seconds: u64,
) -> PyResult<(u16, String, u16, u8)> {
    let keys = keys(key_id, master)?;
    let claims = keys
        .open(ufrag.as_bytes(), unix_seconds)
        .map_err(token_error)?;
    let (address, port) = match claims.owner {
        Owner::V4(address) => (address.ip().to_string(), address.port()),
        Owner::V6 { interface_id, port } => {
            (Ipv6Addr::from(u128::from(interface_id)).to_string(), port)
        }
    };
    Ok((claims.cluster, address, port, claims.expiry_slot))
}

/// What an edge relay needs of a cluster's master key: 48 bytes.
#[pyfunction]
pub(crate) fn edge_key<'py>(py: Python<'py>, master: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let key = EdgeKey::derive(&fixed("master", master)?);
    Ok(PyBytes::new(py, &key.to_bytes()))
}

/// Seals a hop header (RE1) for an empty payload.
#[pyfunction]
#[pyo3(signature = (*, secret, key_id, owner, direction, flags, hop_limit, tick, client, ingress,
                    return_hop))]
#[allow(clippy::too_many_arguments)] // One per field of the header, all by keyword.
pub(crate) fn seal_hop_header<'py>(
    py: Python<'py>,
    secret: &[u8],
    key_id: u8,
    owner: &str,
    direction: &str,
    flags: u8,
    hop_limit: u8,
    tick: u16,
    client: &str,
    ingress: u16,
    return_hop: Option<&str>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut secrets = HopSecrets::default();
    secrets.insert(hop_key_id("key_id", key_id)?, &fixed("secret", secret)?);
    let key = secrets
        .pair(key_id, parse::<SocketAddr>("owner", owner)?)
        .ok_or_else(|| PyValueError::new_err(format!("key_id: no secret {key_id}")))?;
    let direction = match direction {
        "up" => Direction::Up,
        "down" => Direction::Down,
        other => {
            let message = format!("direction: {other:?}: expected 'up' or 'down'");
            return Err(PyValueError::new_err(message));
        }
    };
    let header = Header {
        direction,
        flags: Flags::from_bits(flags),
        key_id,
        hop_limit,
        tick,
        client: parse("client", client)?,
        ingress,
        return_hop: return_hop.map(|hop| parse("return_hop", hop)).transpose()?,
    };
    let mut datagram = Vec::new();
    header.seal(&key).write_record(&[], &mut datagram);
    Ok(PyBytes::new(py, &datagram))
}
