//! Sending in batches: what is the same on every system.

use std::io;
use std::net::SocketAddr;

use crate::Socket;

/// The most datagrams in a train that every kernel takes; newer ones take more.
pub const MAX_SEGMENTS: usize = 64;
/// The most bytes in a train that the kernel takes: the largest UDP payload over IPv4.
pub const MAX_TRAIN_BYTES: usize = 65_507;

/// An outbox that holds this many bytes is full: a batch should not sweep the cache empty.
const FULL_BYTES: usize = 256 << 10;

/// Why a datagram did not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The socket's send buffer is full.
    Blocked,
    /// Longer than the network takes without fragments.
    TooBig,
    /// Anything else: no route, a firewall, an address of the wrong family.
    Failed,
}

/// A system's way to send a batch.
pub trait Transmit {
    /// Whether it can ask the kernel to part a train (GSO).
    const SEGMENTS: bool;

    /// Sends up to `capacity` messages at a time.
    fn new(capacity: usize) -> Self;

    /// Sends the first of `messages` or more, in order, and returns how many.
    ///
    /// # Errors
    /// When the first of them could not be sent.
    fn send<'a>(
        &mut self,
        socket: &Socket,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> io::Result<usize>;
}

/// What is sent as one: a datagram, or a train of them.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// Not empty, for a train.
    pub contents: &'a [u8],
    /// Bytes of each datagram of a train, of which the last may be shorter.
    pub segment_size: Option<u16>,
}

/// The type behind [`crate::Outbox`], for a system's way to send.
pub struct Outbox<T, S> {
    sender: S,
    capacity: usize,
    queue: Vec<Queued<T>>,
    /// The contents of all in the queue, one behind the other.
    bytes: Vec<u8>,
}

struct Queued<T> {
    to: SocketAddr,
    start: usize,
    end: usize,
    segment_size: Option<u16>,
    tag: T,
}

impl<T: Copy, S: Transmit> Outbox<T, S> {
    /// An empty batch that is full with `datagrams` datagrams or trains.
    #[must_use]
    pub fn new(datagrams: usize) -> Self {
        Self {
            sender: S::new(datagrams.max(1)),
            capacity: datagrams.max(1),
            queue: Vec::with_capacity(datagrams),
            bytes: Vec::new(),
        }
    }

    /// Queues a copy of `contents` for `to`. With a segment size, not 0, `contents` is a train: at
    /// most [`MAX_SEGMENTS`] datagrams of that size, of which the last may be shorter, and at most
    /// [`MAX_TRAIN_BYTES`] in all.
    ///
    /// Flush what [is full](Outbox::is_full) first: beyond that, the queue allocates.
    pub fn push(&mut self, to: SocketAddr, contents: &[u8], segment_size: Option<u16>, tag: T) {
        let segment_size = segment_size.filter(|&size| usize::from(size) < contents.len());
        debug_assert!(
            segment_size.is_none_or(|size| {
                size > 0
                    && contents.len() <= MAX_TRAIN_BYTES
                    && contents.len().div_ceil(size.into()) <= MAX_SEGMENTS
            }),
            "the kernel takes no such train"
        );
        let start = self.bytes.len();
        self.bytes.extend_from_slice(contents);
        self.queue.push(Queued {
            to,
            start,
            end: self.bytes.len(),
            segment_size,
            tag,
        });
    }

    /// How many datagrams or trains are queued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether it should be flushed before the next push.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queue.len() >= self.capacity || self.bytes.len() >= FULL_BYTES
    }

    /// Sends all that is queued, without waiting, and empties the queue. `done` hears of every
    /// push exactly once, in order: whether the datagram left.
    ///
    /// What cannot leave does not hold up the others, but a full send buffer does: all from there
    /// on are [`SendError::Blocked`]. Of a train that we had to part ourselves, the first datagrams
    /// may have left although it is an error.
    pub fn flush(&mut self, socket: &Socket, mut done: impl FnMut(T, Result<(), SendError>)) {
        let mut rest = &self.queue[..];
        while !rest.is_empty() {
            let (judged, verdict) = match send_first(&mut self.sender, socket, &self.bytes, rest) {
                Ok(sent) => (sent, Ok(())),
                Err(SendError::Blocked) => (rest.len(), Err(SendError::Blocked)),
                Err(error) => (1, Err(error)),
            };
            for queued in &rest[..judged] {
                done(queued.tag, verdict);
            }
            rest = &rest[judged..];
        }
        self.queue.clear();
        self.bytes.clear();
    }
}

/// Sends the first of `queue`, which is not empty, or more, and returns how many; an error is the
/// first one's.
fn send_first<T, S: Transmit>(
    sender: &mut S,
    socket: &Socket,
    bytes: &[u8],
    queue: &[Queued<T>],
) -> Result<usize, SendError> {
    let messages = queue.iter().map(|queued| Message {
        to: queued.to,
        contents: &bytes[queued.start..queued.end],
        segment_size: queued.segment_size,
    });
    let train = messages.clone().next().and_then(Train::of);
    let segments = S::SEGMENTS && socket.segments();
    match train {
        Some(train) if !segments => train.send_apart(sender, socket).map(|()| 1),
        _ => {
            let messages =
                messages.take_while(|message| segments || message.segment_size.is_none());
            match (send(sender, socket, messages), train) {
                (Err(error), Some(train)) if is_refusal(&error) => {
                    train.send_apart(sender, socket)?;
                    // So it was the train that the kernel disliked, and not its contents.
                    socket.part_trains_ourselves();
                    Ok(1)
                }
                (sent, _) => sent.map_err(|error| why(&error)),
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Train<'a> {
    to: SocketAddr,
    contents: &'a [u8],
    segment_size: usize,
}

impl<'a> Train<'a> {
    fn of(message: Message<'a>) -> Option<Self> {
        Some(Self {
            to: message.to,
            contents: message.contents,
            segment_size: usize::from(message.segment_size?),
        })
    }

    /// Sends it datagram by datagram, up to the first that cannot leave.
    fn send_apart(self, sender: &mut impl Transmit, socket: &Socket) -> Result<(), SendError> {
        let mut rest = self.contents;
        while !rest.is_empty() {
            let messages = rest.chunks(self.segment_size).map(|contents| Message {
                to: self.to,
                contents,
                segment_size: None,
            });
            let sent = send(sender, socket, messages).map_err(|error| why(&error))?;
            rest = &rest[rest.len().min(sent * self.segment_size)..];
        }
        Ok(())
    }
}

fn send<'a>(
    sender: &mut impl Transmit,
    socket: &Socket,
    messages: impl Iterator<Item = Message<'a>> + Clone,
) -> io::Result<usize> {
    loop {
        match sender.send(socket, messages.clone()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            sent => return sent,
        }
    }
}

/// Whether a train may have failed for being one: the kernel or the device cannot part it.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EINVAL | libc::ENOPROTOOPT)
    )
}

