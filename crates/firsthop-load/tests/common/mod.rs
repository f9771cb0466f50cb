//! A caller and a server on a stepped clock: the server is a plain str0m peer that echoes audio
//! and messages, and the link between them loses, repeats and reorders what the test says.

#![allow(dead_code, reason = "every test file uses its own part of it")]

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use firsthop_load::caller::{Caller, CallerConfig, Offer, Outbox};
use firsthop_load::codec::{self, Encoding};
use firsthop_load::ear::Ear;
use firsthop_load::sound::Sound;
use firsthop_load::talk::{Beginning, Talk};
use str0m::change::SdpOffer;
use str0m::channel::ChannelId;
use str0m::config::DtlsCert;
use str0m::crypto::from_feature_flags;
use str0m::media::{Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpWrite, SeqNo};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

pub(crate) const STEP: Duration = Duration::from_millis(1);
/// One way.
pub(crate) const DELAY: Duration = Duration::from_millis(5);
pub(crate) const RATE: u32 = 16_000;

static CERTIFICATE: LazyLock<DtlsCert> = LazyLock::new(|| {
    let provider = from_feature_flags();
    let certificate = provider.dtls_provider.generate_certificate().unwrap();
    provider.install_process_default();
    certificate
});

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn caller_address() -> SocketAddr {
    "192.0.2.10:40000".parse().unwrap()
}

pub(crate) fn server_address() -> SocketAddr {
    "198.51.100.1:3478".parse().unwrap()
}

/// `ms` of a tone at `hertz`.
pub(crate) fn tone(ms: u32, hertz: f64, amplitude: f64) -> Vec<i16> {
    (0..RATE * ms / 1000)
        .map(|n| {
            let turn = f64::from(n) / f64::from(RATE) * hertz * std::f64::consts::TAU;
            (turn.sin() * amplitude * 32_767.0) as i16
        })
        .collect()
}

pub(crate) fn packets(pcm: &[i16], packet_ms: u32) -> Vec<Vec<u8>> {
    let encoding = Encoding {
        rate: RATE,
        channels: 1,
        bitrate: 24_000,
        complexity: 5,
        packet_ms,
        fec: false,
        loss_percent: 0,
    };
    codec::encode(pcm, encoding).unwrap()
}

/// A second with a mark in its packet 20, and something like speech after it.
pub(crate) fn marked() -> Sound {
    let pcm = [
        tone(400, 0.0, 0.0),
        tone(60, 1500.0, 0.5),
        tone(240, 0.0, 0.0),
        tone(300, 420.0, 0.3),
    ];
    let packets = packets(&pcm.concat(), 20);
    Sound::new(packets.iter().map(Vec::as_slice), &[20]).unwrap()
}

/// What a link does to one packet: the delays of its copies, beyond [`DELAY`].
pub(crate) type Fate = Vec<Duration>;

pub(crate) fn passes() -> Fate {
    vec![Duration::ZERO]
}

pub(crate) fn lost() -> Fate {
    Vec::new()
}

type Judge = Box<dyn FnMut(&[u8]) -> Fate>;

struct Flight {
    at: Instant,
    up: bool,
    bytes: Vec<u8>,
}

pub(crate) struct Config {
    pub(crate) talks: bool,
    pub(crate) listens: bool,
    /// Which end of DTLS the server is.
    pub(crate) server_is_active: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            talks: true,
            listens: false,
            server_is_active: false,
        }
    }
}

pub(crate) struct Call {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) caller: Caller,
    pub(crate) server: Rtc,
    pub(crate) answer: String,
    pub(crate) out: Outbox,
    pub(crate) up: Judge,
    pub(crate) down: Judge,
    /// Audio packets that the server got: sequence number, RTP time, marker.
    pub(crate) heard: Vec<(u64, u64, bool)>,
    pub(crate) messages: Vec<String>,
    pub(crate) server_closed: bool,
    /// The server echoes nothing.
    pub(crate) mute: bool,
    /// How often the caller was woken.
    pub(crate) wakes: u64,
    flights: Vec<Flight>,
    server_deadline: Instant,
    mid: Option<(Mid, Pt)>,
    sequence: SeqNo,
    channel: Option<ChannelId>,
}

pub(crate) fn offer(now: Instant, config: &Config) -> (Offer, String) {
    let beginning = Beginning {
        packet: 0,
        phase: 0.0,
        epoch: now,
    };
    let caller = CallerConfig {
        local: caller_address(),
        certificate: CERTIFICATE.clone(),
        channel: Some("oai-events".to_owned()),
        wanted: Some(Arc::from("handover")),
        talk: config
            .talks
            .then(|| Talk::new(Arc::new(marked()), beginning)),
        ear: config.listens.then(|| Ear::new().unwrap()),
    };
    Offer::new(now, caller).unwrap()
}

