//! `recvmmsg` and `sendmmsg`, with UDP GRO and GSO (Linux 5.0; without them, one by one).
//!
//! The kernel reads and writes through pointers: from each header to a name, an I/O vector and a
//! control buffer, and from the vector to the contents. The pointers are set anew right before
//! each call, from borrows that last until it returns; in between they are never followed. So
//! nothing here depends on where a value lay before.

#![allow(
    unsafe_code,
    reason = "the one place with system calls that std does not wrap"
)]

use std::io;
use std::mem::offset_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Duration;

use libc::{c_int, cmsghdr, iovec, mmsghdr, sa_family_t, sockaddr_in, sockaddr_in6};

use crate::Socket;
use crate::inbox::{Arrival, Receive};
use crate::outbox::{Message, Transmit};

/// Makes the socket send without fragments, and join what comes (`gro`) or not.
pub(crate) fn prepare(socket: &UdpSocket, v6: bool, gro: bool) -> io::Result<()> {
    // PROBE sets DF and goes by the device's MTU: not by a path MTU that anyone's ICMP can lower.
    let probe = libc::IP_PMTUDISC_PROBE;
    set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, probe)?;
    if v6 {
        let probe = libc::IPV6_PMTUDISC_PROBE;
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, probe)?;
    }
    // Best effort: a kernel that does not know it delivers one by one.
    let _ = set_option(socket, libc::SOL_UDP, libc::UDP_GRO, gro.into());
    Ok(())
}

/// Lets the kernel note when each datagram arrived.
pub(crate) fn stamp_arrivals(socket: &UdpSocket) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

pub(crate) fn set_option(
    socket: &UdpSocket,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes at the address of `value`, which is an int that
    // outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// More messages the kernel does not take at a time (`UIO_MAXIOV`).
const MAX_BATCH: usize = 1024;

/// Receives by `recvmmsg`.
#[derive(Debug)]
pub struct Receiver {
    bytes: Vec<u8>,
    bytes_each: usize,
    envelopes: Envelopes,
    /// Headers that the kernel has written to since they were prepared.
    used: usize,
}

impl Receive for Receiver {
    fn new(capacity: usize, bytes_each: usize) -> Self {
        let capacity = capacity.min(MAX_BATCH);
        let mut bytes = vec![0; capacity * bytes_each];
        let mut envelopes = Envelopes::new(capacity);
        let Envelopes {
            headers,
            vectors,
            names,
            controls,
        } = &mut envelopes;
        let buffers = bytes.chunks_exact_mut(bytes_each);
        let parts = vectors.iter_mut().zip(names).zip(controls);
        for ((header, buffer), ((vector, name), control)) in
            headers.iter_mut().zip(buffers).zip(parts)
        {
            *vector = iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            };
            let header = &mut header.msg_hdr;
            header.msg_name = ptr::from_mut(name).cast();
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = ptr::from_mut(control).cast();
        }
        Self {
            bytes,
            bytes_each,
            used: envelopes.headers.len(),
            envelopes,
        }
    }

    fn capacity(&self) -> usize {
        self.envelopes.headers.len()
    }

    fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        // What the kernel found there it replaced by what it wrote.
        for header in &mut self.envelopes.headers[..self.used] {
            header.msg_hdr.msg_namelen = size_of::<Name>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = size_of::<Control>() as _;
        }
        // An error may come after headers were written to.
        self.used = self.envelopes.headers.len();
        // SAFETY: there are `headers.len()` headers. Each points at a name, a vector of one buffer,
        // and a control buffer, with their true lengths: elements of four arrays that were
        // allocated with this value and are neither moved nor resized while it lives. They are
        // `self`'s alone, borrowed mutably until the function ends, and plain bytes to which any
        // value may be written.
        let received = unsafe {
            libc::recvmmsg(
                socket.io.as_raw_fd(),
                self.envelopes.headers.as_mut_ptr(),
                self.envelopes.headers.len() as _,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        // The one after them may have been begun.
        self.used = self.used.min(received + 1);
        Ok(received)
    }

    fn message(&self, index: usize) -> Option<Arrival<'_>> {
        let header = &self.envelopes.headers[index];
        let stride = self.envelopes.controls[index].gro_stride(header.msg_hdr.msg_controllen as _);
        let is_cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        if is_cut && stride.is_some() {
            return None;
        }
        let length = self.bytes_each.min(header.msg_len as usize);
        Some(Arrival {
            source: self.envelopes.names[index].address(header.msg_hdr.msg_namelen as _)?,
            contents: &self.bytes[index * self.bytes_each..][..length],
            stride,
        })
    }

    fn stamp(&self, index: usize) -> Option<Duration> {
        let header = &self.envelopes.headers[index];
        self.envelopes.controls[index].stamp(header.msg_hdr.msg_controllen as _)
    }
}

