//! A bound UDP socket.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Type};

use crate::system;

/// Asked of the kernel for each direction, in bytes; it may give less. About a second of audio of
/// some thousand calls.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Whether other sockets may bind the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody else.
    Exclusive,
    /// Those that join it later: the first socket of an address. It asks for the address alone,
    /// so that no second process slips in and takes half of the packets, and shares what it got.
    Opened,
    /// `SO_REUSEPORT`: the kernel spreads clients over all sockets of the address.
    Joined,
}

/// How to bind a [`Socket`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether other sockets may bind the same address.
    pub sharing: Sharing,
    /// Keeps IPv4 out of an IPv6 socket.
    pub only_v6: bool,
    /// Lets the kernel hand over trains in one piece, where it can. The buffers of the
    /// [`Inbox`](crate::Inbox) must then hold 64 KiB each.
    pub gro: bool,
}

/// A bound, nonblocking UDP socket. On Linux its datagrams are never fragmented.
#[derive(Debug)]
pub struct Socket {
    pub(crate) io: UdpSocket,
    local: SocketAddr,
    /// False once the kernel refused to part a train for us.
    segments: AtomicBool,
}

impl Socket {
    /// Binds `address`; port 0 asks for any free port.
    ///
    /// # Errors
    /// Of the system, with the address in the message.
    pub fn bind(address: SocketAddr, options: Options) -> io::Result<Self> {
        Self::try_bind(address, options)
            .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
    }

    fn try_bind(address: SocketAddr, options: Options) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(options.only_v6)?;
        }
        if options.sharing == Sharing::Joined {
            share(&socket)?;
        }
        socket.bind(&address.into())?;
        if options.sharing == Sharing::Opened {
            share(&socket)?;
        }
        Self::prepare(socket, options.gro)
    }

    /// Takes over a socket that another process bound, with what is waiting in it.
    ///
    /// # Errors
    /// `InvalidInput` when it is no UDP socket or not bound; otherwise of the system.
    pub fn adopt(fd: OwnedFd, gro: bool) -> io::Result<Self> {
        let refused = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let socket = socket2::Socket::from(fd);
        // The system's own error would be about sockets of any kind.
        let datagrams = socket.r#type().is_ok_and(|found| found == Type::DGRAM);
        let address = socket.local_addr().ok().and_then(|own| own.as_socket());
        let Some(address) = address.filter(|_| datagrams && is_udp(&socket)) else {
            return refused("the inherited descriptor is not a UDP socket");
        };
        if address.port() == 0 {
            return refused("the inherited UDP socket is not bound");
        }
        Self::prepare(socket, gro)
    }

    fn prepare(socket: socket2::Socket, gro: bool) -> io::Result<Self> {
        // Best effort: the kernel caps both at its own limits (net.core.rmem_max, wmem_max).
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        socket.set_nonblocking(true)?;
        let io = UdpSocket::from(socket);
        let local = io.local_addr()?;
        system::prepare(&io, local.is_ipv6(), gro)?;
        let segments = AtomicBool::new(true);
        Ok(Self {
            io,
            local,
            segments,
        })
    }

    /// The address that it is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// From now on it exchanges datagrams with `peer` alone: cheaper to send to.
    ///
    /// # Errors
    /// Of the system.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        self.io.connect(self.reachable(peer))
    }

    /// Lets the kernel note when each datagram arrives, for [`Inbox::stamped`]: what comes later than
    /// that is how long its reader took. Does nothing where the system cannot.
    ///
    /// # Errors
    /// Of the system.
    ///
    /// [`Inbox::stamped`]: crate::Inbox
    pub fn stamp_arrivals(&self) -> io::Result<()> {
        system::stamp_arrivals(&self.io)
    }

    /// Sends one datagram to the address that it is connected to, without waiting.
    ///
    /// # Errors
    /// Of the system.
    pub fn send(&self, contents: &[u8]) -> io::Result<()> {
        self.io.send(contents).map(drop)
    }

    /// Sends one datagram to `to`, without waiting.
    ///
    /// # Errors
    /// Of the system.
    pub fn send_to(&self, contents: &[u8], to: SocketAddr) -> io::Result<()> {
        self.io.send_to(contents, self.reachable(to)).map(drop)
    }

    /// How this socket names `to`: an IPv6 socket reaches IPv4 by the mapped address.
    pub(crate) fn reachable(&self, to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(ip) if self.local.is_ipv6() => {
                SocketAddr::new(ip.to_ipv6_mapped().into(), to.port())
            }
            _ => to,
        }
    }

    /// Whether the kernel may still be asked to part trains (GSO).
    pub(crate) fn segments(&self) -> bool {
        self.segments.load(Ordering::Relaxed)
    }

    /// Asks it no more.
    pub(crate) fn part_trains_ourselves(&self) {
        self.segments.store(false, Ordering::Relaxed);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl Source for Socket {
    fn register(&mut self, to: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.io.as_raw_fd()).register(to, token, interests)
    }

    fn reregister(&mut self, to: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.io.as_raw_fd()).reregister(to, token, interests)
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        SourceFd(&self.io.as_raw_fd()).deregister(from)
    }
}

/// Lets other sockets of the same user bind the same address, where the system can.
///
/// # Errors
/// Of the system.
pub fn share(socket: &socket2::Socket) -> io::Result<()> {
    #[cfg(not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin")))]
    socket.set_reuse_port(true)?;
    #[cfg(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))]
    let _ = socket;
    Ok(())
}

/// Whether a datagram socket with an IP address speaks UDP, and not another protocol.
fn is_udp(socket: &socket2::Socket) -> bool {
    #[cfg(target_os = "linux")]
    return matches!(socket.protocol(), Ok(Some(Protocol::UDP)));
    // Not every system tells, and hardly anything else is to be had there.
    #[cfg(not(target_os = "linux"))]
    return socket.local_addr().is_ok();
}
