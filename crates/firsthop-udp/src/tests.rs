//! What every system's way to receive and to send must do, over loopback.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::inbox::{Inbox, Receive};
use crate::outbox::{Outbox, Transmit};
use crate::{MAX_SEGMENTS, Options, Received, SendError, Sharing, Socket};

const PLAIN: Options = Options {
    sharing: Sharing::Exclusive,
    only_v6: false,
    gro: false,
};

/// Longer than any UDP payload over IPv4.
const TOO_LONG: usize = 65_508;

/// Runs each function as a test of every implementation that this system has.
macro_rules! on_every_system {
    ($($name:ident),* $(,)?) => {
        #[cfg(target_os = "linux")]
        mod linux {
            use crate::linux::{Receiver, Sender};
            $(#[test] fn $name() { super::$name::<Receiver, Sender>(); })*
        }
        mod portable {
            use crate::portable::{Receiver, Sender};
            $(#[test] fn $name() { super::$name::<Receiver, Sender>(); })*
        }
    };
}

on_every_system! {
    datagrams_come_as_they_were_sent,
    a_train_comes_as_datagrams,
    a_datagram_longer_than_a_buffer_fills_it,
    an_inbox_tells_when_more_is_waiting,
    what_cannot_leave_does_not_hold_up_the_others,
    a_dual_stack_socket_speaks_ipv4_under_its_own_name,
    an_adopted_socket_is_the_same_socket,
    a_connected_socket_hears_its_peer_alone,
    a_batch_larger_than_the_system_takes_leaves_whole,
}

pub(crate) fn local() -> Socket {
    Socket::bind("127.0.0.1:0".parse().unwrap(), PLAIN).unwrap()
}

/// The next `count` datagrams, and their sources. Gives up when nothing comes for long.
pub(crate) fn collect<R: Receive>(
    inbox: &mut Inbox<R>,
    socket: &Socket,
    count: usize,
) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut arrived = Vec::new();
    let patience = Instant::now() + Duration::from_secs(10);
    while arrived.len() < count && Instant::now() < patience {
        inbox.receive(socket).unwrap();
        let datagrams = inbox.datagrams();
        arrived.extend(datagrams.map(|(source, datagram)| (source, datagram.to_vec())));
    }
    arrived
}

/// Flushes, and returns the verdicts.
pub(crate) fn flush<T: Copy, S: Transmit>(
    outbox: &mut Outbox<T, S>,
    socket: &Socket,
) -> Vec<(T, Result<(), SendError>)> {
    let mut verdicts = Vec::new();
    outbox.flush(socket, |tag, verdict| verdicts.push((tag, verdict)));
    assert!(outbox.is_empty());
    verdicts
}

/// A train whose bytes tell their datagram.
pub(crate) fn train(length: usize, segment_size: u16) -> Vec<u8> {
    let size = usize::from(segment_size);
    (0..length).map(|byte| (byte / size) as u8).collect()
}

fn datagrams_come_as_they_were_sent<R: Receive, S: Transmit>() {
    for ip in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(from) = Socket::bind(ip.parse().unwrap(), PLAIN) else {
            assert!(ip.contains("::"), "{ip}");
            continue; // A machine without IPv6.
        };
        let to = Socket::bind(ip.parse().unwrap(), PLAIN).unwrap();
        let mut outbox = Outbox::<_, S>::new(3);
        let contents: [&[u8]; 3] = [b"one", b"", &[7; 2000]];
        // The second round uses everything again.
        for _ in 0..2 {
            for (tag, datagram) in contents.iter().enumerate() {
                assert!(!outbox.is_full());
                outbox.push(to.local_addr(), datagram, None, tag);
            }
            assert!(outbox.is_full());
            assert_eq!(
                flush(&mut outbox, &from),
                [(0, Ok(())), (1, Ok(())), (2, Ok(()))]
            );
            let arrived = collect(&mut Inbox::<R>::new(8, 2048), &to, contents.len());
            let expected = contents.map(|datagram| (from.local_addr(), datagram.to_vec()));
            assert_eq!(arrived, expected);
        }
    }
}

