//! Peeks at STUN messages (RFC 8489) without knowing any password.
//!
//! The relay reads one thing, the server's half of USERNAME in a binding request. The engine reads
//! two more, the transaction id and USE-CANDIDATE. Neither trusts what it reads: the message is
//! authenticated by the ICE agent of the session's owner, and by nobody else.

/// Length of the fixed header, in bytes (RFC 8489 §5).
const HEADER_LEN: usize = 20;
/// Bytes 4–7 of every message (RFC 8489 §5).
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
/// Attributes beyond this make a message malformed. Browsers send at most ten.
const MAX_ATTRIBUTES: usize = 32;
/// USERNAME is at most 508 bytes (RFC 8489 §14.3), but str0m keeps strings to 128 and no ICE agent
/// that respects RFC 8839 §5.4 (32 + 1 + 32 characters) comes near either.
const MAX_USERNAME: usize = 128;

const ATTRIBUTE_USERNAME: u16 = 0x0006;
const ATTRIBUTE_MESSAGE_INTEGRITY: u16 = 0x0008;
const ATTRIBUTE_MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
const ATTRIBUTE_USE_CANDIDATE: u16 = 0x0025;

/// The class of a binding message: bits C1 and C0 of its type (RFC 8489 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Asks; carries USERNAME.
    BindingRequest,
    /// Keeps a NAT binding alive; nobody answers it.
    BindingIndication,
    /// Answers a request with the address that it came from.
    BindingSuccess,
    /// Refuses a request.
    BindingError,
}

/// Ties an answer to its request (RFC 8489 §5).
pub type TransactionId = [u8; 12];

/// Why bytes are not a STUN message that ICE would send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StunError {
    /// Shorter than its header, or its length field disagrees with the datagram.
    Length,
    /// No magic cookie: an RFC 3489 client, or not STUN at all.
    Cookie,
    /// Not the binding method.
    Method,
    /// An attribute runs past the end, there are too many, or USERNAME is too long.
    Attribute,
}

/// The parts of a binding message that firsthop looks at, borrowed from the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    /// Request, indication, success or error.
    pub class: Class,
    /// Chosen by whoever sent the request.
    pub transaction: TransactionId,
    /// The whole USERNAME, `server-ufrag:client-ufrag` in a request towards the server.
    pub username: Option<&'a [u8]>,
    /// USE-CANDIDATE: the controlling side nominates this pair (RFC 8445 §7.1.2).
    pub use_candidate: bool,
}

