//! Invariant: any text gives a session and an answer or an error, never a panic, and in time. An
//! answer carries our credentials and our address, and nothing that the offer says of addresses.

#![no_main]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use firsthop_engine::SessionId;
use firsthop_engine::offer;
use firsthop_engine::playout::Encoding;
use firsthop_engine::session::{AcceptError, Session, SessionConfig};
use firsthop_engine::sound::{AudioFormat, Sound};
use libfuzzer_sys::fuzz_target;
use str0m::config::DtlsCert;
use str0m::crypto::from_feature_flags;
use str0m::ice::IceCreds;

const UFRAG: &str = "K7bB2vXq0dJ8mN4sT6wY1zA3cE5gI9oU";
/// Far above what an offer of 32 KiB takes, sanitizer and a busy machine included.
const TIME: Duration = Duration::from_millis(500);

static CERTIFICATE: LazyLock<DtlsCert> = LazyLock::new(|| {
    let provider = from_feature_flags();
    let certificate = provider
        .dtls_provider
        .generate_certificate()
        .expect("P-256 is always there");
    provider.install_process_default();
    certificate
});

fuzz_target!(|text: &str| {
    let certificate = CERTIFICATE.clone();
    let advertised = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 3478));
    let start = Instant::now();
    let accepted = Session::accept(
        start,
        text,
        SessionConfig {
            id: SessionId(1),
            credentials: IceCreds {
                ufrag: UFRAG.to_owned(),
                pass: "abcdefghijklmnopqrstuvwxyz".to_owned(),
            },
            advertised: &[advertised],
            advertised_tcp: &[],
            certificate,
            channel: None,
            sound: Sound::Pcm(AudioFormat {
                rate: 16_000,
                frame: Duration::from_millis(20),
                encoding: Encoding {
                    bitrate: 24_000,
                    complexity: 0,
                },
            }),
        },
    );
    assert!(start.elapsed() < TIME, "{:?}", start.elapsed());
    match accepted {
        Ok((_, answer)) => {
            assert!(offer::check(text).is_ok());
            assert!(answer.contains(&format!("a=ice-ufrag:{UFRAG}\r\n")));
            for line in answer.lines().filter(|line| line.contains("candidate:")) {
                assert!(line.contains(" 192.0.2.1 3478 "), "{line}");
            }
        }
        Err(AcceptError::Offer(error)) => {
            assert!(error.line.is_none_or(|line| line <= text.lines().count()));
            assert!(!error.message.is_empty());
        }
        Err(AcceptError::Internal(message)) => panic!("{message}"),
    }
});
