//! RE1, the hop header: what relay and transceiver put in front of a client's packet.
//!
//! One header both ways, so that the return path needs no state: the transceiver echoes what it
//! received, and the relay sends the payload to the client address that the header names. A
//! datagram between hops holds one or more records, each a header and its payload; bytes after
//! the last record are zero padding. `docs/wire-format.md` has it bit by bit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hkdf::Hkdf;
use sha2::Sha256;
use siphasher::sip::SipHasher24;

use crate::edge::EdgeKey;

/// First byte of every record, outside all ranges of RFC 7983.
pub const MAGIC: u8 = 0xE5;
/// The longest header: IPv6 client and IPv6 return hop, in bytes.
pub const MAX_HEADER_LEN: usize = FIXED_LEN + 16 + 18 + MAC_LEN;
/// Length of a cluster secret, in bytes.
pub const SECRET_LEN: usize = crate::edge::MASTER_LEN;
/// Hop limit with which a header starts.
pub const HOP_LIMIT: u8 = 3;
/// Key ids run from 0 to 3.
pub const KEY_IDS: usize = 4;
/// Length of a tick, in seconds. A header is good for two ticks on either side of its own.
pub const TICK_SECONDS: u64 = 16;

const VERSION: u8 = 1;
const FIXED_LEN: usize = 12;
const MAC_LEN: usize = 8;
const LENGTH_FIELD: std::ops::Range<usize> = 10..12;
const MAX_TICKS_OFF: u16 = 2;

const BIT_DOWN: u8 = 1 << 4;
const BIT_CLIENT_V6: u8 = 1 << 3;
const BIT_HOP_V6: u8 = 1 << 2;
/// The number of return hops, 0 or 1 so far.
const RETURN_HOPS: u8 = 0b11;

/// Which way a record travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Relay to transceiver (ingress).
    Up,
    /// Transceiver to relay (egress).
    Down,
}

/// What a hop tells the next about a flow, or about itself: the low six bits of the flags byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// A binding request from this client was authenticated: the relay may keep a flow.
    pub const CONFIRM: Self = Self(1);
    /// The client answered a check from this address: it owns the address.
    pub const PATH: Self = Self(2);
    /// The session is over: forget the flow.
    pub const RELEASE: Self = Self(4);
    /// The transceiver has no such session. The record carries no payload.
    pub const NO_SESSION: Self = Self(8);
    /// Is anybody there? Between an edge relay and a cluster relay. The record carries no payload.
    pub const PROBE: Self = Self(0x10);
    /// The edge relay by which the client came is silent. The record carries no payload.
    pub const EDGE_LOST: Self = Self(0x20);

    /// All that tell about a flow; the others are between hops.
    pub const OF_FLOW: Self = Self(0x0F);

    /// The flags that the low six bits say; the others mean nothing.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & 0x3F)
    }

    /// Whether all of `other` are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitAnd for Flags {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The fields of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which way.
    pub direction: Direction,
    /// What the sender says; on the way up only about edge relays.
    pub flags: Flags,
    /// Which cluster secret the MAC is under, 0–3.
    pub key_id: u8,
    /// Hops left; a relay that would send 0 drops.
    pub hop_limit: u8,
    /// [`tick_at`] of the sender.
    pub tick: u16,
    /// The client's transport address.
    pub client: SocketAddr,
    /// Which public socket the client used, as the relay numbers them.
    pub ingress: u16,
    /// To whom the receiver passes the packet on, if it is not the last relay on its way: the owner
    /// where an edge relay speaks with a cluster relay, the edge relay where that speaks with the
    /// owner.
    pub return_hop: Option<SocketAddr>,
}

/// Why a datagram between hops is refused. Each is a drop reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HopError {
    /// Too short, wrong magic or version, or a length that runs past the end.
    Malformed,
    /// No secret under its key id.
    UnknownKey,
    /// The MAC is not this pair's.
    Mac,
    /// More than two ticks from the receiver's, in the past or in the future.
    Tick,
}

/// The 16-second tick of a moment, in seconds since the Unix epoch, modulo 65536.
#[must_use]
pub fn tick_at(unix_seconds: u64) -> u16 {
    (unix_seconds / TICK_SECONDS) as u16
}

/// The key of one pair of hops, named by the address of its transceiver side; or the one that a
/// cluster's relays share with edge relays.
///
/// Both directions use it (the direction bit is under the MAC). Whoever holds only a transceiver's
/// key can speak for that one address.
#[derive(Clone)]
pub struct PairKey(SipHasher24);