fn a_connected_socket_hears_its_peer_alone<R: Receive, S: Transmit>() {
    let (one, peer, stranger) = (local(), local(), local());
    one.connect(peer.local_addr()).unwrap();
    stranger
        .send_to(b"from a stranger", one.local_addr())
        .unwrap();
    one.send(b"hello").unwrap();
    let mut inbox = Inbox::<R>::new(8, 2048);
    let arrived = collect(&mut inbox, &peer, 1);
    assert_eq!(arrived, [(one.local_addr(), b"hello".to_vec())]);
    peer.send_to(b"hello back", one.local_addr()).unwrap();
    let arrived = collect(&mut inbox, &one, 1);
    assert_eq!(arrived, [(peer.local_addr(), b"hello back".to_vec())]);
}

fn a_train_comes_as_datagrams<R: Receive, S: Transmit>() {
    let (from, to) = (local(), local());
    let mut outbox = Outbox::<_, S>::new(8);
    let mut inbox = Inbox::<R>::new(8, 2048);
    // Several, one, a shorter last one, the most, and contents of less than a segment.
    for (length, size) in [(600, 200), (200, 200), (450, 200), (64 * 20, 20), (10, 20)] {
        let contents = train(length, size);
        outbox.push(to.local_addr(), b"before", None, 1);
        outbox.push(to.local_addr(), &contents, Some(size), 2);
        outbox.push(to.local_addr(), b"behind", None, 3);
        assert_eq!(
            flush(&mut outbox, &from),
            [(1, Ok(())), (2, Ok(())), (3, Ok(()))]
        );
        let mut expected = vec![b"before".to_vec()];
        expected.extend(contents.chunks(size.into()).map(<[u8]>::to_vec));
        expected.push(b"behind".to_vec());
        assert!(expected.len() <= MAX_SEGMENTS + 2);
        let arrived = collect(&mut inbox, &to, expected.len());
        let arrived: Vec<_> = arrived.into_iter().map(|(_, datagram)| datagram).collect();
        assert_eq!(arrived, expected);
    }
}

fn a_datagram_longer_than_a_buffer_fills_it<R: Receive, S: Transmit>() {
    let (from, to) = (local(), local());
    let mut outbox = Outbox::<_, S>::new(8);
    for length in [99, 100, 101, 5000, 3] {
        outbox.push(to.local_addr(), &vec![1; length], None, ());
    }
    flush(&mut outbox, &from);
    let arrived = collect(&mut Inbox::<R>::new(8, 100), &to, 5);
    let lengths: Vec<_> = arrived.iter().map(|(_, datagram)| datagram.len()).collect();
    assert_eq!(lengths, [99, 100, 100, 100, 3]);
}

fn an_inbox_tells_when_more_is_waiting<R: Receive, S: Transmit>() {
    let (from, mut to) = (local(), local());
    let mut inbox = Inbox::<R>::new(2, 100);
    assert_eq!(inbox.receive(&to).unwrap(), Received::Drained);
    assert_eq!(inbox.datagrams().count(), 0);

    let mut poll = Poll::new().unwrap();
    poll.registry()
        .register(&mut to, Token(7), Interest::READABLE)
        .unwrap();
    let mut outbox = Outbox::<_, S>::new(3);
    for byte in 0..3 {
        outbox.push(to.local_addr(), &[byte], None, ());
    }
    flush(&mut outbox, &from);
    let mut events = Events::with_capacity(4);
    poll.poll(&mut events, Some(Duration::from_secs(10)))
        .unwrap();
    assert_eq!(events.iter().next().unwrap().token(), Token(7));

    assert_eq!(inbox.receive(&to).unwrap(), Received::More);
    assert_eq!(inbox.datagrams().count(), 2);
    assert_eq!(inbox.receive(&to).unwrap(), Received::Drained);
    assert_eq!(inbox.datagrams().count(), 1);
    assert_eq!(inbox.receive(&to).unwrap(), Received::Drained);
    assert_eq!(inbox.datagrams().count(), 0);
}

fn what_cannot_leave_does_not_hold_up_the_others<R: Receive, S: Transmit>() {
    let (from, to) = (local(), local());
    let good = to.local_addr();
    let other_family = "[2001:db8::1]:9".parse().unwrap();
    let mut outbox = Outbox::<_, S>::new(8);
    outbox.push(good, b"a", None, 'a');
    outbox.push(good, &[0; TOO_LONG], None, 'b');
    outbox.push(good, b"c", None, 'c');
    outbox.push(other_family, b"d", None, 'd');
    outbox.push(other_family, b"eeeeee", Some(2), 'e');
    outbox.push(good, b"ffgg", Some(2), 'f');
    assert_eq!(
        flush(&mut outbox, &from),
        [
            ('a', Ok(())),
            ('b', Err(SendError::TooBig)),
            ('c', Ok(())),
            ('d', Err(SendError::Failed)),
            ('e', Err(SendError::Failed)),
            ('f', Ok(())),
        ]
    );
    let arrived = collect(&mut Inbox::<R>::new(8, 100), &to, 4);
    let arrived: Vec<_> = arrived.into_iter().map(|(_, datagram)| datagram).collect();
    assert_eq!(arrived, [&b"a"[..], b"c", b"ff", b"gg"]);
    assert!(from.segments());
}