/// Sends by `sendmmsg`.
#[derive(Debug)]
pub struct Sender {
    envelopes: Envelopes,
}

impl Transmit for Sender {
    const SEGMENTS: bool = true;

    fn new(capacity: usize) -> Self {
        Self {
            envelopes: Envelopes::new(capacity),
        }
    }

    fn send<'a>(
        &mut self,
        socket: &Socket,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> io::Result<usize> {
        let Envelopes {
            headers,
            vectors,
            names,
            controls,
        } = &mut self.envelopes;
        let parts = vectors.iter_mut().zip(names).zip(controls);
        let mut filled = 0;
        for ((header, ((vector, name), control)), message) in
            headers.iter_mut().zip(parts).zip(messages)
        {
            // The kernel only reads it, whatever the type of the pointer says.
            *vector = iovec {
                iov_base: message.contents.as_ptr().cast_mut().cast(),
                iov_len: message.contents.len(),
            };
            let header = &mut header.msg_hdr;
            header.msg_namelen = name.set(socket.reachable(message.to));
            header.msg_name = ptr::from_mut(name).cast();
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            match message.segment_size {
                None => {
                    header.msg_control = ptr::null_mut();
                    header.msg_controllen = 0;
                }
                Some(size) => {
                    header.msg_controllen = control.set_segment_size(size) as _;
                    header.msg_control = ptr::from_mut(control).cast();
                }
            }
            filled += 1;
        }
        // SAFETY: the first `filled` headers were just pointed at a name, a vector of one buffer,
        // and a control buffer or none, with their true lengths. All are borrowed until the
        // function ends: the contents from the caller, the rest from `self`.
        let sent = unsafe {
            libc::sendmmsg(
                socket.io.as_raw_fd(),
                headers.as_mut_ptr(),
                filled,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// What goes with the contents of each message of a batch, in four arrays of one length.
struct Envelopes {
    headers: Vec<mmsghdr>,
    vectors: Vec<iovec>,
    names: Vec<Name>,
    controls: Vec<Control>,
}

// SAFETY: the pointers in headers and vectors lead to memory of the same value, or are set before
// each system call, and only system calls follow them, all within one `&mut self`. Between calls
// they are mere numbers, good on any thread.
unsafe impl Send for Envelopes {}

impl std::fmt::Debug for Envelopes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Envelopes({})", self.headers.len())
    }
}

impl Envelopes {
    fn new(count: usize) -> Self {
        let vector = iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: a header is integers and pointers, for which zero is a value: none, and null.
        let header: mmsghdr = unsafe { std::mem::zeroed() };
        Self {
            headers: vec![header; count],
            vectors: vec![vector; count],
            names: vec![Name::NONE; count],
            controls: vec![Control::new(); count],
        }
    }
}

/// An IP socket address as the kernel writes it; `sockaddr_storage` would be five times as long.
#[derive(Clone, Copy)]
#[repr(C)]
union Name {
    family: sa_family_t,
    v4: sockaddr_in,
    v6: sockaddr_in6,
}

impl Name {
    const NONE: Self = Self {
        v6: sockaddr_in6 {
            sin6_family: 0,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
            sin6_scope_id: 0,
        },
    };

    /// Writes `address`, and returns the length of what is written.
    fn set(&mut self, address: SocketAddr) -> libc::socklen_t {
        match address {
            SocketAddr::V4(address) => {
                self.v4 = sockaddr_in {
                    sin_family: libc::AF_INET as _,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(address.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                size_of::<sockaddr_in>() as _
            }
            SocketAddr::V6(address) => {
                self.v6 = sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as _,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: address.ip().octets(),
                    },
                    sin6_scope_id: address.scope_id(),
                };
                size_of::<sockaddr_in6>() as _
            }
        }
    }

    /// The address of which the kernel wrote `length` bytes.
    fn address(&self, length: usize) -> Option<SocketAddr> {
        // SAFETY: every byte of the union was set when it was made, all its fields are integers,
        // and the family stands in both addresses at the same place.
        let family = c_int::from(unsafe { self.family });
        match family {
            libc::AF_INET if length >= size_of::<sockaddr_in>() => {
                // SAFETY: as above: integers, all of them set.
                let v4 = unsafe { self.v4 };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 if length >= size_of::<sockaddr_in6>() => {
                // SAFETY: as above: integers, all of them set.
                let v6 = unsafe { self.v6 };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, 0).into())
            }
            _ => None,
        }
    }
}

/// Room for one control message: the size of segments, an int from the kernel, a u16 to it; or when
/// a datagram arrived, a `timespec` from the kernel. What `CMSG_DATA` would point at lies right
/// behind the header.
#[derive(Clone, Copy)]
#[repr(C)]
struct Control {
    header: cmsghdr,
    value: [u8; size_of::<libc::timespec>()],
}

/// What the size of segments takes in a control message, with its padding.
const SEGMENT_SIZE_SPACE: usize = size_of::<usize>();

impl Control {
    fn new() -> Self {
        // SAFETY: a control header is integers, for which zero is a value.
        let header = unsafe { std::mem::zeroed() };
        let value = [0; size_of::<libc::timespec>()];
        Self { header, value }
    }