impl PairKey {
    fn mac(&self, header: &[u8]) -> u64 {
        self.0.hash(header)
    }
}

/// The cluster secrets from which pair keys are derived, up to four, told apart by their id.
#[derive(Clone, Default)]
pub struct HopSecrets {
    secrets: [Option<Hkdf<Sha256>>; KEY_IDS],
    edge: EdgeHopKeys,
}

impl HopSecrets {
    /// Adds or replaces the secret under `id`.
    ///
    /// # Panics
    /// When `id` is not below [`KEY_IDS`]: configuration is checked before it comes here.
    pub fn insert(&mut self, id: u8, secret: &[u8; SECRET_LEN]) {
        self.secrets[usize::from(id)] = Some(Hkdf::new(Some(b"firsthop"), secret));
        self.edge.insert(id, &EdgeKey::derive(secret));
    }

    /// The keys that follow from the same secrets, for the hops between the cluster's relays and
    /// edge relays.
    #[must_use]
    pub fn edge_keys(&self) -> &EdgeHopKeys {
        &self.edge
    }

    /// The key of the pair whose transceiver side is `owner`; `None` when there is no secret `id`.
    ///
    /// About a microsecond of work: keep the result.
    #[must_use]
    pub fn pair(&self, id: u8, owner: SocketAddr) -> Option<PairKey> {
        let hkdf = self.secrets.get(usize::from(id))?.as_ref()?;
        let (ip, port) = (owner.ip(), owner.port());
        let ip = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let mut key = [0; 16];
        hkdf.expand_multi_info(&[b"RE1", &ip.octets(), &port.to_be_bytes()], &mut key)
            .expect("16 bytes are far below HKDF's limit of 8160");
        Some(PairKey(SipHasher24::new_with_key(&key)))
    }
}

impl std::fmt::Debug for HopSecrets {
    /// Ids only: a secret never reaches a log.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        show_ids(&self.secrets, formatter)
    }
}

/// The edge hop keys of a cluster, up to four, told apart by their id.
#[derive(Clone, Default)]
pub struct EdgeHopKeys {
    keys: [Option<PairKey>; KEY_IDS],
}

impl EdgeHopKeys {
    /// Adds or replaces the key under `id`.
    ///
    /// # Panics
    /// When `id` is not below [`KEY_IDS`]: configuration is checked before it comes here.
    pub fn insert(&mut self, id: u8, key: &EdgeKey) {
        let key = PairKey(SipHasher24::new_with_key(key.hop()));
        self.keys[usize::from(id)] = Some(key);
    }

    /// The key under `id`, if there is one.
    #[must_use]
    pub fn get(&self, id: u8) -> Option<&PairKey> {
        self.keys.get(usize::from(id))?.as_ref()
    }
}

impl std::fmt::Debug for EdgeHopKeys {
    /// Ids only: a key never reaches a log.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        show_ids(&self.keys, formatter)
    }
}

fn show_ids<T>(
    keys: &[Option<T>; KEY_IDS],
    formatter: &mut std::fmt::Formatter<'_>,
) -> std::fmt::Result {
    let ids = keys.iter().enumerate().filter(|(_, key)| key.is_some());
    formatter
        .debug_set()
        .entries(ids.map(|(id, _)| id))
        .finish()
}

/// A header as bytes, ready to be put before any payload of its flow until the tick changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedHeader {
    bytes: [u8; MAX_HEADER_LEN],
    length: u8,
}

impl SealedHeader {
    /// Length of the header on the wire, in bytes: 24 for an IPv4 client without return hop.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.length)
    }

    /// Never: a header has at least its fixed part. Here because `len` is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The MAC that seals it: with [`Header::sealed_with`] all that a flow must keep.
    #[must_use]
    pub fn mac(&self) -> u64 {
        // The MAC is the end of a header by construction.
        self.bytes[..self.len()]
            .last_chunk()
            .map_or(0, |mac| u64::from_be_bytes(*mac))
    }

    /// Appends one record to `datagram`.
    ///
    /// # Panics
    /// When `payload` exceeds 65535 bytes, which no UDP payload does.
    pub fn write_record(&self, payload: &[u8], datagram: &mut Vec<u8>) {
        let length = u16::try_from(payload.len()).expect("a UDP payload is below 64 KiB");
        let start = datagram.len();
        datagram.extend_from_slice(&self.bytes[..self.len()]);
        datagram[start..][LENGTH_FIELD].copy_from_slice(&length.to_be_bytes());
        datagram.extend_from_slice(payload);
    }
}

