//! Checks an SDP offer before the WebRTC stack sees it.
//!
//! Bounds first (a parser must not be handed a bomb), then the few things without which a session
//! cannot work, each error with the line it is about. Remote candidates are taken out: the client
//! finds us, we learn its addresses from its checks (peer-reflexive, RFC 8445 §7.3.1.3).

use std::fmt;

use crate::codec::Codec;

/// Largest offer, in bytes. Chromium's for audio and a data channel is about 1.9 KB.
pub const MAX_BYTES: usize = 32 * 1024;
const MAX_MEDIA_LINES: usize = 4;
const MAX_FINGERPRINTS: usize = 8;
const MAX_CANDIDATES: usize = 64;
/// RFC 8839 §5.4 lets an agent send no more, and STUN's USERNAME has to hold both halves.
const MAX_UFRAG: usize = 32;
/// The grammar of RFC 8839 §5.4.
const MAX_PASSWORD: usize = 256;

/// Why an offer is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferError {
    /// The line that is wrong, counted from 1; `None` when something is missing altogether.
    pub line: Option<usize>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for OfferError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "line {line}: {}", self.message),
            None => formatter.write_str(&self.message),
        }
    }
}

impl std::error::Error for OfferError {}

impl OfferError {
    /// The call that it is for has ended meanwhile.
    pub(crate) fn over() -> Self {
        missing("the call is over")
    }
}

fn at(line: usize, message: impl Into<String>) -> OfferError {
    OfferError {
        line: Some(line),
        message: message.into(),
    }
}

fn missing(message: &str) -> OfferError {
    OfferError {
        line: None,
        message: message.to_owned(),
    }
}

/// An offer that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// As the WebRTC stack should see it: CRLF line ends, no candidates.
    pub sdp: String,
    /// The codecs of the first audio m-line that we speak, as the client prefers them; at least one.
    pub codecs: Vec<Codec>,
}

/// Checks `offer`.
///
/// # Errors
/// [`OfferError`] with the line and the way out.
pub fn check(offer: &str) -> Result<Checked, OfferError> {
    if offer.len() > MAX_BYTES {
        let message = format!(
            "the offer has {} bytes; at most {MAX_BYTES} are read",
            offer.len()
        );
        return Err(missing(&message));
    }
    if offer.trim().is_empty() {
        return Err(missing("the offer is empty; send the SDP of createOffer()"));
    }
    let mut checked = String::with_capacity(offer.len() + 64);
    let mut seen = Seen::default();
    for (index, line) in offer.lines().enumerate() {
        let number = index + 1;
        if line.is_empty() {
            continue;
        }
        if seen.check(number, line)? {
            checked.push_str(line);
            checked.push_str("\r\n");
        }
    }
    seen.finish()?;
    Ok(Checked {
        sdp: checked,
        codecs: seen.codecs(),
    })
}

#[derive(Default)]
struct Seen {
    lines: usize,
    media: usize,
    /// The payload types of the first audio m-line, in its order.
    audio: Option<Vec<String>>,
    in_audio: bool,
    /// Payload types of that line and what stands for them.
    codecs: Vec<(String, Codec)>,
    ufrag: bool,
    password: bool,
    fingerprints: usize,
    candidates: usize,
}

impl Seen {
    /// Whether the line is to be kept.
    fn check(&mut self, number: usize, line: &str) -> Result<bool, OfferError> {
        let Some((kind, value)) = line.split_once('=').filter(|(kind, _)| kind.len() == 1) else {
            return Err(at(
                number,
                format!("expected 'x=value', found {:?}", shorten(line)),
            ));
        };
        self.lines += 1;
        if self.lines == 1 && line != "v=0" {
            return Err(at(
                number,
                format!("expected 'v=0' first, found {:?}", shorten(line)),
            ));
        }
        match kind {
            "m" => self.check_media(number, value)?,
            "a" => return self.check_attribute(number, value),
            _ => {}
        }
        Ok(true)
    }