impl<'a> Binding<'a> {
    /// Reads a whole datagram as one binding message.
    ///
    /// # Errors
    /// [`StunError`]; never panics, whatever the bytes.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, StunError> {
        let (header, mut attributes) = datagram
            .split_at_checked(HEADER_LEN)
            .ok_or(StunError::Length)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if length != attributes.len() || length % 4 != 0 {
            return Err(StunError::Length);
        }
        if header[4..8] != MAGIC_COOKIE {
            return Err(StunError::Cookie);
        }
        let class = match u16::from_be_bytes([header[0], header[1]]) {
            0x0001 => Class::BindingRequest,
            0x0011 => Class::BindingIndication,
            0x0101 => Class::BindingSuccess,
            0x0111 => Class::BindingError,
            _ => return Err(StunError::Method),
        };
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&header[8..HEADER_LEN]);

        let mut binding = Self {
            class,
            transaction,
            username: None,
            use_candidate: false,
        };
        let mut count = 0;
        // Whoever touched the message on its way could append attributes to MESSAGE-INTEGRITY
        // unnoticed, so only FINGERPRINT counts behind it (RFC 8489 §14.5), and nobody reads that
        // here.
        let mut protected = true;
        while !attributes.is_empty() {
            count += 1;
            if count > MAX_ATTRIBUTES {
                return Err(StunError::Attribute);
            }
            let (head, rest) = attributes.split_at_checked(4).ok_or(StunError::Attribute)?;
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            // Values are padded to four bytes (RFC 8489 §14).
            let (padded, next) = rest
                .split_at_checked(length.next_multiple_of(4))
                .ok_or(StunError::Attribute)?;
            match u16::from_be_bytes([head[0], head[1]]) {
                ATTRIBUTE_MESSAGE_INTEGRITY | ATTRIBUTE_MESSAGE_INTEGRITY_SHA256 => {
                    protected = false;
                }
                // Of an attribute that comes twice, the first counts (RFC 8489 §14).
                ATTRIBUTE_USERNAME if protected && binding.username.is_none() => {
                    if length > MAX_USERNAME {
                        return Err(StunError::Attribute);
                    }
                    binding.username = Some(&padded[..length]);
                }
                ATTRIBUTE_USE_CANDIDATE if protected => binding.use_candidate = true,
                _ => {}
            }
            attributes = next;
        }
        Ok(binding)
    }

    /// The receiver's half of USERNAME: what stands before the first colon (RFC 8445 §7.2.2).
    #[must_use]
    pub fn server_ufrag(&self) -> Option<&'a [u8]> {
        let username = self.username?;
        let colon = username.iter().position(|&byte| byte == b':')?;
        Some(&username[..colon])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    /// RFC 5769 §2.1: a request with USERNAME "evtj:h6vY".
    const REQUEST: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\
        \xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x10STUN test client\
        \x00\x24\x00\x04\x6e\x00\x01\xff\
        \x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\
        \x00\x06\x00\x09evtj:h6vY   \
        \x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\
        \xc1\xb5\x71\xa2\
        \x80\x28\x00\x04\xe5\x7a\x3b\xcf";
    /// RFC 5769 §2.2: a response with an IPv4 address.
    const RESPONSE_V4: &[u8] = b"\x01\x01\x00\x3c\x21\x12\xa4\x42\
        \xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x0btest vector \
        \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
        \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\
        \xf0\x6b\xe7\xd7\
        \x80\x28\x00\x04\xc0\x7d\x4c\x96";
    /// RFC 5769 §2.3: a response with an IPv6 address.
    const RESPONSE_V6: &[u8] = b"\x01\x01\x00\x48\x21\x12\xa4\x42\
        \xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x0btest vector \
        \x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\
        \xbe\xd2\xb9\xd9\
        \x00\x08\x00\x14\xa3\x82\x95\x4e\x4b\xe6\x7b\xf1\x17\x84\xc9\x7c\x82\x92\xc2\x75\
        \xbf\xe3\xed\x41\
        \x80\x28\x00\x04\xc8\xfb\x0b\x4c";
    const SAMPLES: [&[u8]; 3] = [REQUEST, RESPONSE_V4, RESPONSE_V6];
    const TRANSACTION: TransactionId = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";

    const PRIORITY: (u16, &[u8]) = (0x0024, b"\x6e\x00\x01\xff");
    const INTEGRITY: (u16, &[u8]) = (ATTRIBUTE_MESSAGE_INTEGRITY, &[0xAA; 20]);

    fn message(message_type: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = [&message_type.to_be_bytes()[..], &[0, 0], &MAGIC_COOKIE].concat();
        bytes.extend(TRANSACTION);
        for (kind, value) in attributes {
            bytes.extend(kind.to_be_bytes());
            bytes.extend((value.len() as u16).to_be_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        set_length(&mut bytes);
        bytes
    }

    /// Makes the length field fit.
    fn set_length(message: &mut [u8]) {
        let length = (message.len() - HEADER_LEN) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
    }

    /// Where the attributes begin, and where the last one ends.
    fn attribute_bounds(message: &[u8]) -> Vec<usize> {
        let mut bounds = vec![HEADER_LEN];
        let mut position = HEADER_LEN;
        while position < message.len() {
            let length = u16::from_be_bytes([message[position + 2], message[position + 3]]);
            position += 4 + usize::from(length).next_multiple_of(4);
            bounds.push(position);
        }
        bounds
    }

    #[test]
    fn the_sample_request_of_rfc_5769_asks_for_evtj() {
        let request = Binding::parse(REQUEST).unwrap();
        assert_eq!(request.class, Class::BindingRequest);
        assert_eq!(request.transaction, TRANSACTION);
        assert_eq!(request.username, Some(&b"evtj:h6vY"[..]));
        assert_eq!(request.server_ufrag(), Some(&b"evtj"[..]));
        assert!(!request.use_candidate);
    }

    #[test]
    fn the_sample_responses_of_rfc_5769_name_nobody() {
        for response in [RESPONSE_V4, RESPONSE_V6] {
            let response = Binding::parse(response).unwrap();
            assert_eq!(response.class, Class::BindingSuccess);
            assert_eq!(response.transaction, TRANSACTION);
            assert_eq!(response.username, None);
            assert_eq!(response.server_ufrag(), None);
        }
    }

    #[test]
    fn every_prefix_of_a_message_is_refused() {
        for sample in SAMPLES {
            for length in 0..sample.len() {
                assert_eq!(
                    Binding::parse(&sample[..length]),
                    Err(StunError::Length),
                    "{length}"
                );
            }
        }
    }

    #[test]
    fn a_message_cut_within_an_attribute_is_refused_though_its_length_fits() {
        for sample in SAMPLES {
            let bounds = attribute_bounds(sample);
            for length in (HEADER_LEN..sample.len()).step_by(4) {
                let mut cut = sample[..length].to_vec();
                set_length(&mut cut);
                let parsed = Binding::parse(&cut);
                if bounds.contains(&length) {
                    assert!(parsed.is_ok(), "{length}");
                } else {
                    assert_eq!(parsed, Err(StunError::Attribute), "{length}");
                }
            }
        }
    }

    #[test]
    fn bytes_after_the_message_are_refused() {
        for sample in SAMPLES {
            for extra in 1..8 {
                let longer = [sample, &[0; 8][..extra]].concat();
                assert_eq!(Binding::parse(&longer), Err(StunError::Length));
            }
        }
    }

    #[test]
    fn an_attribute_longer_than_the_message_is_refused() {
        for sample in SAMPLES {
            let bounds = attribute_bounds(sample);
            for &start in &bounds[..bounds.len() - 1] {
                let room = (sample.len() - start - 4) as u16;
                for length in [room + 1, room + 4, 0x7FFF, 0xFFFC, 0xFFFD, 0xFFFF] {
                    let mut oversized = sample.to_vec();
                    oversized[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
                    assert_eq!(
                        Binding::parse(&oversized),
                        Err(StunError::Attribute),
                        "{length}"
                    );
                }
            }
        }
    }

    #[test]
    fn thirty_two_attributes_pass_and_thirty_three_do_not() {
        let mut attributes = vec![PRIORITY; 31];
        attributes.push((ATTRIBUTE_USERNAME, b"a:b"));
        let parsed = message(0x0001, &attributes);
        assert_eq!(Binding::parse(&parsed).unwrap().username, Some(&b"a:b"[..]));
        attributes.push(PRIORITY);
        let parsed = message(0x0001, &attributes);
        assert_eq!(Binding::parse(&parsed), Err(StunError::Attribute));
    }

    #[test]
    fn a_username_has_at_most_128_bytes() {
        let longest = message(0x0001, &[(ATTRIBUTE_USERNAME, &[b'u'; 128])]);
        assert_eq!(
            Binding::parse(&longest).unwrap().username,
            Some(&[b'u'; 128][..])
        );
        let longer = message(0x0001, &[(ATTRIBUTE_USERNAME, &[b'u'; 129])]);
        assert_eq!(Binding::parse(&longer), Err(StunError::Attribute));
    }

    #[test]
    fn the_first_of_two_usernames_counts() {
        let twice = message(
            0x0001,
            &[
                (ATTRIBUTE_USERNAME, b"one:x"),
                (ATTRIBUTE_USERNAME, b"two:x"),
            ],
        );
        assert_eq!(
            Binding::parse(&twice).unwrap().server_ufrag(),
            Some(&b"one"[..])
        );
    }

    #[test]
    fn what_follows_message_integrity_does_not_count() {
        let behind = [
            (ATTRIBUTE_USERNAME, &b"a:b"[..]),
            (ATTRIBUTE_USE_CANDIDATE, b""),
        ];
        let ahead = message(0x0001, &[behind[0], behind[1], INTEGRITY]);
        let ahead = Binding::parse(&ahead).unwrap();
        assert_eq!(
            (ahead.username, ahead.use_candidate),
            (Some(&b"a:b"[..]), true)
        );

        let sha256 = (ATTRIBUTE_MESSAGE_INTEGRITY_SHA256, &[0xAA; 32][..]);
        for integrity in [INTEGRITY, sha256] {
            let appended = message(0x0001, &[PRIORITY, integrity, behind[0], behind[1]]);
            let appended = Binding::parse(&appended).unwrap();
            assert_eq!((appended.username, appended.use_candidate), (None, false));
        }
    }

    #[test]
    fn the_server_ufrag_ends_at_the_first_colon() {
        let cases: [(&[u8], Option<&[u8]>); 6] = [
            (b"a:b", Some(b"a")),
            (b"a:b:c", Some(b"a")),
            (b":b", Some(b"")),
            (b"a:", Some(b"a")),
            (b"ab", None),
            (b"", None),
        ];
        for (username, ufrag) in cases {
            let request = message(0x0001, &[(ATTRIBUTE_USERNAME, username)]);
            assert_eq!(Binding::parse(&request).unwrap().server_ufrag(), ufrag);
        }
    }

    #[test]
    fn every_message_type_but_the_four_of_binding_is_refused() {
        for message_type in 0..=u16::MAX {
            let expected = match message_type {
                0x0001 => Ok(Class::BindingRequest),
                0x0011 => Ok(Class::BindingIndication),
                0x0101 => Ok(Class::BindingSuccess),
                0x0111 => Ok(Class::BindingError),
                _ => Err(StunError::Method),
            };
            let bytes = message(message_type, &[]);
            assert_eq!(
                Binding::parse(&bytes).map(|binding| binding.class),
                expected
            );
        }
    }

    #[test]
    fn a_message_without_the_magic_cookie_is_refused() {
        for bit in 0..32 {
            let mut bytes = REQUEST.to_vec();
            bytes[4 + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Binding::parse(&bytes), Err(StunError::Cookie));
        }
    }

    #[test]
    fn garbage_never_panics() {
        let mut noise = Noise(5769);
        for round in 0..300_000 {
            let mut bytes = match round % 3 {
                0 => {
                    let length = noise.below(200);
                    noise.bytes(length)
                }
                sample => noise.damaged(SAMPLES[sample]),
            };
            // Half of them reach the attributes.
            if round % 2 == 0 && bytes.len() >= HEADER_LEN {
                bytes[..2].copy_from_slice(&[0, 1]);
                bytes[4..8].copy_from_slice(&MAGIC_COOKIE);
                set_length(&mut bytes);
            }
            if let Ok(binding) = Binding::parse(&bytes) {
                assert!(
                    binding
                        .username
                        .is_none_or(|username| username.len() <= MAX_USERNAME)
                );
                let _ = binding.server_ufrag();
            }
        }
    }
}