fn a_dual_stack_socket_speaks_ipv4_under_its_own_name<R: Receive, S: Transmit>() {
    let Ok(dual) = Socket::bind("[::]:0".parse().unwrap(), PLAIN) else {
        return; // A machine without IPv6.
    };
    let v4 = local();
    let port = dual.local_addr().port();
    let mut outbox = Outbox::<_, S>::new(8);
    outbox.push(v4.local_addr(), b"down", None, ());
    assert_eq!(flush(&mut outbox, &dual), [((), Ok(()))]);
    outbox.push(([127, 0, 0, 1], port).into(), b"up", None, ());
    assert_eq!(flush(&mut outbox, &v4), [((), Ok(()))]);

    let mut inbox = Inbox::<R>::new(8, 100);
    let source = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(collect(&mut inbox, &v4, 1), [(source, b"down".to_vec())]);
    let up = (v4.local_addr(), b"up".to_vec());
    assert_eq!(collect(&mut inbox, &dual, 1), [up]);
}

fn an_adopted_socket_is_the_same_socket<R: Receive, S: Transmit>() {
    let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
    let from = local();
    let mut outbox = Outbox::<_, S>::new(8);
    outbox.push(bound.local_addr().unwrap(), b"waiting", None, ());
    flush(&mut outbox, &from);

    let duplicate = bound.as_fd().try_clone_to_owned().unwrap();
    let adopted = Socket::adopt(duplicate, false).unwrap();
    assert_eq!(adopted.local_addr(), bound.local_addr().unwrap());
    drop(bound);
    let mut inbox = Inbox::<R>::new(8, 100);
    let expected = (from.local_addr(), b"waiting".to_vec());
    assert_eq!(collect(&mut inbox, &adopted, 1), [expected]);
    // It blocked before.
    assert_eq!(inbox.receive(&adopted).unwrap(), Received::Drained);
}

fn a_batch_larger_than_the_system_takes_leaves_whole<R: Receive, S: Transmit>() {
    let (from, to) = (local(), local());
    let mut outbox = Outbox::<_, S>::new(2);
    let mut inbox = Inbox::<R>::new(3, 100);
    for byte in 0..20 {
        outbox.push(to.local_addr(), &[byte], None, byte);
    }
    assert!(outbox.is_full());
    assert_eq!(outbox.len(), 20);
    let verdicts = flush(&mut outbox, &from);
    assert!(verdicts.into_iter().eq((0..20).map(|byte| (byte, Ok(())))));
    let arrived = collect(&mut inbox, &to, 20);
    let bytes: Vec<_> = arrived.iter().map(|(_, datagram)| datagram[0]).collect();
    assert!(bytes.into_iter().eq(0..20));
}

#[test]
fn what_is_no_bound_udp_socket_is_not_adopted() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (local_stream, _) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let unbound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    for (fd, why) in [
        (OwnedFd::from(tcp), "not a UDP socket"),
        (OwnedFd::from(local_stream), "not a UDP socket"),
        (OwnedFd::from(file), "not a UDP socket"),
        (OwnedFd::from(unbound), "not bound"),
    ] {
        let error = Socket::adopt(fd, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn a_bind_error_names_the_address() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for sharing in [Sharing::Exclusive, Sharing::Opened] {
        let error = Socket::bind(address, Options { sharing, ..PLAIN }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}

#[test]
fn only_an_opened_address_can_be_joined() {
    let sharing = |sharing| Options { sharing, ..PLAIN };
    let opened = Socket::bind("127.0.0.1:0".parse().unwrap(), sharing(Sharing::Opened)).unwrap();
    Socket::bind(opened.local_addr(), sharing(Sharing::Joined)).unwrap();
    let exclusive = local();
    Socket::bind(exclusive.local_addr(), sharing(Sharing::Joined)).unwrap_err();
}
