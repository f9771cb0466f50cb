//! Invariant: any bytes give claims or an error, never a panic; a token that opens no longer opens
//! once any of its characters is another one; and claims come back as they were sealed.
//!
//! Input: eight bytes of Unix time, then the ufrag. The seeds are sealed under the master below, so
//! that mutation starts behind the tag check, which no fuzzer guesses its way through.

#![no_main]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::LazyLock;

use firsthop_wire::token::{Claims, KEY_IDS, Owner, TokenError, TokenKeys, UFRAG_LEN, slot_at};
use libfuzzer_sys::fuzz_target;

static KEYS: LazyLock<TokenKeys> = LazyLock::new(|| {
    let mut keys = TokenKeys::default();
    for id in 0..KEY_IDS as u8 {
        keys.insert(id, &std::array::from_fn(|index| index as u8));
    }
    keys
});

fuzz_target!(|input: &[u8]| {
    let Some((time, ufrag)) = input.split_first_chunk::<8>() else {
        return;
    };
    let time = u64::from_be_bytes(*time);
    match KEYS.open(ufrag, time) {
        Ok(claims) => {
            assert_eq!(ufrag.len(), UFRAG_LEN);
            // At any other time it says the same or has expired.
            assert!([Ok(claims), Err(TokenError::Expired)].contains(&KEYS.open(ufrag, !time)));
            for position in 0..ufrag.len() {
                let mut changed = ufrag.to_vec();
                changed[position] = if changed[position] == b'A' {
                    b'B'
                } else {
                    b'A'
                };
                assert!(KEYS.open(&changed, time).is_err());
            }
        }
        Err(TokenError::Shape) => {
            let ice_char = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
            assert!(ufrag.len() != UFRAG_LEN || !ufrag.iter().all(ice_char));
        }
        Err(_) => assert_eq!(ufrag.len(), UFRAG_LEN),
    }

    // The same bytes once more, as claims and nonce.
    let Some((fields, _)) = ufrag.split_first_chunk::<18>() else {
        return;
    };
    let &[a, b, c, d, e, f, g, h, i, j, k, l, nonce @ ..] = fields;
    let port = u16::from_be_bytes([k, l]);
    let v4 = Owner::V4(SocketAddrV4::new(Ipv4Addr::new(c, d, e, f), port));
    let v6 = Owner::V6 {
        interface_id: u64::from_be_bytes([c, d, e, f, g, h, i, j]),
        port,
    };
    for owner in [v4, v6] {
        let expiry_slot = slot_at(time).wrapping_add(a % 102);
        let claims = Claims {
            cluster: u16::from_be_bytes([a, b]),
            owner,
            expiry_slot,
        };
        let sealed = KEYS
            .seal(b % KEY_IDS as u8, &claims, nonce)
            .expect("all ids have a key");
        assert_eq!(KEYS.open(sealed.as_bytes(), time), Ok(claims));
    }
});
