//! The candidates that an answer names: the relay's public addresses.
//!
//! UDP must win whenever it works, since TCP makes media wait for what was lost: every TCP
//! candidate has a lower priority than every UDP one.

use std::net::SocketAddr;

use str0m::Candidate;
use str0m::error::IceError;

/// Of host candidates over UDP (RFC 8445 §5.1.2.2).
const UDP_TYPE_PREFERENCE: u32 = 126;
/// Of host candidates over TCP, as in libwebrtc.
const TCP_TYPE_PREFERENCE: u32 = 90;
/// The highest of 16 bits (RFC 8445 §5.1.2.1).
const MAX_LOCAL_PREFERENCE: u32 = (1 << 16) - 1;
/// Of the passive side (RFC 6544 §4.2).
const DIRECTION_PREFERENCE: u32 = 4;
/// The highest of 13 bits, which tell candidates of one kind apart (RFC 6544 §4.2).
const MAX_OTHER_PREFERENCE: u32 = (1 << 13) - 1;
/// RTP and RTCP share the one component.
const COMPONENT: u32 = 1;

/// The UDP host candidate at `index`, of which lower ones are preferred. The agent's own choice
/// would prefer any IPv6 address to any IPv4 one.
pub(crate) fn udp(index: usize, address: SocketAddr) -> Result<Candidate, IceError> {
    // Refuses addresses that no client can send to.
    Candidate::host(address, "udp")?;
    let local = below(MAX_LOCAL_PREFERENCE, index);
    let priority = priority(UDP_TYPE_PREFERENCE, local);
    let (ip, port) = (address.ip(), address.port());
    Candidate::from_sdp_string(&format!(
        "candidate:udp{index} {COMPONENT} udp {priority} {ip} {port} typ host"
    ))
}

/// The passive TCP host candidate (RFC 6544) at `index`, of which lower ones are preferred.
pub(crate) fn tcp_passive(index: usize, address: SocketAddr) -> Result<Candidate, IceError> {
    let other = below(MAX_OTHER_PREFERENCE, index);
    let priority = priority(TCP_TYPE_PREFERENCE, DIRECTION_PREFERENCE << 13 | other);
    let (ip, port) = (address.ip(), address.port());
    Candidate::from_sdp_string(&format!(
        "candidate:tcp{index} {COMPONENT} tcp {priority} {ip} {port} typ host tcptype passive"
    ))
}

/// RFC 8445 §5.1.2.1.
fn priority(kind: u32, local: u32) -> u32 {
    kind << 24 | local << 8 | (256 - COMPONENT)
}

fn below(highest: u32, index: usize) -> u32 {
    highest.saturating_sub(u32::try_from(index).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_udp_candidate_is_written_as_rfc_8445_has_it() {
        let line = udp(0, address("192.0.2.1:3478")).unwrap().to_sdp_string();
        // 126 << 24 | 65535 << 8 | 255
        let expected = "candidate:udp0 1 udp 2130706431 192.0.2.1 3478 typ host";
        assert_eq!(line, expected);
        let candidate = udp(0, address("[2001:db8::1]:3478")).unwrap();
        assert!(candidate.to_sdp_string().contains(" 2001:db8::1 3478 "));
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
    fn earlier_addresses_are_preferred_and_udp_to_tcp() {
        // An IPv6 address in between changes nothing.
        let addresses = ["192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.2:1"].map(address);
        let addresses = addresses.iter().cycle().take(100).enumerate();
        let udp = addresses.clone().map(|(n, &address)| udp(n, address));
        let tcp = addresses.map(|(n, &address)| tcp_passive(n, address));
        let priorities: Vec<_> = udp.chain(tcp).map(|made| made.unwrap().prio()).collect();
        assert!(priorities.is_sorted_by(|earlier, later| earlier > later));
    }
}
