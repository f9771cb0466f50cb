//! RT1, the routing token: a server ufrag that tells the relay which transceiver owns a session.
//!
//! 24 bytes, written as the 32 characters that RFC 8839 §5.4 allows for a ufrag. The owner's
//! address is encrypted and authenticated in two AES blocks (a synthetic IV over one block of
//! plaintext), so that the ufrag shows nothing of the inside, and a made-up one leads nowhere.
//! `docs/wire-format.md` has it bit by bit.

use std::net::{Ipv4Addr, SocketAddrV4};

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::edge::EdgeKey;

/// Length of a token as a ufrag, in ice-chars.
pub const UFRAG_LEN: usize = 32;
/// Length of a token as bytes.
pub const TOKEN_LEN: usize = 24;
/// Length of a master key, in bytes.
pub const MASTER_LEN: usize = crate::edge::MASTER_LEN;
/// Key ids run from 0 to 6; 7 is reserved.
pub const KEY_IDS: usize = 7;
/// Length of an expiry slot, in seconds.
pub const SLOT_SECONDS: u64 = 15 * 60;

const VERSION: u8 = 1;
const TAG_LEN: usize = 8;
const PLAIN_LEN: usize = 15;
/// 25 hours ahead and one slot of clock skew.
const MAX_SLOTS_AHEAD: u8 = 101;

/// Where the transceiver that owns a session listens, as far as the token can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// An IPv4 transport address.
    V4(SocketAddrV4),
    /// An IPv6 interface id and port; the cluster's entry supplies the /64 prefix.
    V6 {
        /// The low 64 bits of the address.
        interface_id: u64,
        /// The UDP port.
        port: u16,
    },
}

/// What a valid token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claims {
    /// The cluster whose relays can reach the owner.
    pub cluster: u16,
    /// The owner's address.
    pub owner: Owner,
    /// [`slot_at`] of the moment after which the token is refused.
    pub expiry_slot: u8,
}

/// Why a ufrag is refused. Each is a drop reason of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// Not 32 ice-chars.
    Shape,
    /// A version or format that this build does not know.
    Version,
    /// No key under its key id.
    UnknownKey,
    /// Not sealed under that key.
    Tag,
    /// Past its slot, or further ahead than a token can be. Slots come round every 64 hours, so
    /// that an expired token is refused for 38 hours only: keys must rotate.
    Expired,
}

/// The 15-minute slot of a moment, in seconds since the Unix epoch, modulo 256.
#[must_use]
pub fn slot_at(unix_seconds: u64) -> u8 {
    (unix_seconds / SLOT_SECONDS) as u8
}

#[derive(Clone)]
struct Key {
    tag: Aes128,
    mask: Aes128,
}

impl Key {
    fn new(key: &EdgeKey) -> Self {
        let (tag, mask) = key.token();
        Self {
            tag: Aes128::new(tag.into()),
            mask: Aes128::new(mask.into()),
        }
    }

    fn tag(&self, header: u8, plain: &[u8; PLAIN_LEN]) -> [u8; TAG_LEN] {
        let mut block = [0; 16];
        block[0] = header;
        block[1..].copy_from_slice(plain);
        let mut block = block.into();
        self.tag.encrypt_block(&mut block);
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&block[..TAG_LEN]);
        tag
    }

    /// Encrypts and decrypts alike: the mask depends on header and tag only.
    fn apply_mask(&self, header: u8, tag: &[u8; TAG_LEN], text: &mut [u8; PLAIN_LEN]) {
        let mut block = [0; 16];
        block[0] = header;
        block[1..=TAG_LEN].copy_from_slice(tag);
        let mut block = block.into();
        self.mask.encrypt_block(&mut block);
        for (byte, mask) in text.iter_mut().zip(block) {
            *byte ^= mask;
        }
    }
}

/// The keys under which tokens are sealed and opened, up to seven, told apart by their id.
///
/// Rotation: give a new key to every relay first, then seal with it, and drop the old one only
/// after its last token expired.
#[derive(Clone, Default)]
pub struct TokenKeys {
    keys: [Option<Key>; KEY_IDS],
}

impl TokenKeys {
    /// Adds or replaces the key under `id`.
    ///
    /// # Panics
    /// When `id` is not below [`KEY_IDS`]: configuration is checked before it comes here.
    pub fn insert(&mut self, id: u8, master: &[u8; MASTER_LEN]) {
        self.insert_edge(id, &EdgeKey::derive(master));
    }