    fn check_media(&mut self, number: usize, value: &str) -> Result<(), OfferError> {
        self.media += 1;
        if self.media > MAX_MEDIA_LINES {
            return Err(at(number, format!("more than {MAX_MEDIA_LINES} m-lines")));
        }
        let mut parts = value.split(' ');
        let (media, port, protocol) = (parts.next(), parts.next(), parts.next());
        self.in_audio = false;
        let known = match media {
            Some("audio") => {
                self.in_audio = self.audio.is_none();
                self.audio
                    .get_or_insert_with(|| parts.map(str::to_owned).collect());
                matches!(protocol, Some("UDP/TLS/RTP/SAVPF"))
            }
            Some("video") => matches!(protocol, Some("UDP/TLS/RTP/SAVPF")),
            Some("application") => matches!(protocol, Some("UDP/DTLS/SCTP" | "DTLS/SCTP")),
            _ => false,
        };
        if !known || port.is_none_or(|port| port.parse::<u16>().is_err()) {
            let expected = "'audio|video <port> UDP/TLS/RTP/SAVPF …' or \
                            'application <port> UDP/DTLS/SCTP webrtc-datachannel'";
            let found = shorten(value);
            return Err(at(
                number,
                format!("expected m={expected}, found {found:?}"),
            ));
        }
        Ok(())
    }

    fn check_attribute(&mut self, number: usize, value: &str) -> Result<bool, OfferError> {
        let (name, value) = value.split_once(':').unwrap_or((value, ""));
        match name {
            "ice-ufrag" => {
                self.ufrag = true;
                check_ice_chars(number, name, value, 4..=MAX_UFRAG)?;
            }
            "ice-pwd" => {
                self.password = true;
                check_ice_chars(number, name, value, 22..=MAX_PASSWORD)?;
            }
            "fingerprint" => {
                self.fingerprints += 1;
                if self.fingerprints > MAX_FINGERPRINTS {
                    return Err(at(
                        number,
                        format!("more than {MAX_FINGERPRINTS} fingerprints"),
                    ));
                }
                check_fingerprint(number, value)?;
            }
            "candidate" | "end-of-candidates" => {
                self.candidates += 1;
                if self.candidates > MAX_CANDIDATES {
                    return Err(at(number, format!("more than {MAX_CANDIDATES} candidates")));
                }
                return Ok(false);
            }
            "rtpmap" if self.in_audio => {
                if let Some((payload_type, name)) = value.split_once(' ')
                    && let Some(codec) = codec_of(name)
                {
                    self.codecs.push((payload_type.to_owned(), codec));
                }
            }
            "setup" if !matches!(value, "actpass" | "active" | "passive") => {
                let message = format!("expected a=setup:actpass, found {:?}", shorten(value));
                return Err(at(number, message));
            }
            _ => {}
        }
        Ok(true)
    }

    fn codecs(&self) -> Vec<Codec> {
        let mut codecs = Vec::new();
        for payload_type in self.audio.iter().flatten() {
            let mapped = self
                .codecs
                .iter()
                .find(|(mapped, _)| mapped == payload_type);
            let codec = match (mapped, payload_type.as_str()) {
                (Some(&(_, codec)), _) => Some(codec),
                // These need no a=rtpmap (RFC 3551 §6).
                (None, "0") => Some(Codec::Pcmu),
                (None, "8") => Some(Codec::Pcma),
                _ => None,
            };
            codecs.extend(codec.filter(|codec| !codecs.contains(codec)));
        }
        codecs
    }

    fn finish(&self) -> Result<(), OfferError> {
        if self.audio.is_none() {
            return Err(missing(
                "no m=audio line; add an audio track before createOffer()",
            ));
        }
        if self.codecs().is_empty() {
            return Err(missing(
                "no codec on the m=audio line that is spoken here: Opus, PCMU or PCMA",
            ));
        }
        if !self.ufrag || !self.password {
            return Err(missing(
                "no a=ice-ufrag and a=ice-pwd; ICE cannot start without them",
            ));
        }
        if self.fingerprints == 0 {
            return Err(missing(
                "no a=fingerprint; DTLS cannot be authenticated without one",
            ));
        }
        Ok(())
    }
}

fn codec_of(name: &str) -> Option<Codec> {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name {
        _ if is("opus/48000/2") => Some(Codec::Opus),
        _ if is("PCMU/8000") || is("PCMU/8000/1") => Some(Codec::Pcmu),
        _ if is("PCMA/8000") || is("PCMA/8000/1") => Some(Codec::Pcma),
        _ => None,
    }
}

