//! The candidates that an answer names: the relay's public addresses.
//!
//! UDP must win whenever it works, since TCP makes media wait for what was lost: every TCP
//! candidate has a lower priority than every UDP one.

use std::net::SocketAddr;

use str0m::Candidate;
use str0m::error::IceError;

/// Of host candidates over TCP, as in libwebrtc. Over UDP it is 126 (RFC 8445 §5.1.2.2).
const TCP_TYPE_PREFERENCE: u32 = 90;
/// Of the passive side (RFC 6544 §4.2).
const DIRECTION_PREFERENCE: u32 = 4;
/// The highest of 13 bits, which tell candidates of one kind apart (RFC 6544 §4.2).
const MAX_OTHER_PREFERENCE: u32 = (1 << 13) - 1;
/// RTP and RTCP share the one component.
const COMPONENT: u32 = 1;

/// A UDP host candidate. The ICE agent gives it its priority.
pub(crate) fn udp(address: SocketAddr) -> Result<Candidate, IceError> {
    Candidate::host(address, "udp")
}

/// The passive TCP host candidate (RFC 6544) at `index`, of which lower ones are preferred.
pub(crate) fn tcp_passive(index: usize, address: SocketAddr) -> Result<Candidate, IceError> {
    let (ip, port) = (address.ip(), address.port());
    let priority = tcp_priority(index);
    // The agent's own constructors know nothing of directions.
    Candidate::from_sdp_string(&format!(
        "candidate:tcp{index} {COMPONENT} tcp {priority} {ip} {port} typ host tcptype passive"
    ))
}

/// RFC 8445 §5.1.2.1, with the local preference of RFC 6544 §4.2.
fn tcp_priority(index: usize) -> u32 {
    let other = MAX_OTHER_PREFERENCE.saturating_sub(u32::try_from(index).unwrap_or(u32::MAX));
    let local = DIRECTION_PREFERENCE << 13 | other;
    TCP_TYPE_PREFERENCE << 24 | local << 8 | (256 - COMPONENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_tcp_candidate_is_written_as_rfc_6544_has_it() {
        let candidate = tcp_passive(0, address("192.0.2.1:443")).unwrap();
        let line = candidate.to_sdp_string();
        // 90 << 24 | (4 << 13 | 8191) << 8 | 255
        let expected = "candidate:tcp0 1 tcp 1520435199 192.0.2.1 443 typ host tcptype passive";
        assert_eq!(line, expected);
        let candidate = tcp_passive(0, address("[2001:db8::1]:443")).unwrap();
        assert!(candidate.to_sdp_string().contains(" 2001:db8::1 443 "));
    }

    #[test]
    fn earlier_addresses_are_preferred() {
        assert!((1..100).all(|index| tcp_priority(index) < tcp_priority(index - 1)));
    }
}