impl Header {
    /// Writes the header and seals it under `key`.
    #[must_use]
    pub fn seal(&self, key: &PairKey) -> SealedHeader {
        let writer = self.write();
        let mac = key.mac(&writer.bytes[..writer.length]);
        writer.sealed(mac)
    }

    /// Writes the header again that [`Header::seal`] sealed with `mac`: cheaper than sealing.
    #[must_use]
    pub fn sealed_with(&self, mac: u64) -> SealedHeader {
        self.write().sealed(mac)
    }

    /// All but the MAC.
    fn write(&self) -> Writer {
        debug_assert!(
            usize::from(self.key_id) < KEY_IDS,
            "HopSecrets has no such key id"
        );
        let mut writer = Writer {
            bytes: [0; MAX_HEADER_LEN],
            length: 0,
        };
        let mut shape = VERSION << 5;
        if self.direction == Direction::Down {
            shape |= BIT_DOWN;
        }
        if self.client.is_ipv6() {
            shape |= BIT_CLIENT_V6;
        }
        if let Some(hop) = self.return_hop {
            shape |= 1;
            if hop.is_ipv6() {
                shape |= BIT_HOP_V6;
            }
        }
        writer.put(&[
            MAGIC,
            shape,
            self.flags.0 | self.key_id << 6,
            self.hop_limit,
        ]);
        writer.put(&self.tick.to_be_bytes());
        writer.put(&self.client.port().to_be_bytes());
        writer.put(&self.ingress.to_be_bytes());
        // The payload's length: zero under the MAC, filled in record by record.
        writer.put(&[0, 0]);
        writer.put_ip(self.client.ip());
        if let Some(hop) = self.return_hop {
            writer.put_ip(hop.ip());
            writer.put(&hop.port().to_be_bytes());
        }
        writer
    }
}

struct Writer {
    bytes: [u8; MAX_HEADER_LEN],
    length: usize,
}

impl Writer {
    fn put(&mut self, part: &[u8]) {
        self.bytes[self.length..self.length + part.len()].copy_from_slice(part);
        self.length += part.len();
    }

    fn put_ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(v4) => self.put(&v4.octets()),
            IpAddr::V6(v6) => self.put(&v6.octets()),
        }
    }

    fn sealed(mut self, mac: u64) -> SealedHeader {
        self.put(&mac.to_be_bytes());
        SealedHeader {
            bytes: self.bytes,
            length: self.length as u8,
        }
    }
}

/// One record of a datagram: parsed, but not yet verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What the header says, to be believed only after [`Record::verify`].
    pub header: Header,
    /// The client's packet.
    pub payload: &'a [u8],
    /// The header before its MAC.
    covered: &'a [u8],
    mac: u64,
}

impl Record<'_> {
    /// Checks MAC and age.
    ///
    /// # Errors
    /// [`HopError::Mac`] when `key` is not the one it was sealed under, [`HopError::Tick`] when it
    /// is more than two ticks off.
    pub fn verify(&self, key: &PairKey, unix_seconds: u64) -> Result<(), HopError> {
        // A header fits MAX_HEADER_LEN by construction; the copy blanks the length field, which
        // the MAC does not cover.
        let mut bytes = [0; MAX_HEADER_LEN];
        let bytes = &mut bytes[..self.covered.len()];
        bytes.copy_from_slice(self.covered);
        bytes[LENGTH_FIELD].fill(0);
        if key.mac(bytes) != self.mac {
            return Err(HopError::Mac);
        }
        let off = self.header.tick.wrapping_sub(tick_at(unix_seconds)) as i16;
        if off.unsigned_abs() > MAX_TICKS_OFF {
            return Err(HopError::Tick);
        }
        Ok(())
    }
}

/// Splits a datagram between hops into its records.
///
/// Ends at zero padding or at the end; a record that does not parse ends it with an error, since
/// what follows cannot be found. At least one record is due: a datagram that is empty or begins
/// with padding is malformed.
pub fn records(datagram: &[u8]) -> impl Iterator<Item = Result<Record<'_>, HopError>> {
    let mut rest = Some(datagram);
    std::iter::from_fn(move || {
        let parsed = record(rest?);
        rest = match parsed {
            Ok((_, [] | [0, ..])) | Err(_) => None,
            Ok((_, next)) => Some(next),
        };
        Some(parsed.map(|(record, _)| record))
    })
}