fn check_ice_chars(
    number: usize,
    name: &str,
    value: &str,
    length: std::ops::RangeInclusive<usize>,
) -> Result<(), OfferError> {
    // '-' and '_' are no ice-chars of RFC 8839, yet some clients send them; they do no harm.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+/-_".contains(c);
    if length.contains(&value.len()) && value.chars().all(allowed) {
        return Ok(());
    }
    let (min, max) = (length.start(), length.end());
    Err(at(
        number,
        format!("a={name} takes {min} to {max} of A-Z a-z 0-9 + /"),
    ))
}

fn check_fingerprint(number: usize, value: &str) -> Result<(), OfferError> {
    let pairs_of_hex = |digest: &str| {
        digest
            .split(':')
            .all(|pair| pair.len() == 2 && u8::from_str_radix(pair, 16).is_ok())
    };
    match value.split_once(' ') {
        Some((hash, digest)) if !hash.is_empty() && pairs_of_hex(digest) => Ok(()),
        _ => Err(at(number, "expected a=fingerprint:sha-256 AB:CD:…")),
    }
}

/// Enough of a bad line to recognise it, never all of it.
fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> String {
        [
            "v=0",
            "o=- 1 2 IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111",
            "a=candidate:1 1 udp 1 192.0.2.1 9 typ host",
            "a=ice-ufrag:abcd",
            "a=ice-pwd:abcdefghijklmnopqrstuv",
            "a=fingerprint:sha-256 AB:CD",
            "a=setup:actpass",
            "a=rtpmap:111 opus/48000/2",
        ]
        .join("\n")
    }

    #[test]
    fn candidates_are_taken_out_and_line_ends_made_crlf() {
        let checked = check(&offer()).unwrap().sdp;
        assert!(!checked.contains("candidate"));
        assert_eq!(checked.lines().count(), 10);
        assert!(checked.lines().count() == checked.matches("\r\n").count());
    }

    #[test]
    fn each_error_names_its_line() {
        for (good, bad, line) in [
            ("v=0", "v=1", Some(1)),
            ("s=-", "nonsense", Some(3)),
            (
                "m=audio 9 UDP/TLS/RTP/SAVPF 111",
                "m=audio x UDP/TLS/RTP/SAVPF 111",
                Some(5),
            ),
            (
                "m=audio 9 UDP/TLS/RTP/SAVPF 111",
                "m=text 9 RTP/AVP 111",
                Some(5),
            ),
            ("a=ice-ufrag:abcd", "a=ice-ufrag:abc", Some(7)),
            (
                "a=ice-ufrag:abcd",
                &format!("a=ice-ufrag:{}", "x".repeat(33)),
                Some(7),
            ),
            (
                "a=ice-pwd:abcdefghijklmnopqrstuv",
                "a=ice-pwd:short",
                Some(8),
            ),
            (
                "a=fingerprint:sha-256 AB:CD",
                "a=fingerprint:sha-256 XY",
                Some(9),
            ),
            ("a=setup:actpass", "a=setup:holdconn", Some(10)),
            ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 G722/8000", None),
            ("a=ice-ufrag:abcd\n", "", None),
            ("a=fingerprint:sha-256 AB:CD\n", "", None),
        ] {
            let offer = offer().replace(good, bad);
            assert_eq!(check(&offer).unwrap_err().line, line, "{bad:?}");
        }
    }

    #[test]
    fn codecs_are_told_in_the_clients_order() {
        let (opus, pcmu, pcma) = (Codec::Opus, Codec::Pcmu, Codec::Pcma);
        for (formats, codecs) in [
            ("111 0 8", vec![opus, pcmu, pcma]),
            ("8 9 111 110", vec![pcma, opus]),
            ("0", vec![pcmu]),
        ] {
            let offer = offer().replace("SAVPF 111", &format!("SAVPF {formats}"));
            assert_eq!(check(&offer).unwrap().codecs, codecs);
        }
        let renamed = offer().replace("SAVPF 111", "SAVPF 96 111") + "\na=rtpmap:96 PCMA/8000";
        assert_eq!(check(&renamed).unwrap().codecs, [pcma, opus]);
    }

    #[test]
    fn bombs_are_refused() {
        assert!(check(&"a=x\n".repeat(MAX_BYTES)).is_err());
        assert!(check(&(offer() + &"\nm=video 9 UDP/TLS/RTP/SAVPF 96".repeat(4))).is_err());
        assert!(check(&(offer() + &"\na=fingerprint:sha-256 AB".repeat(8))).is_err());
        assert!(check(&(offer() + &"\na=candidate:1".repeat(64))).is_err());
        assert!(check("").is_err());
    }
}
