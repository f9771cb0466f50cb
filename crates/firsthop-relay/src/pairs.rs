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
    keys: HashMap<Name, PairKey>,
    /// The one that was used last: mostly the next packet's too.
    last: Option<(Name, PairKey)>,
}

/// An owner, and the id of a secret.
type Name = (SocketAddr, u8);

impl PairKeys {
    pub(crate) fn new(secrets: HopSecrets) -> Self {
        Self {
            secrets,
            keys: HashMap::new(),
            last: None,
        }
    }

    /// The key of `owner`, which the caller found allowed; `None` when there is no secret `id`.
    pub(crate) fn of_owner(&mut self, id: u8, owner: SocketAddr) -> Option<&PairKey> {
        if !self.is_known((owner, id)) {
            let key = self.secrets.pair(id, owner)?;
            self.remember((owner, id), key);
        }
        self.last.as_ref().map(|(_, key)| key)
    }

    /// Verifies a record that came from `source`, and remembers the key only if it was its own:
    /// a spoofed source leaves nothing behind.
    pub(crate) fn verify(
        &mut self,
        record: &Record<'_>,
        source: SocketAddr,
        unix_seconds: u64,
    ) -> Result<(), HopError> {
        let name = (source, record.header.key_id);
        if self.is_known(name)
            && let Some((_, key)) = &self.last
        {
            return record.verify(key, unix_seconds);
        }
        let key = self.secrets.pair(name.1, source);
        let key = key.ok_or(HopError::UnknownKey)?;
        record.verify(&key, unix_seconds)?;
        self.remember(name, key);
        Ok(())
    }

    /// Whether the key is at hand; it is the last one then.
    fn is_known(&mut self, name: Name) -> bool {
        if self.last.as_ref().is_some_and(|(last, _)| *last == name) {
            return true;
        }
        let key = self.keys.get(&name);
        self.last = key.map(|key| (name, key.clone())).or(self.last.take());
        key.is_some()
    }

    fn remember(&mut self, name: Name, key: PairKey) {
        if self.keys.len() >= MAX_KEYS {
            self.keys.clear();
        }
        self.last = Some((name, key.clone()));
        self.keys.insert(name, key);
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
