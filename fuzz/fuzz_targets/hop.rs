//! Invariant: any datagram gives records or an error, never a panic; one header has one encoding;
//! and a record verifies exactly when its owner, sealing the same fields, would write the same
//! bytes.
//!
//! The seeds are sealed under the secret and owner below, so that mutation starts behind the MAC.

#![no_main]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use firsthop_wire::hop::{
    HopError, HopSecrets, KEY_IDS, MAX_HEADER_LEN, PairKey, TICK_SECONDS, records,
};
use libfuzzer_sys::fuzz_target;

const MAC_LEN: usize = 8;

static KEYS: LazyLock<[PairKey; KEY_IDS]> = LazyLock::new(|| {
    let owner = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 7), 5000));
    std::array::from_fn(|id| {
        let mut secrets = HopSecrets::default();
        secrets.insert(id as u8, &std::array::from_fn(|index| 0x40 + index as u8));
        secrets
            .pair(id as u8, owner)
            .expect("the secret was inserted")
    })
});

fuzz_target!(|datagram: &[u8]| {
    let mut position = 0;
    let mut malformed = false;
    for record in records(datagram) {
        assert!(!malformed, "something follows a malformed record");
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                assert_eq!(error, HopError::Malformed);
                malformed = true;
                continue;
            }
        };
        let key = &KEYS[usize::from(record.header.key_id)];
        let sealed = record.header.seal(key);
        assert!(sealed.len() <= MAX_HEADER_LEN);
        let mut rewritten = Vec::new();
        sealed.write_record(record.payload, &mut rewritten);

        let original = &datagram[position..position + rewritten.len()];
        let covered = sealed.len() - MAC_LEN;
        assert_eq!(
            original[..covered],
            rewritten[..covered],
            "a second encoding of one header"
        );
        assert_eq!(
            original[sealed.len()..],
            rewritten[sealed.len()..],
            "payload out of place"
        );

        let now = u64::from(record.header.tick) * TICK_SECONDS;
        let verified = record.verify(key, now);
        assert_eq!(verified.is_ok(), original == rewritten);
        if verified.is_ok() {
            assert_eq!(record.verify(key, now + 2 * TICK_SECONDS), Ok(()));
            assert_eq!(
                record.verify(key, now + 3 * TICK_SECONDS),
                Err(HopError::Tick)
            );
        }
        position += rewritten.len();
    }
    if !malformed {
        assert!(position > 0, "a datagram without a record passes");
        assert!(
            datagram.get(position).is_none_or(|&byte| byte == 0),
            "a record was skipped"
        );
    }
});