    /// The same for a holder of the edge key alone.
    ///
    /// # Panics
    /// When `id` is not below [`KEY_IDS`].
    pub fn insert_edge(&mut self, id: u8, key: &EdgeKey) {
        self.keys[usize::from(id)] = Some(Key::new(key));
    }

    /// Seals `claims` under key `id` as a ufrag; `None` when there is no such key.
    ///
    /// `nonce` should be random: it tells the sessions of one owner apart and makes them
    /// unlinkable. An IPv4 owner uses six bytes of it, an IPv6 owner only the first two: equal
    /// claims and nonce give an equal ufrag, so the caller draws again when a live session of its
    /// own has this ufrag already. A repeated nonce does no other harm.
    #[must_use]
    pub fn seal(&self, id: u8, claims: &Claims, nonce: [u8; 6]) -> Option<String> {
        let key = self.keys.get(usize::from(id))?.as_ref()?;
        let mut text = [0; PLAIN_LEN];
        text[0..2].copy_from_slice(&claims.cluster.to_be_bytes());
        let format: u8 = match claims.owner {
            Owner::V4(address) => {
                text[2..6].copy_from_slice(&address.ip().octets());
                text[6..8].copy_from_slice(&address.port().to_be_bytes());
                text[8] = claims.expiry_slot;
                text[9..].copy_from_slice(&nonce);
                0
            }
            Owner::V6 { interface_id, port } => {
                text[2..10].copy_from_slice(&interface_id.to_be_bytes());
                text[10..12].copy_from_slice(&port.to_be_bytes());
                text[12] = claims.expiry_slot;
                text[13..].copy_from_slice(&nonce[..2]);
                1
            }
        };
        let header = id << 5 | format << 3 | VERSION;
        let tag = key.tag(header, &text);
        key.apply_mask(header, &tag, &mut text);

        let mut token = [0; TOKEN_LEN];
        token[0] = header;
        token[1..=TAG_LEN].copy_from_slice(&tag);
        token[1 + TAG_LEN..].copy_from_slice(&text);
        Some(STANDARD_NO_PAD.encode(token))
    }

    /// Opens a ufrag at `unix_seconds`.
    ///
    /// # Errors
    /// [`TokenError`], cheapest check first; never panics, whatever the bytes.
    pub fn open(&self, ufrag: &[u8], unix_seconds: u64) -> Result<Claims, TokenError> {
        Sealed::parse(ufrag)?.open(self, unix_seconds)
    }
}

/// A ufrag that has the shape of a token. Who holds keys of several clusters tries them in turn.
#[derive(Debug, Clone, Copy)]
pub struct Sealed {
    header: u8,
    tag: [u8; TAG_LEN],
    text: [u8; PLAIN_LEN],
}

impl Sealed {
    /// Takes a ufrag for a token.
    ///
    /// # Errors
    /// [`TokenError::Shape`] and [`TokenError::Version`].
    pub fn parse(ufrag: &[u8]) -> Result<Self, TokenError> {
        if ufrag.len() != UFRAG_LEN {
            return Err(TokenError::Shape);
        }
        let mut token = [0; TOKEN_LEN];
        STANDARD_NO_PAD
            .decode_slice(ufrag, &mut token)
            .map_err(|_| TokenError::Shape)?;
        let header = token[0];
        if header & 0b111 != VERSION || header >> 3 & 0b11 > 1 {
            return Err(TokenError::Version);
        }
        let (mut tag, mut text) = ([0; TAG_LEN], [0; PLAIN_LEN]);
        tag.copy_from_slice(&token[1..=TAG_LEN]);
        text.copy_from_slice(&token[1 + TAG_LEN..]);
        Ok(Self { header, tag, text })
    }

