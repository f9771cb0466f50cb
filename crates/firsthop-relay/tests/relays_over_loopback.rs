//! The same on real sockets: a client, a relay and a transceiver on loopback.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::sockets::*;
use common::*;
use firsthop_relay::{Bound, DropReason, Forwarder, Notice, Relay, RelayConfig};
use firsthop_wire::hop::{Flags, Header};

#[test]
fn packets_make_the_round_trip_and_a_burst_is_bundled() {
    let mut owner = FakeOwner::new();
    let mut config = loopback(owner.address());
    config.workers = 2;
    let relay = Relay::start(&config).unwrap();
    assert_eq!(
        (relay.local_addrs().len(), relay.upstream_addrs().len()),
        (2, 2)
    );

    let (mut sent, mut total) = (rtp(), 0);
    for (ingress, &public) in relay.local_addrs().iter().enumerate() {
        let browser = bind();
        let mut buffer = [0; 2048];

        let request = binding_request(&ufrag_at(owner.address(), unix_seconds()));
        browser.send_to(&request, public).unwrap();
        let (source, records) = owner.receive();
        assert!(relay.upstream_addrs().contains(&source));
        let [(header, payload)] = &records[..] else {
            panic!("{} records", records.len())
        };
        assert_eq!(payload, &request);
        assert_eq!(header.client, browser.local_addr().unwrap());
        assert_eq!(usize::from(header.ingress), ingress);

        owner.answer(
            source,
            header,
            Flags::CONFIRM | Flags::PATH,
            &binding_success(),
        );
        let (length, from) = browser.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&binding_success()[..], public));

        // A burst small enough for every socket's buffer, again and again until the scheduler has
        // let packets queue up.
        const BURST: u16 = 50;
        let mut bundled = false;
        for _ in 0..200 {
            for number in 0..BURST {
                sent[2..4].copy_from_slice(&number.to_be_bytes());
                browser.send_to(&sent, public).unwrap();
            }
            let mut numbers = Vec::new();
            while numbers.len() < usize::from(BURST) {
                let (source_of_burst, records) = owner.receive();
                assert_eq!(source_of_burst, source, "one client, one worker");
                bundled |= records.len() > 1;
                let number = |packet: &[u8]| u16::from_be_bytes([packet[2], packet[3]]);
                numbers.extend(records.iter().map(|(_, packet)| number(packet)));
            }
            total += u64::from(BURST);
            assert!(numbers.into_iter().eq(0..BURST), "bundling keeps the order");
            if bundled {
                break;
            }
        }
        assert!(bundled, "no datagram carried two records");
    }

    eventually("every packet is counted", || {
        counters(&relay).ingress_packets == total + 2
    });
    let counters = counters(&relay);
    assert!(counters.ingress_datagrams < counters.ingress_packets);
    assert_eq!(
        (
            counters.egress_packets,
            counters.flows,
            counters.flows_created
        ),
        (2, 2, 2)
    );
    assert_eq!(counters.drops().map(|(_, count)| count).sum::<u64>(), 0);
    assert_eq!(relay.failed(), None);
    relay.stop();
}

#[test]
fn a_dead_owner_or_a_dead_client_does_not_end_the_relay() {
    let mut owner = FakeOwner::new();
    let relay = Relay::start(&loopback(owner.address())).unwrap();
    let public = relay.local_addrs()[0];
    let request = binding_request(&ufrag_at(owner.address(), unix_seconds()));

    // A client that is gone when its answers come: ICMP says so.
    let gone = bind();
    gone.send_to(&request, public).unwrap();
    let (source, records) = owner.receive();
    drop(gone);
    for _ in 0..20 {
        owner.answer(source, &records[0].0, Flags::CONFIRM, &rtp());
    }
    // An owner that is gone.
    let address = owner.address();
    drop(owner);
    let browser = bind();
    for _ in 0..20 {
        browser.send_to(&request, public).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));

    // And all is well with the next one.
    let mut owner = FakeOwner::at(address);
    browser.send_to(&request, public).unwrap();
    assert_eq!(owner.receive().1[0].1, request);
    assert_eq!(relay.failed(), None);
}

#[test]
fn oversize_datagrams_are_dropped_whole() {
    let mut owner = FakeOwner::new();
    let relay = Relay::start(&loopback(owner.address())).unwrap();
    let public = relay.local_addrs()[0];
    let browser = bind();
    let request = binding_request(&ufrag_at(owner.address(), unix_seconds()));
    for length in [1501, 9000, 65507] {
        let mut oversize = request.clone();
        oversize.resize(length, 0);
        browser.send_to(&oversize, public).unwrap();
    }
    browser.send_to(&[], public).unwrap();
    browser.send_to(&request, public).unwrap();
    assert_eq!(owner.receive().1[0].1, request);
    eventually("drops are counted", || {
        let counters = counters(&relay);
        counters.dropped(DropReason::Oversize) == 3 && counters.dropped(DropReason::Empty) == 1
    });
}

