//! Invariant: whatever arrives at a shard with a session in it, from whomever and whenever, nothing
//! panics; an address that has not answered a check gets at most three times what it sent; the
//! session ends once, with its last event; and then nothing of it is left.
//!
//! Input: steps of a call, each of two bytes and, for some, bytes of their own. A real client takes
//! part, so that mutation starts behind the message integrity, the handshake and the encryption,
//! which no fuzzer guesses its way through.

#![no_main]

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use firsthop_engine::packet::OpusPacket;
use firsthop_engine::playout::Encoding;
use firsthop_engine::session::{Session, SessionConfig};
use firsthop_engine::shard::{Command, Now, Output, RelayLink, Shard};
use firsthop_engine::sound::{AudioFormat, Sound};
use firsthop_engine::{CloseReason, Counters, Event, SessionId};
use firsthop_wire::hop::{HopSecrets, SECRET_LEN};
use firsthop_wire::stun::{Binding, Class};
use libfuzzer_sys::fuzz_target;
use str0m::change::SdpAnswer;
use str0m::config::{DtlsCert, DtlsVersion};
use str0m::crypto::from_feature_flags;
use str0m::ice::IceCreds;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpWrite, SeqNo};
use str0m::{Candidate, Input, Rtc, RtcConfig};

const SESSION: SessionId = SessionId(1);

static CERTIFICATES: LazyLock<[DtlsCert; 2]> = LazyLock::new(|| {
    let provider = from_feature_flags();
    let certificates = [(); 2].map(|()| {
        let certificate = provider.dtls_provider.generate_certificate();
        certificate.expect("P-256 is always there")
    });
    provider.install_process_default();
    certificates
});

fn server() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 3478))
}

fn client() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(198, 51, 100, 20), 40_000))
}

const PCM: Sound = Sound::Pcm(AudioFormat {
    rate: 16_000,
    frame: Duration::from_millis(20),
    encoding: Encoding {
        bitrate: 24_000,
        complexity: 0,
    },
});
const OPUS: Sound = Sound::Opus {
    batch: Duration::from_millis(20),
};

struct Call {
    now: Instant,
    start: Instant,
    shard: Shard,
    rtc: Rtc,
    offer: String,
    mid: Mid,
    sequence: SeqNo,
    to_server: VecDeque<Vec<u8>>,
    to_client: VecDeque<Vec<u8>>,
    /// Bytes sent and got, and whether a check was answered.
    ledgers: HashMap<SocketAddr, (usize, usize, bool)>,
    closed: Option<CloseReason>,
}

