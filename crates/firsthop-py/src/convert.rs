//! Python values to Rust ones, with an error that names what was expected.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use firsthop_wire::hop::{self, HopSecrets};
use firsthop_wire::token::{self, TokenKeys};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyMapping;

pub(crate) fn parse<T: FromStr<Err: Display>>(name: &str, text: &str) -> PyResult<T> {
    text.parse()
        .map_err(|error| PyValueError::new_err(format!("{name}: {text:?}: {error}")))
}

pub(crate) fn parse_all<T: FromStr<Err: Display>>(
    name: &str,
    texts: &[String],
) -> PyResult<Vec<T>> {
    texts.iter().map(|text| parse(name, text)).collect()
}

pub(crate) fn fixed<const N: usize>(name: &str, bytes: &[u8]) -> PyResult<[u8; N]> {
    bytes
        .try_into()
        .map_err(|_| PyValueError::new_err(format!("{name} takes {N} bytes, not {}", bytes.len())))
}

fn key_id(name: &str, id: u8, limit: usize) -> PyResult<u8> {
    if usize::from(id) < limit {
        return Ok(id);
    }
    Err(PyValueError::new_err(format!(
        "{name}: key ids run from 0 to {}, not {id}",
        limit - 1
    )))
}

/// Keys by their id.
pub(crate) fn keys(mapping: &Bound<'_, PyMapping>) -> PyResult<HashMap<u8, Vec<u8>>> {
    let items = mapping.items()?.extract::<Vec<(u8, Vec<u8>)>>()?;
    Ok(items.into_iter().collect())
}

pub(crate) fn token_keys(masters: &HashMap<u8, Vec<u8>>) -> PyResult<TokenKeys> {
    let mut keys = TokenKeys::default();
    for (&id, master) in masters {
        let id = key_id("token_keys", id, token::KEY_IDS)?;
        keys.insert(id, &fixed("token_keys", master)?);
    }
    Ok(keys)
}

pub(crate) fn hop_secrets(secrets: &HashMap<u8, Vec<u8>>) -> PyResult<HopSecrets> {
    let mut keys = HopSecrets::default();
    for (&id, secret) in secrets {
        keys.insert(
            hop_key_id("hop_secrets", id)?,
            &fixed("hop_secrets", secret)?,
        );
    }
    Ok(keys)
}

pub(crate) fn hop_key_id(name: &str, id: u8) -> PyResult<u8> {
    key_id(name, id, hop::KEY_IDS)
}

/// PCM16, little-endian, as Python's `bytes` carry it.
pub(crate) fn samples(pcm: &[u8]) -> PyResult<Vec<i16>> {
    if !pcm.len().is_multiple_of(2) {
        let message = format!(
            "PCM16 takes two bytes per sample; {} bytes are odd",
            pcm.len()
        );
        return Err(PyValueError::new_err(message));
    }
    Ok(pcm
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect())
}

pub(crate) fn pcm_bytes(samples: &[i16]) -> Vec<u8> {
    samples
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect()
}
