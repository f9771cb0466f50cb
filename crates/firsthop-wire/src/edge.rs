//! The edge key: all that an edge relay needs of a cluster's key, and no more.
//!
//! An edge relay opens the cluster's tokens, and speaks to the cluster's relays; it reaches no
//! transceiver. So it gets what is derived from the master, and never the master itself, from
//! which everything else of the cluster follows. `docs/wire-format.md` has it byte by byte.

use hkdf::Hkdf;
use sha2::Sha256;

/// Length of a cluster's master key, in bytes.
pub const MASTER_LEN: usize = 32;
/// Length of an edge key, in bytes.
pub const EDGE_KEY_LEN: usize = 3 * PART_LEN;

const PART_LEN: usize = 16;

/// The edge key of a cluster and key id: RT1's two keys, and that of the hops between edge relays
/// and the cluster's relays.
#[derive(Clone, PartialEq, Eq)]
pub struct EdgeKey([[u8; PART_LEN]; 3]);

impl EdgeKey {
    /// Derives it from the cluster's master.
    #[must_use]
    pub fn derive(master: &[u8; MASTER_LEN]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(b"firsthop"), master);
        Self(["RT1 tag", "RT1 mask", "RE1 edge"].map(|info| {
            let mut key = [0; PART_LEN];
            hkdf.expand(info.as_bytes(), &mut key)
                .expect("16 bytes are far below HKDF's limit of 8160");
            key
        }))
    }

    /// Reads what [`EdgeKey::to_bytes`] wrote. Any bytes are a key.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; EDGE_KEY_LEN]) -> Self {
        let part = |index: usize| std::array::from_fn(|byte| bytes[index * PART_LEN + byte]);
        Self([part(0), part(1), part(2)])
    }

    /// K1, K2 and the edge hop key, one behind the other.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; EDGE_KEY_LEN] {
        std::array::from_fn(|byte| self.0[byte / PART_LEN][byte % PART_LEN])
    }

    /// RT1's keys: of the tag, and of the mask.
    pub(crate) fn token(&self) -> (&[u8; PART_LEN], &[u8; PART_LEN]) {
        (&self.0[0], &self.0[1])
    }

    /// RE1's key between edge relays and the cluster's relays.
    pub(crate) fn hop(&self) -> &[u8; PART_LEN] {
        &self.0[2]
    }
}

impl std::fmt::Debug for EdgeKey {
    /// Nothing of it: a key never reaches a log.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("EdgeKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_key_survives_as_bytes_and_shows_nothing() {
        let key = EdgeKey::derive(&[7; MASTER_LEN]);
        assert_eq!(EdgeKey::from_bytes(&key.to_bytes()), key);
        assert_eq!(format!("{key:?}"), "EdgeKey");
    }

    #[test]
    fn the_parts_of_an_edge_key_tell_nothing_of_each_other() {
        let all = [1, 2].map(|byte| EdgeKey::derive(&[byte; MASTER_LEN]));
        let mut parts: Vec<_> = all.iter().flat_map(|key| key.0).collect();
        parts.sort_unstable();
        parts.dedup();
        assert_eq!(parts.len(), 6);
    }
}