    /// Asks for segments of `size` bytes (GSO), and returns the length of the message with its
    /// padding.
    fn set_segment_size(&mut self, size: u16) -> usize {
        self.header.cmsg_level = libc::SOL_UDP;
        self.header.cmsg_type = libc::UDP_SEGMENT;
        self.header.cmsg_len = (offset_of!(Self, value) + size_of_val(&size)) as _;
        self.value[..2].copy_from_slice(&size.to_ne_bytes());
        offset_of!(Self, value) + SEGMENT_SIZE_SPACE
    }

    /// The size of the segments that GRO joined, when the kernel wrote `length` bytes.
    fn gro_stride(&self, length: usize) -> Option<usize> {
        let is_stride = length >= offset_of!(Self, value) + size_of::<c_int>()
            && self.header.cmsg_level == libc::SOL_UDP
            && self.header.cmsg_type == libc::UDP_GRO;
        let stride = self.value.first_chunk().copied().map(c_int::from_ne_bytes);
        let stride = usize::try_from(stride?).ok();
        stride.filter(|&stride| is_stride && stride > 0)
    }

    /// When the datagram arrived, since 1970, when the kernel wrote `length` bytes.
    fn stamp(&self, length: usize) -> Option<Duration> {
        let is_stamp = length >= size_of::<Self>()
            && self.header.cmsg_level == libc::SOL_SOCKET
            && self.header.cmsg_type == libc::SCM_TIMESTAMPNS;
        // Two numbers of the same size.
        let (seconds, nanos) = self.value.split_at(self.value.len() / 2);
        let number = |bytes: &[u8]| Some(libc::c_long::from_ne_bytes(bytes.try_into().ok()?));
        let seconds = u64::try_from(number(seconds)?).ok()?;
        let nanos = u32::try_from(number(nanos)?).ok()?;
        is_stamp.then(|| Duration::new(seconds, nanos))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::{SystemTime, UNIX_EPOCH};

    use crate::tests::{collect, flush, local, train};
    use crate::{Inbox, Options, Outbox, Received, Sharing};

    use super::*;

    fn joining() -> Socket {
        let options = Options {
            sharing: Sharing::Exclusive,
            only_v6: false,
            gro: true,
        };
        Socket::bind("127.0.0.1:0".parse().unwrap(), options).unwrap()
    }

    #[test]
    fn a_train_crosses_the_kernel_as_one() {
        let (from, to) = (local(), joining());
        let mut outbox = Outbox::new(8);
        // Room for one message: what is more than one would not come in the first call.
        let mut inbox = Inbox::new(1, 64 << 10);
        for (length, size) in [(64 * 1000, 1000), (4 * 1400 - 1, 1400), (100, 100)] {
            let contents = train(length, size);
            outbox.push(to.local_addr(), &contents, Some(size), ());
            flush(&mut outbox, &from);
            let arrived = collect(&mut inbox, &to, 1);
            let expected = contents.chunks(size.into());
            assert!(
                arrived.iter().eq(&expected
                    .map(|c| (from.local_addr(), c.to_vec()))
                    .collect::<Vec<_>>())
            );
        }
        assert!(from.segments());
    }

    #[test]
    fn a_stamp_tells_when_a_datagram_arrived_not_when_it_was_read() {
        let (from, to) = (local(), local());
        to.stamp_arrivals().unwrap();
        let unix = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut inbox = Inbox::new(8, 2048);
        // The kernel takes a moment to begin with it; until then it is when they were read.
        let patience = unix() + Duration::from_secs(10);
        loop {
            let before = unix();
            from.send_to(b"first", to.local_addr()).unwrap();
            let between = unix();
            from.send_to(b"second", to.local_addr()).unwrap();
            let after = unix();
            assert_eq!(inbox.receive(&to).unwrap(), Received::Drained);
            let arrived: Vec<_> = inbox.stamped().collect();
            let [
                (source, b"first", Some(first)),
                (_, b"second", Some(second)),
            ] = arrived[..]
            else {
                panic!("{arrived:?}")
            };
            assert_eq!(source, from.local_addr());
            if first <= between {
                assert!(before <= first);
                assert!(between <= second && second <= after);
                break;
            }
            assert!(before < patience, "it never begins");
        }
        // One that was not asked to tells nothing.
        to.send_to(b"back", from.local_addr()).unwrap();
        inbox.receive(&from).unwrap();
        let stamps: Vec<_> = inbox.stamped().map(|(_, _, stamp)| stamp).collect();
        assert_eq!(stamps, [None]);
    }

    #[test]
    fn a_train_longer_than_a_buffer_comes_as_nothing() {
        let (from, to) = (local(), joining());
        let mut outbox = Outbox::new(8);
        outbox.push(to.local_addr(), &train(1001, 100), Some(100), ());
        outbox.push(to.local_addr(), &[1; 2000], None, ());
        flush(&mut outbox, &from);
        let mut inbox = Inbox::new(8, 1000);
        let arrived = collect(&mut inbox, &to, 1);
        assert_eq!(arrived, [(from.local_addr(), vec![1; 1000])]);
        assert_eq!(inbox.receive(&to).unwrap(), Received::Drained);
    }

    #[test]
    fn a_kernel_that_parts_no_trains_is_asked_once() {
        let (from, to) = (local(), local());
        // Without checksums there is no GSO, as on a device that cannot make them.
        set_option(&from.io, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
        let contents = train(1000, 300);
        let mut outbox = Outbox::new(8);
        outbox.push(to.local_addr(), &contents, Some(300), 1);
        outbox.push(to.local_addr(), &contents, Some(300), 2);
        assert_eq!(flush(&mut outbox, &from), [(1, Ok(())), (2, Ok(()))]);
        assert!(!from.segments());
        let arrived = collect(&mut Inbox::new(16, 2048), &to, 8);
        let arrived: Vec<_> = arrived.iter().map(|(_, datagram)| &datagram[..]).collect();
        let expected: Vec<_> = contents.chunks(300).chain(contents.chunks(300)).collect();
        assert_eq!(arrived, expected);
    }

    #[test]
    fn adopting_decides_anew_whether_trains_come_joined() {
        let (from, to) = (local(), joining());
        let adopted = Socket::adopt(to.as_fd().try_clone_to_owned().unwrap(), false).unwrap();
        let mut outbox = Outbox::new(8);
        outbox.push(adopted.local_addr(), &train(400, 100), Some(100), ());
        flush(&mut outbox, &from);
        let mut inbox = Inbox::new(1, 64 << 10);
        assert_eq!(collect(&mut inbox, &adopted, 1).len(), 1);
    }
}
