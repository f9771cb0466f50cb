//! Pair keys at hand: derived once per owner, not once per packet.

use std::collections::HashMap;
use std::net::SocketAddr;

use firsthop_wire::hop::{HopError, HopSecrets, PairKey, Record};

/// Beyond this many keys the map starts again empty. A derivation is about a microsecond, so even
/// a cluster with more owners than this pays little.
const MAX_KEYS: usize = 4096;

/// The pair keys of owners that a valid token or a verified record named.
pub(crate) struct PairKeys {
    secrets: HopSecrets,
    /// By owner and key id.
    keys: HashMap<(SocketAddr, u8), PairKey>,
}

impl PairKeys {
    pub(crate) fn new(secrets: HopSecrets) -> Self {
        Self {
            secrets,
            keys: HashMap::new(),
        }
    }

    /// The key of `owner`, which the caller found allowed; `None` when there is no secret `id`.
    pub(crate) fn of_owner(&mut self, id: u8, owner: SocketAddr) -> Option<PairKey> {
        if let Some(key) = self.keys.get(&(owner, id)) {
            return Some(key.clone());
        }
        let key = self.secrets.pair(id, owner)?;
        self.remember(id, owner, key.clone());
        Some(key)
    }

    /// Verifies a record that came from `source`, and remembers the key only if it was its own:
    /// a spoofed source leaves nothing behind.
    pub(crate) fn verify(
        &mut self,
        record: &Record<'_>,
        source: SocketAddr,
        unix_seconds: u64,
    ) -> Result<(), HopError> {
        let id = record.header.key_id;
        if let Some(key) = self.keys.get(&(source, id)) {
            return record.verify(key, unix_seconds);
        }
        let key = self.secrets.pair(id, source).ok_or(HopError::UnknownKey)?;
        record.verify(&key, unix_seconds)?;
        self.remember(id, source, key);
        Ok(())
    }

    fn remember(&mut self, id: u8, owner: SocketAddr, key: PairKey) {
        if self.keys.len() >= MAX_KEYS {
            self.keys.clear();
        }
        self.keys.insert((owner, id), key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_never_outgrows_its_bound() {
        let mut secrets = HopSecrets::default();
        secrets.insert(0, &[1; 32]);
        let mut pairs = PairKeys::new(secrets);
        for port in 1..=10_000 {
            let owner = SocketAddr::from(([10, 0, 0, 1], port));
            assert!(pairs.of_owner(0, owner).is_some());
            assert!(pairs.keys.len() <= MAX_KEYS);
        }
        assert!(
            pairs
                .of_owner(1, SocketAddr::from(([10, 0, 0, 1], 1)))
                .is_none()
        );
    }
}
