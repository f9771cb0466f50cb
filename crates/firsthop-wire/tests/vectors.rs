//! The shared vectors of `tests/vectors/`: an implementation in another language wrote them, from
//! the format description alone, and this one must agree byte for byte.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4};

use firsthop_wire::edge::EdgeKey;
use firsthop_wire::hop::{self, Direction, EdgeHopKeys, Flags, Header, HopError, HopSecrets};
use firsthop_wire::token::{Claims, Owner, TokenError, TokenKeys};
use serde_json::Value;

#[test]
fn tokens_are_sealed_as_the_vectors_say() {
    for case in cases("rt1", "seal") {
        let mut keys = TokenKeys::default();
        keys.insert(number(&case, "key_id"), &bytes(&case, "master"));
        let ufrag = keys.seal(
            number(&case, "key_id"),
            &claims(&case),
            bytes(&case, "nonce"),
        );
        assert_eq!(
            ufrag.as_deref(),
            Some(text(&case, "ufrag")),
            "{}",
            text(&case, "name")
        );
    }
}

#[test]
fn tokens_are_opened_or_refused_as_the_vectors_say() {
    for case in cases("rt1", "open") {
        let mut keys = TokenKeys::default();
        keys.insert(number(&case, "key_id"), &bytes(&case, "master"));
        let opened = keys.open(
            text(&case, "ufrag").as_bytes(),
            number(&case, "unix_seconds"),
        );
        let expected = match case["error"].as_str() {
            None => Ok(claims(&case)),
            Some("shape") => Err(TokenError::Shape),
            Some("version") => Err(TokenError::Version),
            Some("unknown_key") => Err(TokenError::UnknownKey),
            Some("tag") => Err(TokenError::Tag),
            Some("expired") => Err(TokenError::Expired),
            Some(other) => panic!("no such error: {other}"),
        };
        assert_eq!(opened, expected, "{}", text(&case, "name"));
    }
}

#[test]
fn hop_headers_are_sealed_as_the_vectors_say() {
    for case in cases("re1", "seal") {
        let header = header(&case);
        let key = secrets(&case).pair(header.key_id, address(&case, "owner"));
        let mut sealed = Vec::new();
        header
            .seal(&key.expect("the secret was inserted"))
            .write_record(&[], &mut sealed);
        assert_eq!(
            sealed,
            hex(text(&case, "header")),
            "{}",
            text(&case, "name")
        );
    }
}

#[test]
fn edge_keys_are_derived_and_seal_as_the_vectors_say() {
    for case in cases("re1", "edge") {
        let (name, key) = (
            text(&case, "name"),
            EdgeKey::derive(&bytes(&case, "master")),
        );
        assert_eq!(key.to_bytes(), bytes(&case, "edge_key"), "{name}");
        let (header, mut keys) = (header(&case), EdgeHopKeys::default());
        keys.insert(header.key_id, &key);
        let key = keys.get(header.key_id).expect("it was inserted");
        let mut sealed = Vec::new();
        header.seal(key).write_record(&[], &mut sealed);
        assert_eq!(sealed, hex(text(&case, "header")), "{name}");
    }
}

#[test]
fn an_edge_key_opens_what_its_master_sealed() {
    for case in cases("rt1", "seal") {
        let key_id = number(&case, "key_id");
        let mut keys = TokenKeys::default();
        keys.insert_edge(key_id, &EdgeKey::derive(&bytes(&case, "master")));
        let ufrag = keys.seal(key_id, &claims(&case), bytes(&case, "nonce"));
        assert_eq!(ufrag.as_deref(), Some(text(&case, "ufrag")));
    }
}

#[test]
fn hop_datagrams_are_opened_or_refused_as_the_vectors_say() {
    for case in cases("re1", "open") {
        let secrets = secrets(&case);
        let open = |record: hop::Record<'_>| {
            let key = secrets.pair(record.header.key_id, address(&case, "owner"));
            record.verify(
                &key.ok_or(HopError::UnknownKey)?,
                number(&case, "unix_seconds"),
            )?;
            Ok((record.header, record.payload.to_vec()))
        };
        let datagram = hex(text(&case, "datagram"));
        let opened: Vec<_> = hop::records(&datagram)
            .map(|record| open(record?))
            .collect();

        let results = case["results"].as_array().expect("results are a list");
        let expected: Vec<_> = results
            .iter()
            .map(|result| match result["error"].as_str() {
                None => Ok((header(result), hex(text(result, "payload")))),
                Some("malformed") => Err(HopError::Malformed),
                Some("unknown_key") => Err(HopError::UnknownKey),
                Some("mac") => Err(HopError::Mac),
                Some("tick") => Err(HopError::Tick),
                Some(other) => panic!("no such error: {other}"),
            })
            .collect();
        assert_eq!(opened, expected, "{}", text(&case, "name"));
    }
}

fn cases(format: &str, list: &str) -> Vec<Value> {
    let path = format!(
        "{}/../../tests/vectors/{format}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let vectors = fs::read_to_string(&path).expect("the vectors are part of the repository");
    let vectors: Value = serde_json::from_str(&vectors).expect("the vectors are JSON");
    let cases = vectors[list].as_array().expect("a list of cases").clone();
    assert!(!cases.is_empty());
    cases
}

fn claims(case: &Value) -> Claims {
    let port = number(case, "port");
    let owner = match text(case, "address").parse().expect("an IP address") {
        IpAddr::V4(ip) => Owner::V4(SocketAddrV4::new(ip, port)),
        IpAddr::V6(ip) => Owner::V6 {
            interface_id: interface_id(ip),
            port,
        },
    };
    Claims {
        cluster: number(case, "cluster"),
        owner,
        expiry_slot: number(case, "expiry_slot"),
    }
}

fn interface_id(ip: Ipv6Addr) -> u64 {
    u128::from(ip) as u64
}

fn secrets(case: &Value) -> HopSecrets {
    let mut secrets = HopSecrets::default();
    secrets.insert(number(case, "key_id"), &bytes(case, "secret"));
    secrets
}

fn header(case: &Value) -> Header {
    Header {
        direction: match text(case, "direction") {
            "up" => Direction::Up,
            "down" => Direction::Down,
            other => panic!("no such direction: {other}"),
        },
        flags: Flags::from_bits(number(case, "flags")),
        key_id: number(case, "key_id"),
        hop_limit: number(case, "hop_limit"),
        tick: number(case, "tick"),
        client: address(case, "client"),
        ingress: number(case, "ingress"),
        return_hop: case["return_hop"]
            .as_str()
            .map(|_| address(case, "return_hop")),
    }
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} is a string"))
}

fn address(case: &Value, field: &str) -> SocketAddr {
    text(case, field)
        .parse()
        .unwrap_or_else(|_| panic!("{field} is a transport address"))
}

fn number<T: TryFrom<u64>>(case: &Value, field: &str) -> T {
    let number = case[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} is a number"));
    T::try_from(number).unwrap_or_else(|_| panic!("{field} is out of range"))
}

fn bytes<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    hex(text(case, field))
        .try_into()
        .unwrap_or_else(|_| panic!("{field} has {N} bytes"))
}

fn hex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "hex digits come in pairs");
    (0..digits.len())
        .step_by(2)
        .map(|start| u8::from_str_radix(&digits[start..start + 2], 16).expect("hex digits"))
        .collect()
}