    /// Opens it with `keys` at `unix_seconds`.
    ///
    /// # Errors
    /// [`TokenError::UnknownKey`], [`TokenError::Tag`] and [`TokenError::Expired`], in this order.
    pub fn open(&self, keys: &TokenKeys, unix_seconds: u64) -> Result<Claims, TokenError> {
        let &Self { header, tag, .. } = self;
        let id = usize::from(header >> 5);
        let key = keys.keys.get(id).and_then(Option::as_ref);
        let key = key.ok_or(TokenError::UnknownKey)?;
        let mut text = self.text;
        key.apply_mask(header, &tag, &mut text);
        // Constant time: as integers the tags are compared whole.
        if u64::from_be_bytes(key.tag(header, &text)) != u64::from_be_bytes(tag) {
            return Err(TokenError::Tag);
        }

        let cluster = u16::from_be_bytes([text[0], text[1]]);
        let (owner, expiry_slot) = if header >> 3 & 0b11 == 0 {
            let ip = Ipv4Addr::new(text[2], text[3], text[4], text[5]);
            let port = u16::from_be_bytes([text[6], text[7]]);
            (Owner::V4(SocketAddrV4::new(ip, port)), text[8])
        } else {
            let mut interface_id = [0; 8];
            interface_id.copy_from_slice(&text[2..10]);
            let port = u16::from_be_bytes([text[10], text[11]]);
            (
                Owner::V6 {
                    interface_id: u64::from_be_bytes(interface_id),
                    port,
                },
                text[12],
            )
        };
        // Slots count modulo 256, so "how far ahead" is one wrapping subtraction; 255 is one
        // slot behind, which clock skew excuses.
        let ahead = expiry_slot.wrapping_sub(slot_at(unix_seconds));
        if ahead > MAX_SLOTS_AHEAD && ahead != u8::MAX {
            return Err(TokenError::Expired);
        }
        Ok(Claims {
            cluster,
            owner,
            expiry_slot,
        })
    }
}

impl std::fmt::Debug for TokenKeys {
    /// Ids only: a key never reaches a log.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids = self
            .keys
            .iter()
            .enumerate()
            .filter(|(_, key)| key.is_some())
            .map(|(id, _)| id);
        formatter.debug_set().entries(ids).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    /// The first second of slot 128.
    const NOW: u64 = 1_800_000_000;
    const NONCE: [u8; 6] = *b"nonce!";

    fn keys() -> TokenKeys {
        let mut keys = TokenKeys::default();
        for id in 0..KEY_IDS as u8 {
            keys.insert(id, &[id; MASTER_LEN]);
        }
        keys
    }

