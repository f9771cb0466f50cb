//! Receiving in batches: what is the same on every system.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Socket;

/// What one call to receive brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Datagrams, and perhaps more are waiting.
    More,
    /// Perhaps datagrams, and none are waiting: readiness will tell of the next.
    Drained,
    /// An earlier send failed, as ICMP tells. Nothing was received; more may be waiting.
    SendFailed,
}

/// A system's way to receive a batch.
pub trait Receive {
    /// Room for `capacity` messages of up to `bytes_each` bytes.
    fn new(capacity: usize, bytes_each: usize) -> Self;

    /// How many messages it has room for.
    fn capacity(&self) -> usize;

    /// Receives without waiting, and returns the number of messages. Fewer than the capacity
    /// leave nothing behind.
    ///
    /// # Errors
    /// When there is not even one.
    fn receive(&mut self, socket: &Socket) -> io::Result<usize>;

    /// The message at `index`, which is below what [`Receive::receive`] returned last; `None` when
    /// nothing can be made of it.
    fn message(&self, index: usize) -> Option<Arrival<'_>>;

    /// When that message arrived, since 1970, as far as the kernel noted it.
    fn stamp(&self, index: usize) -> Option<Duration>;
}

/// What one message of the kernel brought.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Where it came from, as the kernel names it.
    pub source: SocketAddr,
    /// One datagram or several.
    pub contents: &'a [u8],
    /// Bytes of each of several datagrams, of which the last may be shorter.
    pub stride: Option<usize>,
}

/// The type behind [`crate::Inbox`], for a system's way to receive.
pub struct Inbox<R> {
    receiver: R,
    filled: usize,
}

impl<R: Receive> Inbox<R> {
    /// Room for `datagrams` of up to `bytes_each` bytes; with GRO, for as many trains.
    #[must_use]
    pub fn new(datagrams: usize, bytes_each: usize) -> Self {
        Self {
            receiver: R::new(datagrams, bytes_each),
            filled: 0,
        }
    }

    /// Replaces its content with what is waiting on `socket`.
    ///
    /// # Errors
    /// What makes the socket useless. That nothing is waiting, or that ICMP told of a failed send,
    /// is no error.
    pub fn receive(&mut self, socket: &Socket) -> io::Result<Received> {
        self.filled = 0;
        let received = loop {
            match self.receiver.receive(socket) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => break received,
            }
        };
        match received {
            Ok(filled) => {
                self.filled = filled;
                Ok(if filled < self.receiver.capacity() {
                    Received::Drained
                } else {
                    Received::More
                })
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Ok(Received::Drained),
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable => Ok(Received::SendFailed),
                _ if error.raw_os_error() == Some(libc::EMSGSIZE) => Ok(Received::SendFailed),
                _ => Err(error),
            },
        }
    }

    /// The datagrams of the last call, in order, each with its source: an IPv4 address as itself
    /// also when a dual-stack socket shows it mapped, an IPv6 address without flow and scope.
    ///
    /// A datagram longer than a buffer comes as its first `bytes_each` bytes: a caller whose
    /// buffers are longer than what it accepts sees that it was too long. A train longer than a
    /// buffer comes as nothing.
    pub fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        (0..self.filled)
            .filter_map(|index| self.receiver.message(index))
            .flat_map(|arrival| {
                let source = canonical(arrival.source);
                part(arrival.contents, arrival.stride).map(move |datagram| (source, datagram))
            })
    }

    /// As [`Inbox::datagrams`], of a socket that [stamps](Socket::stamp_arrivals) what arrives and
    /// joins nothing: each also with when it arrived, by the system's clock since 1970; `None`
    /// where the system does not tell.
    pub fn stamped(&self) -> impl Iterator<Item = (SocketAddr, &[u8], Option<Duration>)> {
        (0..self.filled).filter_map(|index| {
            let arrival = self.receiver.message(index)?;
            let stamp = self.receiver.stamp(index);
            Some((canonical(arrival.source), arrival.contents, stamp))
        })
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Parts what GRO joined at each stride. An empty datagram stays one.
fn part(joined: &[u8], stride: Option<usize>) -> impl Iterator<Item = &[u8]> {
    let whole = stride.is_none() || joined.is_empty();
    let chunks = if whole { &[] } else { joined };
    let chunks = chunks.chunks(stride.unwrap_or(1).max(1));
    whole.then_some(joined).into_iter().chain(chunks)
}
