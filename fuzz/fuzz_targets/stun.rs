//! Invariant: any bytes give a binding message or an error, never a panic; a message that parses
//! has exactly the length that it claims; and what it says lies before its MESSAGE-INTEGRITY.

#![no_main]

use firsthop_wire::stun::Binding;
use libfuzzer_sys::fuzz_target;

const HEADER_LEN: usize = 20;

fuzz_target!(|datagram: &[u8]| {
    let Ok(binding) = Binding::parse(datagram) else {
        return;
    };

    for length in 0..datagram.len() {
        assert!(
            Binding::parse(&datagram[..length]).is_err(),
            "a prefix of {length} bytes parses"
        );
    }
    assert!(
        Binding::parse(&[datagram, &[0]].concat()).is_err(),
        "a longer datagram parses"
    );

    // The message up to its first MESSAGE-INTEGRITY says the same as the whole.
    let mut protected = datagram[..protected_length(datagram)].to_vec();
    let length = (protected.len() - HEADER_LEN) as u16;
    protected[2..4].copy_from_slice(&length.to_be_bytes());
    assert_eq!(Binding::parse(&protected), Ok(binding));

    if let Some(username) = binding.username {
        assert!(username.len() <= 128);
    }
    if let Some(ufrag) = binding.server_ufrag() {
        assert!(!ufrag.contains(&b':'));
        let username = binding.username.expect("the ufrag is a part of it");
        assert!(username.starts_with(&[ufrag, b":"].concat()));
    }
});

/// Where the first MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 begins, or the message ends.
fn protected_length(message: &[u8]) -> usize {
    let mut position = HEADER_LEN;
    while position < message.len() && !matches!(message[position..], [0, 0x08 | 0x1C, ..]) {
        let length = u16::from_be_bytes([message[position + 2], message[position + 3]]);
        position += 4 + usize::from(length).next_multiple_of(4);
    }
    position
}