#[test]
fn what_cannot_start_says_why_and_leaves_nothing_running() {
    let owner = address("127.0.0.1:4000");
    let taken = bind();
    let address = taken.local_addr().unwrap();

    let mut config = loopback(owner);
    config.listen[1] = address;
    let error = Relay::start(&config).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");

    let mut config = loopback(owner);
    config.upstream = address;
    let error = Relay::start(&config).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);

    type Mistake = fn(&mut RelayConfig);
    let wrong: [(&str, Mistake); 7] = [
        ("listen", |config| config.listen.clear()),
        ("workers", |config| config.workers = 0),
        ("upstream", |config| {
            config.upstream.set_port(65535);
            config.workers = 2;
        }),
        ("flow_capacity", |config| config.flow_capacity = 0),
        ("clusters", |config| config.clusters[0].key_id = 0),
        ("clusters", |config| config.clusters.extend_from_within(..)),
        ("clusters", |config| {
            config.clusters[0].prefix = Some("fd00::/48".parse().unwrap())
        }),
    ];
    for (field, break_it) in wrong {
        let mut config = loopback(owner);
        break_it(&mut config);
        let error = Relay::start(&config).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with(field), "{error}");
    }
}

/// A browser with a proved flow to `owner`: its socket, and the header of its packets.
fn call(owner: &mut FakeOwner, relay: &Relay) -> (UdpSocket, SocketAddr, Header) {
    let browser = bind();
    let request = binding_request(&ufrag_at(owner.address(), unix_seconds()));
    browser.send_to(&request, relay.local_addrs()[0]).unwrap();
    let (source, records) = owner.receive();
    let header = records[0].0;
    let flags = Flags::CONFIRM | Flags::PATH;
    owner.answer(source, &header, flags, &binding_success());
    browser.recv(&mut [0; 2048]).unwrap();
    (browser, source, header)
}

#[test]
fn a_packet_of_an_unknown_flow_waits_for_the_answer() {
    let mut owner = FakeOwner::new();
    let mut config = loopback(owner.address());
    config.look_up = true;
    let relay = Relay::start(&config).unwrap();
    let (browser, public) = (bind(), relay.local_addrs()[0]);
    browser.send_to(&rtp(), public).unwrap();
    let mut asked = None;
    eventually("the relay asks", || {
        asked = relay.take_notices().pop();
        asked.is_some()
    });
    let Some((worker, Notice::LookUp { flow })) = asked else {
        panic!("{asked:?}");
    };
    assert!(relay.answer(worker, flow, Some(owner.address())));
    eventually("the flow is found", || counters(&relay).flows_found == 1);
    // A busy machine may not have granted the answer its 50 ms: then the next packet goes on.
    if counters(&relay).dropped(DropReason::UnknownFlow) > 0 {
        browser.send_to(&rtp(), public).unwrap();
    }
    let (_, records) = owner.receive();
    assert_eq!(records[0].1, rtp());
    assert_eq!(records[0].0.client, browser.local_addr().unwrap());
}

#[test]
fn a_new_relay_takes_over_sockets_and_flows_and_what_waits_there() {
    let mut owner = FakeOwner::new();
    let mut config = loopback(owner.address());
    config.workers = 2;
    let old = Relay::start(&config).unwrap();
    let calls: Vec<_> = (0..8).map(|_| call(&mut owner, &old)).collect();

    let duplicates = |relay: &Relay| -> Vec<Vec<_>> {
        let again = |fd: &std::os::fd::OwnedFd| fd.try_clone().unwrap();
        relay
            .sockets()
            .map(|worker| worker.iter().map(again).collect())
            .collect()
    };
    // What does not fit is refused, and changes nothing.
    let mut other = config.clone();
    other.workers = 1;
    let refused = Bound::adopt(&other, duplicates(&old))
        .map(drop)
        .unwrap_err();
    assert!(refused.to_string().starts_with("workers"), "{refused}");
    let mut other = config.clone();
    other.upstream = address("127.0.0.2:0");
    let refused = Bound::adopt(&other, duplicates(&old))
        .map(drop)
        .unwrap_err();
    assert!(refused.to_string().starts_with("upstream"), "{refused}");

    let (public, upstream) = (old.local_addrs().to_vec(), old.upstream_addrs().to_vec());
    let mut new = Bound::adopt(&config, duplicates(&old)).unwrap();
    for worker in 0..2 {
        let mut first = 0;
        while let Some(page) = old.export(worker, first).unwrap() {
            new.restore(worker, &page);
            first += Forwarder::PAGE;
        }
    }
    // Meanwhile calls begin and end.
    let late = call(&mut owner, &old);
    let (_, source, header) = &calls[0];
    owner.answer(*source, header, Flags::RELEASE, &rtp());
    eventually("it is released", || counters(&old).flows_released == 1);

    let changes = old.finish();
    for (browser, ..) in calls[1..].iter().chain([&late]) {
        browser.send_to(&rtp(), public[0]).unwrap();
    }
    for (worker, changes) in changes.iter().enumerate() {
        new.restore(worker, changes);
    }
    let new = new.run().unwrap();
    assert_eq!(
        (new.local_addrs(), new.upstream_addrs()),
        (&public[..], &upstream[..])
    );
    assert_eq!(counters(&new).flows, 8);
    let mut arrived = 0;
    while arrived < 8 {
        let (source, records) = owner.receive();
        assert!(upstream.contains(&source));
        arrived += records.len();
    }
    // The other way too, and the released call stays released.
    let (browser, source, header) = &late;
    owner.answer(*source, header, Flags::CONFIRM | Flags::PATH, &rtp());
    assert_eq!(browser.recv(&mut [0; 2048]).unwrap(), rtp().len());
    calls[0].0.send_to(&rtp(), public[0]).unwrap();
    eventually("it is unknown", || {
        counters(&new).dropped(DropReason::UnknownFlow) == 1
    });
}

