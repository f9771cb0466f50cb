//! Descriptors that come as mere numbers, as another process's do by way of Python.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A descriptor of our own for what `fd` is open on.
///
/// # Errors
/// When `fd` is not open, or the system has no descriptors left.
#[allow(unsafe_code, reason = "nothing safe takes a number for a descriptor")]
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes any number, touches no memory, and fails for what is not open.
    let own = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    if own < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system just made it for us, so it is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(own) })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_duplicate_outlives_the_original() {
        let original = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = original.local_addr().unwrap();
        let own = UdpSocket::from(duplicate(original.as_raw_fd()).unwrap());
        drop(original);
        assert_eq!(own.local_addr().unwrap(), address);
    }

    #[test]
    fn a_number_that_is_no_descriptor_is_refused() {
        assert!(duplicate(-1).is_err());
        assert!(duplicate(RawFd::MAX).is_err());
    }
}
