//! Sockets: the one place with system calls on the packet path, for relay and transceiver alike.
//!
//! A [`Socket`] is bound once. An [`Inbox`] takes what waits there in batches, an [`Outbox`]
//! collects what is to leave and sends it in batches. Both keep their memory: after the first
//! batches nothing is allocated.
//!
//! On Linux a batch is one `recvmmsg` or `sendmmsg`, and a *train*, datagrams of one size for one
//! destination, crosses the kernel as one (UDP GSO and GRO). Elsewhere on Unix the same API makes
//! one call per datagram, which is enough to develop on.

mod descriptor;
mod inbox;
#[cfg(target_os = "linux")]
mod linux;
mod outbox;
#[cfg(any(test, not(target_os = "linux")))]
#[cfg_attr(
    target_os = "linux",
    allow(unreachable_pub, reason = "here for its tests only")
)]
mod portable;
mod socket;
#[cfg(test)]
mod tests;

pub use crate::descriptor::duplicate;
pub use crate::inbox::Received;
pub use crate::outbox::{MAX_SEGMENTS, MAX_TRAIN_BYTES, SendError};
pub use crate::socket::{Options, Sharing, Socket, share};

#[cfg(target_os = "linux")]
use crate::linux as system;
#[cfg(not(target_os = "linux"))]
use crate::portable as system;

/// Buffers for one batch of received datagrams, to be used again and again.
pub type Inbox = inbox::Inbox<system::Receiver>;

/// A batch of datagrams to send, each with a `T` by which its sender accounts for it.
pub type Outbox<T> = outbox::Outbox<T, system::Sender>;