fn record(bytes: &[u8]) -> Result<(Record<'_>, &[u8]), HopError> {
    let fixed = bytes
        .first_chunk::<FIXED_LEN>()
        .ok_or(HopError::Malformed)?;
    let (shape, flags) = (fixed[1], fixed[2]);
    // One header has one encoding: unused bits are zero, the hop's family among them when there is
    // no hop.
    let hops_known = match shape & RETURN_HOPS {
        0 => shape & BIT_HOP_V6 == 0,
        1 => true,
        _ => false,
    };
    if fixed[0] != MAGIC || shape >> 5 != VERSION || !hops_known {
        return Err(HopError::Malformed);
    }
    let mut reader = Reader {
        bytes,
        position: FIXED_LEN,
    };
    let client_ip = reader.take_ip(shape & BIT_CLIENT_V6 != 0)?;
    let return_hop = if shape & RETURN_HOPS == 1 {
        let ip = reader.take_ip(shape & BIT_HOP_V6 != 0)?;
        Some(SocketAddr::new(ip, u16::from_be_bytes(reader.take()?)))
    } else {
        None
    };
    let covered = &bytes[..reader.position];
    let mac = u64::from_be_bytes(reader.take::<MAC_LEN>()?);
    let payload_len = usize::from(u16::from_be_bytes([fixed[10], fixed[11]]));
    let (payload, next) = bytes[reader.position..]
        .split_at_checked(payload_len)
        .ok_or(HopError::Malformed)?;
    let header = Header {
        direction: if shape & BIT_DOWN != 0 {
            Direction::Down
        } else {
            Direction::Up
        },
        flags: Flags::from_bits(flags),
        key_id: flags >> 6,
        hop_limit: fixed[3],
        tick: u16::from_be_bytes([fixed[4], fixed[5]]),
        client: SocketAddr::new(client_ip, u16::from_be_bytes([fixed[6], fixed[7]])),
        ingress: u16::from_be_bytes([fixed[8], fixed[9]]),
        return_hop,
    };
    Ok((
        Record {
            header,
            payload,
            covered,
            mac,
        },
        next,
    ))
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], HopError> {
        let rest = self.bytes.get(self.position..).ok_or(HopError::Malformed)?;
        self.position += N;
        rest.first_chunk().copied().ok_or(HopError::Malformed)
    }

    fn take_ip(&mut self, v6: bool) -> Result<IpAddr, HopError> {
        Ok(if v6 {
            Ipv6Addr::from(self.take::<16>()?).into()
        } else {
            Ipv4Addr::from(self.take::<4>()?).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    const NOW: u64 = 1_800_000_000;
    const PAYLOAD: &[u8] = b"a client's packet";

    fn secrets() -> HopSecrets {
        let mut secrets = HopSecrets::default();
        secrets.insert(1, &[7; SECRET_LEN]);
        secrets
    }

    fn key() -> PairKey {
        secrets().pair(1, address("10.0.0.7:5000")).unwrap()
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn header(client: &str, return_hop: Option<&str>) -> Header {
        Header {
            direction: Direction::Up,
            flags: Flags::default(),
            key_id: 1,
            hop_limit: HOP_LIMIT,
            tick: tick_at(NOW),
            client: address(client),
            ingress: 2,
            return_hop: return_hop.map(address),
        }
    }

    /// Every combination of address families, with the length of its header.
    fn shapes() -> [(Header, usize); 6] {
        let (v4, v6) = ("198.51.100.23:61000", "[2001:db8::17]:61000");
        let (hop_v4, hop_v6) = (Some("203.0.113.5:4000"), Some("[2001:db8::5]:4000"));
        [
            (header(v4, None), 24),
            (header(v4, hop_v4), 30),
            (header(v4, hop_v6), 42),
            (header(v6, None), 36),
            (header(v6, hop_v4), 42),
            (header(v6, hop_v6), 54),
        ]
    }

    #[test]
    fn a_header_is_written_again_from_its_mac() {
        for (header, length) in shapes() {
            let sealed = header.seal(&key());
            assert_eq!(sealed.len(), length);
            assert_eq!(header.sealed_with(sealed.mac()), sealed);
        }
    }

    fn datagram(header: &Header, payloads: &[&[u8]]) -> Vec<u8> {
        let sealed = header.seal(&key());
        let mut datagram = Vec::new();
        for payload in payloads {
            sealed.write_record(payload, &mut datagram);
        }
        datagram
    }

    /// What a receiver accepts: the payloads up to the first record that it refuses.
    fn accepted(datagram: &[u8]) -> Result<Vec<(Header, &[u8])>, HopError> {
        records(datagram)
            .map(|record| {
                let record = record?;
                record.verify(&key(), NOW)?;
                Ok((record.header, record.payload))
            })
            .collect()
    }

    #[test]
    fn a_header_comes_back_as_it_was_sealed() {
        for (header, length) in shapes() {
            assert_eq!(header.seal(&key()).len(), length);
            for direction in [Direction::Up, Direction::Down] {
                for flags in [
                    Flags::default(),
                    Flags::CONFIRM | Flags::PATH,
                    Flags::NO_SESSION,
                ] {
                    let header = Header {
                        direction,
                        flags,
                        ..header
                    };
                    let bytes = datagram(&header, &[PAYLOAD]);
                    assert_eq!(bytes.len(), length + PAYLOAD.len());
                    assert_eq!(accepted(&bytes), Ok(vec![(header, PAYLOAD)]));
                }
            }
        }
        assert_eq!(shapes()[5].1, MAX_HEADER_LEN);
    }

    #[test]
    fn flags_contain_what_they_were_made_of() {
        let flags = Flags::CONFIRM | Flags::PATH;
        assert!(flags.contains(Flags::CONFIRM) && flags.contains(Flags::PATH));
        assert!(flags.contains(flags) && flags.contains(Flags::default()));
        assert!(!flags.contains(Flags::RELEASE) && !flags.contains(Flags::PATH | Flags::RELEASE));
    }

    #[test]
    fn every_single_bit_flip_of_a_header_is_refused() {
        for (header, length) in shapes() {
            let good = datagram(&header, &[PAYLOAD]);
            for bit in 0..length * 8 {
                let mut flipped = good.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(accepted(&flipped).is_err(), "bit {bit}");
                // The MAC does not cover the length, since one sealed header serves many payloads:
                // a longer one runs past the end, a shorter one is believed and cuts the payload.
                if LENGTH_FIELD.contains(&(bit / 8)) {
                    match records(&flipped).next().unwrap() {
                        Err(error) => assert_eq!(error, HopError::Malformed),
                        Ok(first) => {
                            assert_eq!(first.verify(&key(), NOW), Ok(()));
                            assert!(first.payload.len() < PAYLOAD.len());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn neither_payload_nor_length_is_under_the_mac() {
        let header = shapes()[0].0;
        let mut changed = datagram(&header, &[PAYLOAD]);
        changed[24] ^= 1;
        assert_eq!(accepted(&changed).unwrap()[0].1[1..], PAYLOAD[1..]);

        let mut shortened = datagram(&header, &[PAYLOAD]);
        shortened.truncate(24 + 3);
        shortened[LENGTH_FIELD].copy_from_slice(&[0, 3]);
        assert_eq!(accepted(&shortened), Ok(vec![(header, &PAYLOAD[..3])]));
    }

    #[test]
    fn every_prefix_of_a_record_is_malformed() {
        for (header, _) in shapes() {
            let good = datagram(&header, &[PAYLOAD]);
            for length in 0..good.len() {
                assert_eq!(
                    accepted(&good[..length]),
                    Err(HopError::Malformed),
                    "{length}"
                );
            }
        }
    }

    #[test]
    fn a_header_is_good_for_two_ticks_either_way() {
        for now in [
            NOW,
            NOW + 15,
            65536 * TICK_SECONDS,
            65535 * TICK_SECONDS,
            2 * TICK_SECONDS,
        ] {
            for (off, expected) in [
                (-3, Err(HopError::Tick)),
                (-2, Ok(())),
                (0, Ok(())),
                (2, Ok(())),
                (3, Err(HopError::Tick)),
                (i16::MIN, Err(HopError::Tick)),
            ] {
                let tick = tick_at(now).wrapping_add_signed(off);
                let bytes = datagram(
                    &Header {
                        tick,
                        ..shapes()[0].0
                    },
                    &[PAYLOAD],
                );
                let record = records(&bytes).next().unwrap().unwrap();
                assert_eq!(record.verify(&key(), now), expected, "{off} at {now}");
            }
        }
    }

    #[test]
    fn a_key_speaks_for_one_owner_only() {
        let bytes = datagram(&shapes()[0].0, &[PAYLOAD]);
        let record = records(&bytes).next().unwrap().unwrap();
        for owner in ["10.0.0.7:5001", "10.0.0.8:5000", "[2001:db8::7]:5000"] {
            let other = secrets().pair(1, address(owner)).unwrap();
            assert_eq!(record.verify(&other, NOW), Err(HopError::Mac), "{owner}");
        }
        // A dual-stack socket shows an IPv4 owner as v4-mapped: the same owner.
        let mapped = secrets()
            .pair(1, address("[::ffff:10.0.0.7]:5000"))
            .unwrap();
        assert_eq!(record.verify(&mapped, NOW), Ok(()));
        assert!(secrets().pair(0, address("10.0.0.7:5000")).is_none());
        assert!(secrets().pair(u8::MAX, address("10.0.0.7:5000")).is_none());
    }

    #[test]
    fn a_bundle_comes_apart_in_order() {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        let payloads: [&[u8]; 3] = [PAYLOAD, b"", &[0; 40]];
        for (header, _) in shapes() {
            for payload in payloads {
                header.seal(&key()).write_record(payload, &mut bytes);
                expected.push((header, payload));
            }
        }
        assert_eq!(accepted(&bytes), Ok(expected.clone()));
        for padding in 1..70 {
            let padded = [&bytes[..], &[0; 70][..padding]].concat();
            assert_eq!(accepted(&padded), Ok(expected.clone()));
        }
    }

    #[test]
    fn records_end_for_good_with_the_first_that_does_not_parse() {
        let good = datagram(&shapes()[0].0, &[PAYLOAD]);
        let bytes = [&good[..], &[MAGIC], &good[..]].concat();
        let mut parsed = records(&bytes);
        assert!(parsed.next().unwrap().is_ok());
        assert_eq!(parsed.next(), Some(Err(HopError::Malformed)));
        assert_eq!(parsed.next(), None);
        assert_eq!(parsed.next(), None);
    }

    #[test]
    fn a_datagram_without_a_record_is_malformed() {
        for bytes in [&[][..], &[0], &[0; 100], &[MAGIC], &[0x80; 100]] {
            assert!(records(bytes).eq([Err(HopError::Malformed)]));
        }
    }

    #[test]
    fn unused_bits_are_zero() {
        let good = datagram(&shapes()[0].0, &[PAYLOAD]);
        for (position, bits) in [(1, BIT_HOP_V6), (1, 2), (1, 3)] {
            let mut bytes = good.clone();
            bytes[position] |= bits;
            assert_eq!(accepted(&bytes), Err(HopError::Malformed), "{bits:#x}");
        }
    }

    #[test]
    fn ticks_last_sixteen_seconds_and_wrap() {
        assert_eq!(tick_at(15), 0);
        assert_eq!(tick_at(16), 1);
        assert_eq!(tick_at(65536 * 16 - 1), 65535);
        assert_eq!(tick_at(65536 * 16), 0);
    }

    #[test]
    fn secrets_show_their_ids_only() {
        assert_eq!(format!("{:?}", secrets()), "{1}");
    }

    #[test]
    fn garbage_never_panics_and_is_never_accepted() {
        let mut noise = Noise(0xE5);
        let key = key();
        let samples = shapes().map(|(header, _)| datagram(&header, &[PAYLOAD, b"", PAYLOAD]));
        for round in 0..300_000 {
            let (bytes, good) = if round % 3 == 0 {
                let length = noise.below(200);
                let mut bytes = noise.bytes(length);
                // Most of them look like a header.
                for (byte, start) in bytes.iter_mut().zip([MAGIC, VERSION << 5, 0]) {
                    *byte = start | *byte & 0b0000_1101;
                }
                (bytes, None)
            } else {
                let sample = &samples[noise.below(samples.len())];
                (
                    noise.damaged(sample),
                    records(sample).next().and_then(Result::ok),
                )
            };
            for record in records(&bytes).flatten() {
                if record.verify(&key, NOW).is_ok() {
                    assert_eq!(Some(record.header), good.map(|good| good.header));
                }
            }
        }
    }
}
