//! Sockets: the one place with system calls. Batches and offload come from `quinn-udp`.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use mio::event::Source;
use mio::{Interest, Registry, Token};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Type};

use crate::DropReason;

/// Asked of the kernel for each direction, in bytes; it may give less. About a second of audio of
/// some thousand calls.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// More than the largest UDP payload or GRO batch (65,535 bytes with headers), so that a datagram
/// that fills a buffer can only be a truncated one.
const BUFFER_BYTES: usize = 64 << 10;

/// Whether other sockets may bind the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Nobody else.
    Exclusive,
    /// Those that join it later: the first socket of an address. It asks for the address alone,
    /// so that no second relay slips in and takes half of the packets, and shares what it got.
    Opened,
    /// `SO_REUSEPORT`: the kernel spreads clients over all sockets of the address.
    Joined,
}

/// A bound, nonblocking UDP socket that never fragments.
pub(crate) struct Socket {
    io: mio::net::UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

impl Socket {
    /// Binds `address`; port 0 asks for any free port. `only_v6` keeps IPv4 out of an IPv6 socket.
    ///
    /// # Errors
    /// Of the system, with the address in the message.
    pub(crate) fn bind(address: SocketAddr, sharing: Sharing, only_v6: bool) -> io::Result<Self> {
        Self::try_bind(address, sharing, only_v6)
            .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
    }

    fn try_bind(address: SocketAddr, sharing: Sharing, only_v6: bool) -> io::Result<Self> {
        let socket = socket2::Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        if sharing == Sharing::Joined {
            share(&socket)?;
        }
        socket.bind(&address.into())?;
        if sharing == Sharing::Opened {
            share(&socket)?;
        }
        // Best effort: the kernel caps both at its own limits (net.core.rmem_max, wmem_max).
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let io = mio::net::UdpSocket::from_std(socket.into());
        let local = io.local_addr()?;
        Ok(Self { io, state, local })
    }

    /// The address that it is bound to.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sends one datagram, or tells why it could not go.
    pub(crate) fn send(&self, to: SocketAddr, contents: &[u8]) -> Result<(), DropReason> {
        let transmit = Transmit {
            destination: self.reachable(to),
            ecn: None,
            contents,
            segment_size: None,
            src_ip: None,
        };
        let sent = self
            .io
            .try_io(|| self.state.try_send(UdpSockRef::from(&self.io), &transmit));
        sent.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => DropReason::SendBlocked,
            _ if quinn_udp::is_msg_size_err(&error) => DropReason::SendTooBig,
            _ => DropReason::SendFailed,
        })
    }

    /// An IPv6 socket reaches IPv4 clients by their mapped address.
    fn reachable(&self, to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(ip) if self.local.is_ipv6() => {
                SocketAddr::new(ip.to_ipv6_mapped().into(), to.port())
            }
            _ => to,
        }
    }
}

/// Lets other sockets of the same user bind the same address, where the system can.
fn share(socket: &socket2::Socket) -> io::Result<()> {
    #[cfg(all(
        unix,
        not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))
    ))]
    socket.set_reuse_port(true)?;
    #[cfg(not(all(
        unix,
        not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))
    )))]
    let _ = socket;
    Ok(())
}

impl Source for Socket {
    fn register(&mut self, to: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.io.register(to, token, interests)
    }

    fn reregister(&mut self, to: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.io.reregister(to, token, interests)
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        self.io.deregister(from)
    }
}

/// What one call to receive brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// Datagrams, and perhaps more are waiting.
    More,
    /// Perhaps datagrams, and none are waiting: readiness will tell of the next.
    Drained,
    /// An earlier send failed, as ICMP tells. Nothing was received; more may be waiting.
    SendFailed,
}