#[test]
fn what_came_before_a_relay_is_stopped_is_forwarded() {
    // In each round the worker is somewhere else in its loop when it is told.
    for round in 0..200 {
        let mut owner = FakeOwner::new();
        let relay = Relay::start(&loopback(owner.address())).unwrap();
        let (browser, source, header) = call(&mut owner, &relay);
        const PACKETS: usize = 3;
        for _ in 0..PACKETS {
            owner.answer(source, &header, Flags::default(), &rtp());
        }
        relay.stop();
        browser.set_nonblocking(true).unwrap();
        let mut buffer = [0; 2048];
        let received = std::iter::from_fn(|| browser.recv(&mut buffer).ok());
        assert_eq!(received.count(), PACKETS, "round {round}");
    }
}

#[test]
fn a_stopped_relay_frees_its_addresses() {
    let mut config = loopback(address("127.0.0.1:4000"));
    config.workers = 2;
    let relay = Relay::start(&config).unwrap();
    let (public, upstream) = (
        relay.local_addrs().to_vec(),
        relay.upstream_addrs().to_vec(),
    );
    let stopping = Instant::now();
    relay.stop();
    assert!(
        stopping.elapsed() < Duration::from_millis(900),
        "it waited for a timer"
    );
    for address in public.into_iter().chain(upstream) {
        UdpSocket::bind(address).unwrap();
    }
}

/// A client on a TCP connection, which speaks in frames (RFC 4571).
struct TcpClient(TcpStream);

impl TcpClient {
    fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        Self(stream)
    }

    fn send(&mut self, packet: &[u8]) {
        let length = (packet.len() as u16).to_be_bytes();
        self.0.write_all(&[&length, packet].concat()).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut length = [0; 2];
        self.0.read_exact(&mut length).unwrap();
        let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
        self.0.read_exact(&mut packet).unwrap();
        packet
    }
}

#[test]
fn clients_without_udp_make_the_round_trip_by_tcp_through_whichever_worker() {
    let mut owner = FakeOwner::new();
    let mut config = loopback(owner.address());
    config.workers = 2;
    config.tcp_listen = vec![address("127.0.0.1:0")];
    let relay = Relay::start(&config).unwrap();
    let udp_sockets = 2;
    let public = relay.local_addrs()[udp_sockets];

    let mut sources = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = TcpClient::connect(public);
        let request = binding_request(&ufrag_at(owner.address(), unix_seconds()));
        client.send(&request);
        let (source, records) = owner.receive();
        let (header, payload) = &records[0];
        assert_eq!(payload, &request);
        assert_eq!(header.client, client.0.local_addr().unwrap());
        assert_eq!(usize::from(header.ingress), udp_sockets);
        let flags = Flags::CONFIRM | Flags::PATH;
        owner.answer(source, header, flags, &binding_success());
        assert_eq!(client.receive(), binding_success());

        client.send(&rtp());
        assert_eq!(owner.receive().1[0].1, rtp());
        sources.push(source);
        clients.push(client);
    }
    sources.sort();
    sources.dedup();
    assert_eq!(
        sources.len(),
        2,
        "the kernel spreads 20 clients over two workers"
    );
    eventually("open connections are counted", || {
        counters(&relay).tcp_connections() == 20
    });
    clients.clear();
    eventually("closed ones are not", || {
        counters(&relay).tcp_connections() == 0
    });
}

#[test]
fn junk_by_tcp_is_counted_and_goes_nowhere() {
    let owner = FakeOwner::new();
    let mut config = loopback(owner.address());
    config.tcp_listen = vec![address("127.0.0.1:0")];
    let relay = Relay::start(&config).unwrap();
    let mut client = TcpClient::connect(relay.local_addrs()[2]);
    client.send(&rtp());
    client.send(b"GET / HTTP/1.1");
    eventually("both are counted", || {
        let counts = counters(&relay);
        counts.dropped(DropReason::UnknownFlow) == 1
            && counts.dropped(DropReason::UnknownProtocol) == 1
    });
    // Without frames it is not even that: "GE" is a length that no packet has.
    client.0.write_all(b"GET / HTTP/1.1").unwrap();
    assert_eq!(client.0.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(counters(&relay).ingress_packets, 0);
}
