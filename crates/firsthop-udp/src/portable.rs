//! One system call per datagram, as every Unix has them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::Socket;
use crate::inbox::{Arrival, Receive};
use crate::outbox::{Message, Transmit};

/// Nothing to set that every system has: datagrams may be fragmented, and come one by one.
#[cfg(not(target_os = "linux"))]
pub(crate) fn prepare(_socket: &std::net::UdpSocket, _v6: bool, _gro: bool) -> io::Result<()> {
    Ok(())
}

/// Nothing that every system has.
#[cfg(not(target_os = "linux"))]
pub(crate) fn stamp_arrivals(_socket: &std::net::UdpSocket) -> io::Result<()> {
    Ok(())
}

/// Receives by `recvfrom`.
pub struct Receiver {
    bytes: Vec<u8>,
    bytes_each: usize,
    /// Source and length of each message.
    arrived: Vec<(SocketAddr, usize)>,
}

impl Receive for Receiver {
    fn new(capacity: usize, bytes_each: usize) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self {
            bytes: vec![0; capacity * bytes_each],
            bytes_each,
            arrived: vec![(nowhere, 0); capacity],
        }
    }

    fn capacity(&self) -> usize {
        self.arrived.len()
    }

    fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        let buffers = self.bytes.chunks_exact_mut(self.bytes_each);
        let mut filled = 0;
        for (buffer, arrived) in buffers.zip(&mut self.arrived) {
            match socket.io.recv_from(buffer) {
                Ok((length, source)) => *arrived = (source, length),
                Err(error) if filled == 0 => return Err(error),
                Err(_) => break,
            }
            filled += 1;
        }
        Ok(filled)
    }

    fn message(&self, index: usize) -> Option<Arrival<'_>> {
        let &(source, length) = self.arrived.get(index)?;
        Some(Arrival {
            source,
            contents: &self.bytes[index * self.bytes_each..][..length],
            stride: None,
        })
    }

    fn stamp(&self, _index: usize) -> Option<Duration> {
        None
    }
}

/// Sends by `sendto`.
pub struct Sender {
    capacity: usize,
}

impl Transmit for Sender {
    const SEGMENTS: bool = false;

    fn new(capacity: usize) -> Self {
        Self { capacity }
    }

    fn send<'a>(
        &mut self,
        socket: &Socket,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> io::Result<usize> {
        let mut sent = 0;
        for message in messages.take(self.capacity) {
            let to = socket.reachable(message.to);
            match socket.io.send_to(message.contents, to) {
                Ok(_) => sent += 1,
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    }
}
