//! Several records for one owner in one datagram: the relay's largest saving. No I/O.
//!
//! Only packets that were received together leave together, so bundling adds no waiting.

use std::net::SocketAddr;

use firsthop_wire::hop::{MAX_HEADER_LEN, SealedHeader};

/// A bundle grows to this many bytes: below every usual MTU, with room for tunnels. A single
/// record may be longer.
pub(crate) const MAX_BUNDLE: usize = 1400;

/// Owners with an open bundle at a time. A batch for more of them bundles less.
const MAX_OPEN: usize = 16;

/// A datagram for `to`, ready to be sent.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) to: SocketAddr,
    pub(crate) datagram: Vec<u8>,
    /// Client packets in it.
    pub(crate) packets: u64,
    /// Their bytes, without headers.
    pub(crate) bytes: u64,
}

/// Collects the records of one batch. Its buffers live as long as it does: after the first
/// batches nothing is allocated.
#[derive(Debug, Default)]
pub(crate) struct Bundler {
    /// The first `open` are in use; the others keep their buffers for later.
    bundles: Vec<Bundle>,
    open: usize,
}

impl Bundler {
    /// Appends a record for `to`; whatever is complete goes to `send`. Records for one owner keep
    /// their order.
    pub(crate) fn push(
        &mut self,
        to: SocketAddr,
        header: &SealedHeader,
        packet: &[u8],
        mut send: impl FnMut(&Bundle),
    ) {
        let open = self.bundles[..self.open]
            .iter()
            .position(|bundle| bundle.to == to);
        let index = open.unwrap_or_else(|| self.start(to, &mut send));
        let bundle = &mut self.bundles[index];
        let longer = bundle.datagram.len() + header.len() + packet.len();
        if bundle.packets > 0 && longer > MAX_BUNDLE {
            send(bundle);
            bundle.clear();
        }
        header.write_record(packet, &mut bundle.datagram);
        bundle.packets += 1;
        bundle.bytes += packet.len() as u64;
    }

    /// Gives every open bundle to `send`; to be called at the end of each batch.
    pub(crate) fn flush(&mut self, mut send: impl FnMut(&Bundle)) {
        for bundle in &self.bundles[..self.open] {
            send(bundle);
        }
        self.open = 0;
    }

    fn start(&mut self, to: SocketAddr, send: &mut impl FnMut(&Bundle)) -> usize {
        if self.open == MAX_OPEN {
            self.flush(send);
        }
        if self.open == self.bundles.len() {
            let capacity = firsthop_wire::MAX_CLIENT_DATAGRAM + MAX_HEADER_LEN;
            let datagram = Vec::with_capacity(capacity);
            self.bundles.push(Bundle {
                to,
                datagram,
                packets: 0,
                bytes: 0,
            });
        }
        let index = self.open;
        self.open += 1;
        self.bundles[index].to = to;
        self.bundles[index].clear();
        index
    }
}

impl Bundle {
    fn clear(&mut self) {
        self.datagram.clear();
        (self.packets, self.bytes) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use firsthop_wire::hop::{self, Direction, Flags, HOP_LIMIT, Header, HopSecrets};

    use super::*;

    fn owner(number: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], number))
    }

    fn header() -> SealedHeader {
        let mut secrets = HopSecrets::default();
        secrets.insert(0, &[1; 32]);
        let header = Header {
            direction: Direction::Up,
            flags: Flags::default(),
            key_id: 0,
            hop_limit: HOP_LIMIT,
            tick: 0,
            client: SocketAddr::from(([192, 0, 2, 1], 5000)),
            ingress: 0,
            return_hop: None,
        };
        header.seal(&secrets.pair(0, owner(1)).unwrap())
    }

    /// Pushes packets of (owner, length, first byte) and returns what is sent.
    fn run(packets: &[(u16, usize, u8)]) -> Vec<(SocketAddr, Vec<Vec<u8>>)> {
        let mut bundler = Bundler::default();
        let mut sent = Vec::new();
        let mut send = |bundle: &Bundle| {
            let payloads: Vec<_> = hop::records(&bundle.datagram)
                .map(|record| record.unwrap().payload.to_vec())
                .collect();
            assert_eq!(payloads.len() as u64, bundle.packets);
            assert_eq!(
                payloads.iter().map(Vec::len).sum::<usize>() as u64,
                bundle.bytes
            );
            assert!(bundle.datagram.len() <= MAX_BUNDLE || bundle.packets == 1);
            sent.push((bundle.to, payloads));
        };
        for &(number, length, byte) in packets {
            bundler.push(owner(number), &header(), &vec![byte; length], &mut send);
        }
        bundler.flush(&mut send);
        bundler.flush(&mut send);
        sent
    }

    #[test]
    fn packets_for_one_owner_share_a_datagram() {
        let sent = run(&[(1, 100, 1), (2, 100, 2), (1, 100, 3)]);
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[0], (owner(1), vec![vec![1; 100], vec![3; 100]]));
        assert_eq!(sent[1], (owner(2), vec![vec![2; 100]]));
    }

    #[test]
    fn a_full_bundle_leaves_before_the_next_begins() {
        let sent = run(&[
            (1, 700, 1),
            (1, 640, 2),
            (1, 700, 3),
            (1, 1500, 4),
            (1, 10, 5),
        ]);
        let first_bytes: Vec<Vec<u8>> = sent
            .iter()
            .map(|(_, packets)| packets.iter().map(|packet| packet[0]).collect())
            .collect();
        assert_eq!(first_bytes, [vec![1, 2], vec![3], vec![4], vec![5]]);
    }

    #[test]
    fn a_bundle_grows_to_its_bound_and_not_a_byte_further() {
        let half = MAX_BUNDLE / 2 - header().len();
        assert_eq!(run(&[(1, half, 1), (1, half, 2)]).len(), 1);
        assert_eq!(run(&[(1, half, 1), (1, half + 1, 2)]).len(), 2);
    }

    #[test]
    fn more_owners_than_open_bundles_lose_no_packet() {
        let packets: Vec<_> = (0..200)
            .map(|number| (1 + number % 40, 60, number as u8))
            .collect();
        let sent = run(&packets);
        assert_eq!(
            sent.iter().map(|(_, packets)| packets.len()).sum::<usize>(),
            200
        );
        for number in 1..=40 {
            let bytes: Vec<u8> = sent
                .iter()
                .filter(|(to, _)| *to == owner(number))
                .flat_map(|(_, packets)| packets.iter().map(|packet| packet[0]))
                .collect();
            assert!(bytes.is_sorted() && bytes.len() == 5, "{bytes:?}");
        }
    }
}