/// Buffers for one batch of datagrams, to be used again and again.
pub(crate) struct Batch {
    buffers: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    filled: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![0; BATCH_SIZE * BUFFER_BYTES],
            metas: [RecvMeta::default(); BATCH_SIZE],
            filled: 0,
        }
    }

    /// Replaces its content with what is waiting on `socket`.
    ///
    /// # Errors
    /// What makes the socket useless. That nothing is waiting, or that ICMP told of a failed send,
    /// is no error.
    pub(crate) fn receive(&mut self, socket: &Socket) -> io::Result<Received> {
        self.filled = 0;
        let mut chunks = self.buffers.chunks_exact_mut(BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let metas = &mut self.metas;
        let received = socket.io.try_io(|| {
            socket
                .state
                .recv(UdpSockRef::from(&socket.io), &mut slices, metas)
        });
        match received {
            Ok(filled) => {
                self.filled = filled;
                // A batch that is not full emptied the socket, where there are batches.
                let drained = BATCH_SIZE > 1 && filled < BATCH_SIZE;
                Ok(if drained {
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
                _ if quinn_udp::is_msg_size_err(&error) => Ok(Received::SendFailed),
                _ => Err(error),
            },
        }
    }

    /// The datagrams of the last call, each with its source.
    ///
    /// One that the kernel had to cut comes as none.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let filled = self
            .buffers
            .chunks_exact(BUFFER_BYTES)
            .zip(&self.metas[..self.filled]);
        filled
            .filter(|(_, meta)| meta.len < BUFFER_BYTES)
            .flat_map(|(buffer, meta)| {
                split(&buffer[..meta.len], meta.stride).map(|datagram| (meta.addr, datagram))
            })
    }
}

/// Parts what GRO joined: datagrams of `stride` bytes, of which the last may be shorter. An empty
/// datagram stays one.
fn split(joined: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    let empty = joined.is_empty().then_some(joined);
    empty.into_iter().chain(joined.chunks(stride.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gro_joined_is_parted_at_each_stride() {
        let lengths = |length, stride| {
            split(&vec![0; length], stride)
                .map(<[u8]>::len)
                .collect::<Vec<_>>()
        };
        assert_eq!(lengths(250, 100), [100, 100, 50]);
        assert_eq!(lengths(200, 100), [100, 100]);
        assert_eq!(lengths(80, 80), [80]);
        assert_eq!(lengths(0, 0), [0]);
    }

    #[test]
    fn what_was_sent_as_segments_arrives_as_datagrams() {
        let address = "127.0.0.1:0".parse().unwrap();
        let from = Socket::bind(address, Sharing::Exclusive, false).unwrap();
        let to = Socket::bind(address, Sharing::Exclusive, false).unwrap();
        let segments = from.state.max_gso_segments().min(10);
        let contents: Vec<u8> = (0..segments * 200 - 50)
            .map(|byte| (byte / 200) as u8)
            .collect();
        let transmit = Transmit {
            destination: to.local_addr(),
            ecn: None,
            contents: &contents,
            segment_size: Some(200),
            src_ip: None,
        };
        from.state
            .try_send(UdpSockRef::from(&from.io), &transmit)
            .unwrap();
        let mut batch = Batch::new();
        let mut arrived = Vec::new();
        // Loopback delivers before the sender returns; without recvmmsg, one datagram a call.
        for _ in 0..=segments {
            batch.receive(&to).unwrap();
            for (source, datagram) in batch.datagrams() {
                assert_eq!(source, from.local_addr());
                arrived.push(datagram.to_vec());
            }
        }
        let expected: Vec<_> = contents.chunks(200).map(<[u8]>::to_vec).collect();
        assert_eq!(arrived, expected);
    }

    #[test]
    fn a_dual_stack_socket_reaches_ipv4() {
        let Ok(socket) = Socket::bind("[::]:0".parse().unwrap(), Sharing::Exclusive, false) else {
            return; // A machine without IPv6.
        };
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver
            .set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .unwrap();
        socket
            .send(receiver.local_addr().unwrap(), b"mapped")
            .unwrap();
        let mut buffer = [0; 16];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 6);
    }

    #[test]
    fn a_bind_error_names_the_address() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        for sharing in [Sharing::Exclusive, Sharing::Opened] {
            let Err(error) = Socket::bind(address, sharing, false) else {
                panic!("{address} was free");
            };
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
    }
}