    fn claims_v4(expiry_slot: u8) -> Claims {
        let owner = Owner::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 7), 5000));
        Claims {
            cluster: 1,
            owner,
            expiry_slot,
        }
    }

    fn claims_v6(expiry_slot: u8) -> Claims {
        let owner = Owner::V6 {
            interface_id: 0x000A_000B_000C_000D,
            port: 5000,
        };
        Claims {
            cluster: 1,
            owner,
            expiry_slot,
        }
    }

    #[test]
    fn a_token_says_what_was_sealed_into_it() {
        for id in 0..KEY_IDS as u8 {
            for claims in [claims_v4(130), claims_v6(130)] {
                let ufrag = keys().seal(id, &claims, NONCE).unwrap();
                assert_eq!(ufrag.len(), UFRAG_LEN);
                let ice_char = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
                assert!(ufrag.bytes().all(ice_char));
                assert_eq!(keys().open(ufrag.as_bytes(), NOW), Ok(claims));
            }
        }
    }

    #[test]
    fn the_nonce_decides_whether_two_tokens_are_alike() {
        let seal = |claims: &Claims, nonce| keys().seal(0, claims, nonce).unwrap();
        assert_eq!(seal(&claims_v4(130), NONCE), seal(&claims_v4(130), NONCE));
        assert_ne!(
            seal(&claims_v4(130), NONCE),
            seal(&claims_v4(130), *b"nonce?")
        );
        // An IPv6 token has room for two bytes of it.
        assert_eq!(
            seal(&claims_v6(130), NONCE),
            seal(&claims_v6(130), *b"nobody")
        );
        assert_ne!(
            seal(&claims_v6(130), NONCE),
            seal(&claims_v6(130), *b"nibody")
        );
    }

    #[test]
    fn a_key_that_is_not_there_seals_and_opens_nothing() {
        let mut one = TokenKeys::default();
        one.insert(2, &[2; MASTER_LEN]);
        for id in (0..=u8::MAX).filter(|&id| id != 2) {
            assert_eq!(one.seal(id, &claims_v4(130), NONCE), None);
        }
        let ufrag = keys().seal(3, &claims_v4(130), NONCE).unwrap();
        assert_eq!(one.open(ufrag.as_bytes(), NOW), Err(TokenError::UnknownKey));
    }

    #[test]
    fn every_single_bit_flip_of_a_token_is_refused() {
        for claims in [claims_v4(130), claims_v6(130)] {
            let ufrag = keys().seal(1, &claims, NONCE).unwrap();
            let token = STANDARD_NO_PAD.decode(&ufrag).unwrap();
            for bit in 0..TOKEN_LEN * 8 {
                let mut flipped = token.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let flipped = STANDARD_NO_PAD.encode(flipped);
                assert!(keys().open(flipped.as_bytes(), NOW).is_err(), "bit {bit}");
            }
            for bit in 0..UFRAG_LEN * 8 {
                let mut flipped = ufrag.clone().into_bytes();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(keys().open(&flipped, NOW).is_err(), "bit {bit} of the text");
            }
        }
    }

    #[test]
    fn every_other_length_is_refused() {
        let ufrag = keys().seal(0, &claims_v4(130), NONCE).unwrap().repeat(4);
        for length in (0..ufrag.len()).filter(|&length| length != UFRAG_LEN) {
            assert_eq!(
                keys().open(&ufrag.as_bytes()[..length], NOW),
                Err(TokenError::Shape)
            );
        }
    }

    #[test]
    fn random_ice_chars_are_refused() {
        const ICE_CHARS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let keys = keys();
        let mut noise = Noise(8839);
        let mut reached_the_tag = 0;
        for _ in 0..100_000 {
            let ufrag: Vec<u8> = (0..UFRAG_LEN).map(|_| ICE_CHARS[noise.below(64)]).collect();
            match keys.open(&ufrag, NOW) {
                Ok(claims) => panic!("a made-up token leads to {claims:?}"),
                Err(TokenError::Tag) => reached_the_tag += 1,
                Err(TokenError::Version | TokenError::UnknownKey) => {}
                Err(error) => panic!("32 ice-chars are never {error:?}"),
            }
        }
        // One of eight versions, two of four formats, seven of eight keys: 5.5 %.
        assert!((5_000..6_000).contains(&reached_the_tag));
    }

    #[test]
    fn random_bytes_are_refused() {
        let keys = keys();
        let mut noise = Noise(8839);
        for _ in 0..100_000 {
            let length = if noise.below(2) == 0 {
                UFRAG_LEN
            } else {
                noise.below(100)
            };
            assert!(keys.open(&noise.bytes(length), NOW).is_err());
        }
    }

    #[test]
    fn a_token_is_good_from_25_hours_before_its_slot_to_one_slot_after() {
        let keys = keys();
        let now = slot_at(NOW);
        assert_eq!(now, 128);
        for expiry_slot in 0..=u8::MAX {
            for claims in [claims_v4(expiry_slot), claims_v6(expiry_slot)] {
                let ufrag = keys.seal(0, &claims, NONCE).unwrap();
                let good = (now - 1..=now + 101).contains(&expiry_slot);
                let expected = if good {
                    Ok(claims)
                } else {
                    Err(TokenError::Expired)
                };
                assert_eq!(
                    keys.open(ufrag.as_bytes(), NOW),
                    expected,
                    "slot {expiry_slot}"
                );
                assert_eq!(
                    keys.open(ufrag.as_bytes(), NOW + SLOT_SECONDS - 1),
                    expected
                );
            }
        }
    }

    #[test]
    fn an_expired_token_is_refused_for_153_slots_and_then_comes_round_again() {
        let keys = keys();
        let ufrag = keys.seal(0, &claims_v4(slot_at(NOW)), NONCE).unwrap();
        for slots in 0..512 {
            let opened = keys.open(ufrag.as_bytes(), NOW + slots * SLOT_SECONDS);
            assert_eq!(
                opened.is_err(),
                (2..155).contains(&(slots % 256)),
                "{slots} slots on"
            );
        }
    }

    #[test]
    fn slots_last_a_quarter_of_an_hour_and_wrap() {
        assert_eq!(slot_at(0), 0);
        assert_eq!(slot_at(899), 0);
        assert_eq!(slot_at(900), 1);
        assert_eq!(slot_at(256 * 900 - 1), 255);
        assert_eq!(slot_at(256 * 900), 0);
        assert_eq!(slot_at(u64::MAX), (u64::MAX / 900 % 256) as u8);
    }

    #[test]
    fn keys_show_their_ids_only() {
        let mut keys = TokenKeys::default();
        keys.insert(2, &[0xAB; MASTER_LEN]);
        keys.insert(5, &[0xCD; MASTER_LEN]);
        assert_eq!(format!("{keys:?}"), "{2, 5}");
    }
}