impl Call {
    pub(crate) fn new(config: &Config) -> Self {
        let now = Instant::now();
        let (waiting, offer) = offer(now, config);
        let offer = match config.server_is_active {
            true => offer.replace("a=setup:actpass", "a=setup:passive"),
            false => offer,
        };
        let mut server = RtcConfig::new().set_rtp_mode(true).build(now);
        server.add_local_candidate(Candidate::host(server_address(), "udp").unwrap());
        let offer = SdpOffer::from_sdp_string(&offer).unwrap();
        let answer = server.sdp_api().accept_offer(offer).unwrap();
        let answer = answer.to_sdp_string();
        let (caller, candidates) = waiting.answer(now, &answer).unwrap();
        assert_eq!(candidates, [server_address()]);
        Self {
            start: now,
            now,
            caller,
            server,
            answer,
            out: Outbox::default(),
            up: Box::new(|_| passes()),
            down: Box::new(|_| passes()),
            heard: Vec::new(),
            messages: Vec::new(),
            server_closed: false,
            mute: false,
            wakes: 0,
            flights: Vec::new(),
            server_deadline: now,
            mid: None,
            sequence: 1.into(),
            channel: None,
        }
    }

    /// A call that is connected, with an open channel.
    pub(crate) fn connected(config: &Config) -> Self {
        let mut call = Self::new(config);
        let done = |call: &Self| {
            let stages = call.caller.report().stages;
            stages.connected.is_some() && stages.channel.is_some()
        };
        assert!(call.run_until(ms(5000), done), "{:?}", call.caller.report());
        call
    }

    pub(crate) fn run(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) {
            if self.now >= end {
                return false;
            }
            self.step();
        }
        true
    }

    pub(crate) fn hang_up(&mut self) {
        self.caller.hang_up(self.now, &mut self.out);
        self.post();
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.caller.send(self.now, text.to_owned(), &mut self.out);
        self.post();
    }

    /// Lets the server close.
    pub(crate) fn close_server(&mut self) {
        self.server.close().unwrap();
        self.drain_server();
    }

    /// Passes time for the caller alone, in one go.
    pub(crate) fn oversleep(&mut self, duration: Duration) {
        self.now += duration;
    }

    fn step(&mut self) {
        self.now += STEP;
        let now = self.now;
        let (due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.flights)
            .into_iter()
            .partition(|flight| flight.at <= now);
        self.flights = rest;
        for Flight { up, bytes, .. } in due {
            if up {
                let (from, to) = (caller_address(), server_address());
                if let Ok(receive) = Receive::new(Protocol::Udp, from, to, &bytes) {
                    self.server
                        .handle_input(Input::Receive(now, receive))
                        .unwrap();
                }
                self.drain_server();
            } else {
                self.caller
                    .receive(now, now, server_address(), &bytes, &mut self.out);
                self.post();
            }
        }
        if self.server_deadline <= now {
            self.server.handle_input(Input::Timeout(now)).unwrap();
            self.drain_server();
        }
        if self.caller.deadline().is_some_and(|due| due <= now) {
            self.wakes += 1;
            self.caller.handle_timeout(now, &mut self.out);
            self.post();
        }
    }

    fn post(&mut self) {
        for (to, contents) in std::mem::take(&mut self.out.packets) {
            assert_eq!(to, server_address());
            let fate = (self.up)(&contents);
            self.fly(true, &contents, fate);
        }
    }

    fn fly(&mut self, up: bool, bytes: &[u8], fate: Fate) {
        for extra in fate {
            self.flights.push(Flight {
                at: self.now + DELAY + extra,
                up,
                bytes: bytes.to_vec(),
            });
        }
    }

    fn drain_server(&mut self) {
        loop {
            match self.server.poll_output().unwrap() {
                Output::Timeout(at) => {
                    self.server_deadline = at.max(self.now + STEP);
                    return;
                }
                Output::Transmit(transmit) => {
                    let contents = transmit.contents.to_vec();
                    let fate = (self.down)(&contents);
                    self.fly(false, &contents, fate);
                }
                Output::Event(event) => self.serve(event),
            }
        }
    }

    fn serve(&mut self, event: Event) {
        match event {
            Event::MediaAdded(media) => {
                let pts = self.server.media(media.mid).unwrap().remote_pts().to_vec();
                self.mid = Some((media.mid, pts[0]));
            }
            Event::ChannelOpen(id, _) => self.channel = Some(id),
            Event::ChannelData(data) => {
                let text = String::from_utf8(data.data).unwrap();
                let mut channel = self.server.channel(data.id).unwrap();
                channel.write(false, text.as_bytes()).unwrap();
                self.messages.push(text);
            }
            Event::Closed => self.server_closed = true,
            Event::RtpPacket(packet) => {
                let time = packet.time.numer();
                self.heard
                    .push((*packet.seq_no, time, packet.header.marker));
                let (mid, pt) = self.mid.unwrap();
                if !self.mute {
                    let sequence = self.sequence.inc();
                    let write = RtpWrite::new(pt, sequence, time as u32, self.now, packet.payload);
                    let mut direct = self.server.direct_api();
                    direct.stream_tx_by_mid(mid, None).unwrap().write_rtp(write);
                    self.server.handle_input(Input::Timeout(self.now)).unwrap();
                }
            }
            _ => {}
        }
    }
}

/// The sequence number of an RTP packet; None for anything else.
pub(crate) fn sequence(packet: &[u8]) -> Option<u16> {
    let is_rtp = packet[0] >> 6 == 2 && !(64..96).contains(&(packet[1] & 0x7F));
    is_rtp.then(|| u16::from_be_bytes([packet[2], packet[3]]))
}

/// A record of DTLS (RFC 9443 §2).
pub(crate) fn is_dtls(packet: &[u8]) -> bool {
    (20..64).contains(&packet[0])
}