fn why(error: &io::Error) -> SendError {
    match error.raw_os_error() {
        _ if error.kind() == io::ErrorKind::WouldBlock => SendError::Blocked,
        Some(libc::EMSGSIZE) => SendError::TooBig,
        _ => SendError::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use crate::tests::{flush, local};

    use super::*;

    /// A system that does as it is told, call by call, and notes what left.
    struct Scripted {
        /// How many messages the next call sends, or with which error it fails.
        calls: VecDeque<Result<usize, i32>>,
        left: Vec<(Vec<u8>, Option<u16>)>,
    }

    impl Transmit for Scripted {
        const SEGMENTS: bool = true;

        fn new(_capacity: usize) -> Self {
            Self {
                calls: VecDeque::new(),
                left: Vec::new(),
            }
        }

        fn send<'a>(
            &mut self,
            _socket: &Socket,
            messages: impl Iterator<Item = Message<'a>>,
        ) -> io::Result<usize> {
            let most = self.calls.pop_front().unwrap_or(Ok(usize::MAX));
            let most = most.map_err(io::Error::from_raw_os_error)?;
            let before = self.left.len();
            let messages = messages.take(most);
            self.left
                .extend(messages.map(|message| (message.contents.to_vec(), message.segment_size)));
            Ok(self.left.len() - before)
        }
    }

    fn scripted(
        calls: &[Result<usize, i32>],
        pushes: &[(&[u8], Option<u16>)],
    ) -> Outbox<usize, Scripted> {
        let mut outbox = Outbox::<_, Scripted>::new(8);
        outbox.sender.calls.extend(calls);
        for (tag, &(contents, segment_size)) in pushes.iter().enumerate() {
            outbox.push(([127, 0, 0, 1], 9).into(), contents, segment_size, tag);
        }
        outbox
    }

    #[test]
    fn a_full_send_buffer_blocks_all_that_follow() {
        let single: (&[u8], _) = (b"a", None);
        let mut outbox = scripted(&[Ok(2), Err(libc::EINTR), Err(libc::EAGAIN)], &[single; 4]);
        let blocked = Err(SendError::Blocked);
        assert_eq!(
            flush(&mut outbox, &local()),
            [(0, Ok(())), (1, Ok(())), (2, blocked), (3, blocked)]
        );
        assert!(outbox.sender.calls.is_empty());
        assert_eq!(outbox.sender.left.len(), 2);
    }

    #[test]
    fn trains_that_the_system_refuses_leave_as_datagrams() {
        for refusal in [libc::EIO, libc::EINVAL, libc::ENOPROTOOPT] {
            let pushes: [(&[u8], _); 4] = [
                (b"a", None),
                (b"bbccd", Some(2)),
                (b"e", None),
                (b"ffgg", Some(2)),
            ];
            let mut outbox = scripted(&[Ok(1), Err(refusal), Ok(1), Err(libc::EINTR)], &pushes);
            let socket = local();
            assert!(flush(&mut outbox, &socket).iter().all(|(_, v)| v.is_ok()));
            let left = outbox.sender.left.iter();
            let left: Vec<_> = left
                .map(|(contents, size)| (&contents[..], *size))
                .collect();
            let expected: [&[u8]; 7] = [b"a", b"bb", b"cc", b"d", b"e", b"ff", b"gg"];
            assert!(
                left.into_iter()
                    .eq(expected.map(|contents| (contents, None)))
            );
            assert!(!socket.segments());
        }
    }

    #[test]
    fn a_train_that_also_fails_in_parts_says_nothing_about_trains() {
        let pushes: [(&[u8], _); 2] = [(b"aabb", Some(2)), (b"ccdd", Some(2))];
        let calls = [Err(libc::EINVAL), Ok(1), Err(libc::EMSGSIZE)];
        let mut outbox = scripted(&calls, &pushes);
        let socket = local();
        assert_eq!(
            flush(&mut outbox, &socket),
            [(0, Err(SendError::TooBig)), (1, Ok(()))]
        );
        assert!(socket.segments());
        assert_eq!(outbox.sender.left[1], (b"ccdd".to_vec(), Some(2)));
    }

    #[test]
    fn an_outbox_is_full_by_bytes_too() {
        let mut outbox = Outbox::<(), Scripted>::new(100);
        let train = vec![0; 45 * 1400];
        let mut pushed = 0;
        while !outbox.is_full() {
            outbox.push(([127, 0, 0, 1], 9).into(), &train, Some(1400), ());
            pushed += 1;
        }
        assert_eq!(pushed, 5);
    }
}