impl Call {
    fn new(version: DtlsVersion, sound: Sound) -> Self {
        let [own, peer] = CERTIFICATES.clone();
        let now = Instant::now();
        let mut rtc = RtcConfig::new()
            .set_rtp_mode(true)
            .set_dtls_cert(peer)
            .set_dtls_version(version)
            .build(now);
        let candidate = Candidate::host(client(), "udp").expect("a unicast address");
        rtc.add_local_candidate(candidate);
        let mut change = rtc.sdp_api();
        let mid = change.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        change.add_channel("oai-events".to_owned());
        let (offer, pending) = change.apply().expect("there is something to offer");
        let config = SessionConfig {
            id: SESSION,
            credentials: IceCreds {
                ufrag: "K7bB2vXq0dJ8mN4sT6wY1zA3cE5gI9oU".to_owned(),
                pass: "abcdefghijklmnopqrstuvwxyz".to_owned(),
            },
            advertised: &[server()],
            advertised_tcp: &[],
            certificate: own,
            channel: None,
            sound,
        };
        let offer = offer.to_sdp_string();
        let (session, answer) = Session::accept(now, &offer, config).expect("a real offer");
        let answer = SdpAnswer::from_sdp_string(&answer).expect("a real answer");
        rtc.sdp_api()
            .accept_answer(pending, answer)
            .expect("it fits the offer");
        let mut secrets = HopSecrets::default();
        secrets.insert(0, &[1; SECRET_LEN]);
        let counters = Arc::new(Counters::default());
        counters
            .sessions
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut call = Self {
            now,
            start: now,
            shard: Shard::new(RelayLink::new(&secrets, 0, server()), true, counters),
            rtc,
            offer,
            mid,
            sequence: 1.into(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            ledgers: HashMap::new(),
            closed: None,
        };
        call.command(Command::Add(Box::new(session)));
        call
    }

    fn clock(&self) -> Now {
        Now {
            instant: self.now,
            unix_seconds: 1_800_000_000 + (self.now - self.start).as_secs(),
        }
    }

    /// The offer of before, with bytes in place of some of it.
    fn renegotiate(&mut self, bytes: &[u8]) {
        let mut offer = self.offer.clone().into_bytes();
        if let [high, low, with @ ..] = bytes {
            let at = usize::from(u16::from_be_bytes([*high, *low])) % offer.len();
            let end = offer.len().min(at + with.len());
            offer.splice(at..end, with.iter().copied());
        }
        self.command(Command::Renegotiate {
            session: SESSION,
            offer: String::from_utf8_lossy(&offer).into_owned(),
            credentials: IceCreds {
                ufrag: "8mN4sT6wY1zA3cE5gI9oUK7bB2vXq0dJ".to_owned(),
                pass: "zyxwvutsrqponmlkjihgfedcba".to_owned(),
            },
        });
    }

    fn command(&mut self, command: Command) {
        let mut output = Output::default();
        self.shard
            .handle_command(self.clock(), command, &mut output);
        self.take(output);
    }

    fn receive(&mut self, from: SocketAddr, bytes: &[u8]) {
        let ledger = self.ledgers.entry(from).or_default();
        ledger.0 += bytes.len();
        ledger.2 |=
            Binding::parse(bytes).is_ok_and(|binding| binding.class == Class::BindingSuccess);
        let mut output = Output::default();
        self.shard.receive(self.clock(), from, bytes, &mut output);
        self.take(output);
    }

    fn take(&mut self, output: Output) {
        for event in output.events {
            assert_eq!(self.closed, None, "{event:?} after the end");
            if let Event::Closed { session, reason } = event {
                assert_eq!(session, SESSION);
                assert_ne!(reason, CloseReason::InternalError);
                self.closed = Some(reason);
            }
        }
        for packet in output.packets {
            let (sent, got, answered) = self.ledgers.entry(packet.to).or_default();
            *got += packet.contents.len();
            assert!(*answered || *got <= 3 * *sent, "{} got {got}", packet.to);
            if packet.to == client() {
                self.to_client.push_back(packet.contents);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.shard.deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            let mut output = Output::default();
            self.shard.handle_timeout(self.clock(), &mut output);
            self.take(output);
        }
        self.now = end;
        let _ = self.rtc.handle_input(Input::Timeout(end));
        self.drain();
    }

    fn drain(&mut self) {
        // The client may give up for what it is fed; then it is silent.
        while let Ok(output) = self.rtc.poll_output() {
            match output {
                str0m::Output::Transmit(transmit) => {
                    self.to_server.push_back(transmit.contents.to_vec());
                }
                str0m::Output::Event(_) => {}
                str0m::Output::Timeout(_) => return,
            }
        }
        self.rtc.disconnect();
    }

    /// The next packet for the client arrives.
    fn deliver_down(&mut self) {
        if let Some(bytes) = self.to_client.pop_front()
            && let Ok(receive) = Receive::new(Protocol::Udp, server(), client(), &bytes)
        {
            let _ = self.rtc.handle_input(Input::Receive(self.now, receive));
            self.drain();
        }
    }

    fn speak(&mut self, time: u8, payload: &[u8]) {
        let Some(media) = self.rtc.media(self.mid) else {
            return;
        };
        let Some(&payload_type) = media.remote_pts().first() else {
            return;
        };
        let sequence = self.sequence.inc();
        let rtp_time = u32::from(time) * 480;
        let write = RtpWrite::new(payload_type, sequence, rtp_time, self.now, payload.to_vec());
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(self.mid, None) {
            stream.write_rtp(write);
        }
        let _ = self.rtc.handle_input(Input::Timeout(self.now));
        self.drain();
    }

    fn step(&mut self, what: u8, how: u8, bytes: &[u8]) {
        let stranger = SocketAddr::from((Ipv4Addr::new(203, 0, 113, how & 3), 1000));
        let from = if how & 4 == 0 { client() } else { stranger };
        match what % 12 {
            // As it should be: all that is on its way arrives.
            0 => {
                for _ in 0..=how % 32 {
                    while let Some(packet) = self.to_server.pop_front() {
                        self.receive(client(), &packet);
                    }
                    while !self.to_client.is_empty() {
                        self.deliver_down();
                    }
                    self.pass(Duration::from_millis(5));
                }
            }
            1 => {
                if let Some(packet) = self.to_server.pop_front() {
                    self.receive(from, &packet);
                }
            }
            2 => self.deliver_down(),
            3 => drop(self.to_server.pop_front()),
            4 => drop(self.to_client.pop_front()),
            // Another order.
            5 => {
                self.to_server
                    .rotate_left(usize::from(how) % self.to_server.len().max(1));
            }
            // Damage.
            6 => {
                if let Some(mut packet) = self.to_server.pop_front() {
                    let at = usize::from(how) * 5 % packet.len().max(1);
                    for (byte, flip) in packet[at..].iter_mut().zip(bytes) {
                        *byte ^= flip;
                    }
                    self.receive(client(), &packet);
                }
            }
            7 => {
                // Copied, and cut.
                if let Some(packet) = self.to_server.front().cloned() {
                    let end = packet.len().min(usize::from(how) * 5);
                    self.receive(from, &packet[..end]);
                }
            }
            8 => self.receive(from, bytes),
            9 => self.speak(how, bytes),
            10 => self.pass(Duration::from_millis(u64::from(how) * u64::from(how))),
            _ => match how % 4 {
                // In the form that is not the session's, too.
                0 if how & 0x40 != 0 => self.command(Command::PlayOpus {
                    session: SESSION,
                    utterance: u64::from(how >> 2 & 3),
                    packets: OpusPacket::new(bytes).into_iter().collect(),
                    complete: how & 0x80 != 0,
                }),
                0 => self.command(Command::Play {
                    session: SESSION,
                    utterance: u64::from(how >> 2 & 3),
                    pcm: vec![1000; 320 * bytes.len()],
                    complete: how & 0x80 != 0,
                }),
                1 if how & 0x40 != 0 => self.command(Command::Mirror {
                    session: SESSION,
                    utterance: u64::from(how >> 2 & 3),
                }),
                1 => self.command(Command::Flush(SESSION)),
                2 if how & 0x40 != 0 => self.renegotiate(bytes),
                2 => self.command(Command::Send(
                    SESSION,
                    String::from_utf8_lossy(bytes).into_owned(),
                )),
                _ => self.command(Command::Close(SESSION)),
            },
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, mut rest)) = input.split_first() else {
        return;
    };
    let versions = [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto];
    let sound = if first < 128 { PCM } else { OPUS };
    let mut call = Call::new(versions[usize::from(first) % 3], sound);
    for _ in 0..100 {
        let [what, how, tail @ ..] = rest else {
            break;
        };
        // Steps that take bytes have a length in front of them.
        let takes = matches!(what % 12, 6 | 8 | 9 | 11);
        let (bytes, next) = match tail.split_first() {
            Some((&length, tail)) if takes => tail.split_at(tail.len().min(usize::from(length))),
            _ => (&[][..], tail),
        };
        rest = next;
        call.step(*what, *how, bytes);
    }
    // The client is gone: so is the session, after a while.
    call.rtc.disconnect();
    for _ in 0..90 {
        call.pass(Duration::from_secs(1));
    }
    assert!(call.closed.is_some());
    assert_eq!(call.shard.remembered(), [0; 4]);
    assert_eq!(call.shard.deadline(), None);
});
