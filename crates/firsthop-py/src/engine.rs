//! The engine as a Python class, and its events as Python values.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firsthop_engine::playout::Encoding;
use firsthop_engine::sound::{AudioFormat, Sound};
use firsthop_engine::{Candidates, DropReason, Engine, EngineConfig, Event, SessionId};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMapping, PySequence, PyTuple};

use crate::convert::{hop_key_id, hop_secrets, keys, parse, pcm_bytes, samples, token_keys};
use crate::error::{engine_error, mailbox_full, os_error};
use crate::packet::{PyOpusPacket, packets};

/// What a shard reports; each variant is a class of its own for `match`.
#[pyclass(frozen, name = "Event", module = "firsthop._native")]
pub(crate) enum PyEvent {
    /// ICE and DTLS are done.
    Connected { session: u64 },
    /// The client opened a data channel.
    ChannelOpen { session: u64, label: String },
    /// One text message from the client.
    Message { session: u64, text: String },
    /// What the client said: PCM16LE, mono.
    Audio {
        session: u64,
        position: u64,
        pcm: Py<PyBytes>,
    },
    /// What the client said, as it came: `OpusPacket`s, in order.
    Opus { session: u64, packets: Py<PyTuple> },
    /// The first packet of an utterance left.
    PlayoutStarted { session: u64, utterance: u64 },
    /// An utterance is over.
    PlayoutEnded {
        session: u64,
        utterance: u64,
        played_ms: u64,
        interrupted: bool,
    },
    /// The client pressed a key.
    Digit { session: u64, digit: char },
    /// An offer in mid-call was answered, or refused: `answer` or `error` is None, and `line` of
    /// the offer too, if the error is about none.
    Renegotiated {
        session: u64,
        answer: Option<String>,
        error: Option<String>,
        line: Option<usize>,
    },
    /// The session is gone.
    Closed { session: u64, reason: String },
}

#[pymethods]
impl PyEvent {
    /// The session's number, whatever happened.
    #[getter]
    fn session(&self) -> u64 {
        match *self {
            Self::Connected { session }
            | Self::ChannelOpen { session, .. }
            | Self::Message { session, .. }
            | Self::Audio { session, .. }
            | Self::Opus { session, .. }
            | Self::PlayoutStarted { session, .. }
            | Self::PlayoutEnded { session, .. }
            | Self::Digit { session, .. }
            | Self::Renegotiated { session, .. }
            | Self::Closed { session, .. } => session,
        }
    }
}

impl PyEvent {
    fn new(py: Python<'_>, event: Event) -> PyResult<Self> {
        Ok(match event {
            Event::Connected { session } => Self::Connected { session: session.0 },
            Event::ChannelOpen { session, label } => Self::ChannelOpen {
                session: session.0,
                label,
            },
            Event::Message { session, text } => Self::Message {
                session: session.0,
                text,
            },
            Event::Audio {
                session,
                position,
                pcm,
            } => {
                let pcm = PyBytes::new(py, &pcm_bytes(&pcm)).unbind();
                Self::Audio {
                    session: session.0,
                    position,
                    pcm,
                }
            }
            Event::Opus { session, packets } => {
                let packets = packets.into_iter().map(PyOpusPacket::from);
                let packets = packets.collect::<Vec<_>>();
                Self::Opus {
                    session: session.0,
                    packets: PyTuple::new(py, packets)?.unbind(),
                }
            }
            Event::PlayoutStarted { session, utterance } => Self::PlayoutStarted {
                session: session.0,
                utterance,
            },
            Event::PlayoutEnded {
                session,
                utterance,
                played_ms,
                interrupted,
            } => Self::PlayoutEnded {
                session: session.0,
                utterance,
                played_ms,
                interrupted,
            },
            Event::Digit { session, digit } => Self::Digit {
                session: session.0,
                digit,
            },
            Event::Renegotiated { session, answer } => {
                let session = session.0;
                let (answer, error, line) = match answer {
                    Ok(answer) => (Some(answer), None, None),
                    Err(error) => (None, Some(error.message), error.line),
                };
                Self::Renegotiated {
                    session,
                    answer,
                    error,
                    line,
                }
            }
            Event::Closed { session, reason } => Self::Closed {
                session: session.0,
                reason: reason.as_str().to_owned(),
            },
        })
    }
}

/// Owns every WebRTC session of a transceiver.
#[pyclass(frozen, name = "Engine", module = "firsthop._native")]
pub(crate) struct PyEngine {
    /// Gone after `stop`.
    engine: Mutex<Option<Arc<Engine>>>,
}

impl PyEngine {
    fn running(&self) -> PyResult<Arc<Engine>> {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine
            .clone()
            .ok_or_else(|| PyRuntimeError::new_err("the engine is stopped"))
    }

    fn accept_sound(
        &self,
        py: Python<'_>,
        offer: &str,
        sound: Sound,
        channel: Option<u16>,
        advertised: Option<Vec<String>>,
        advertised_tcp: Option<Vec<String>>,
    ) -> PyResult<(u64, String)> {
        let engine = self.running()?;
        let udp = advertised.map(|udp| addresses("advertised", &udp));
        let tcp = advertised_tcp.map(|tcp| addresses("advertised_tcp", &tcp));
        let (udp, tcp) = (udp.transpose()?, tcp.transpose()?);
        let candidates = Candidates {
            udp: udp.as_deref(),
            tcp: tcp.as_deref(),
        };
        let (session, answer) = py
            .detach(|| engine.accept(offer, sound, channel, candidates))
            .map_err(engine_error)?;
        Ok((session.0, answer))
    }
}

fn addresses(name: &str, texts: &[String]) -> PyResult<Vec<SocketAddr>> {
    texts.iter().map(|text| parse(name, text)).collect()
}

#[pymethods]
impl PyEngine {
    #[new]
    #[pyo3(signature = (*, listen, shards, reachable_ip, advertised, advertised_tcp, direct, cluster,
                        token_keys, token_key_id, token_lifetime_seconds, hop_secrets, hop_key_id,
                        max_sessions))]
    #[allow(clippy::too_many_arguments)] // One per setting, all by keyword.
    fn new(
        py: Python<'_>,
        listen: &str,
        shards: u16,
        reachable_ip: Option<&str>,
        advertised: Vec<String>,
        advertised_tcp: Vec<String>,
        direct: bool,
        cluster: u16,
        token_keys: HashMap<u8, Vec<u8>>,
        token_key_id: u8,
        token_lifetime_seconds: u64,
        hop_secrets: HashMap<u8, Vec<u8>>,
        hop_key_id: u8,
        max_sessions: u64,
    ) -> PyResult<Self> {
        let config = EngineConfig {
            listen: parse("listen", listen)?,
            shards,
            reachable_ip: reachable_ip
                .map(|ip| parse("reachable_ip", ip))
                .transpose()?,
            advertised: addresses("advertised", &advertised)?,
            advertised_tcp: addresses("advertised_tcp", &advertised_tcp)?,
            direct,
            cluster,
            token_keys: self::token_keys(&token_keys)?,
            token_key_id,
            token_lifetime: Duration::from_secs(token_lifetime_seconds),
            hop_secrets: self::hop_secrets(&hop_secrets)?,
            hop_key_id: self::hop_key_id("hop_key_id", hop_key_id)?,
            max_sessions,
        };
        let engine = py
            .detach(|| Engine::start(config))
            .map_err(|error| os_error(py, error))?;
        Ok(Self {
            engine: Mutex::new(Some(Arc::new(engine))),
        })
    }

    /// Accepts an offer: (session, answer).
    #[pyo3(signature = (offer, *, sample_rate, frame_ms, bitrate, complexity, channel=None,
                        advertised=None, advertised_tcp=None))]
    #[allow(clippy::too_many_arguments)] // One per value, all by keyword.
    fn accept(
        &self,
        py: Python<'_>,
        offer: &str,
        sample_rate: u32,
        frame_ms: u64,
        bitrate: i32,
        complexity: i32,
        channel: Option<u16>,
        advertised: Option<Vec<String>>,
        advertised_tcp: Option<Vec<String>>,
    ) -> PyResult<(u64, String)> {
        let sound = Sound::Pcm(AudioFormat {
            rate: sample_rate,
            frame: Duration::from_millis(frame_ms),
            encoding: Encoding {
                bitrate,
                complexity,
            },
        });
        self.accept_sound(py, offer, sound, channel, advertised, advertised_tcp)
    }

    /// Accepts an offer, for a session whose sound stays Opus: (session, answer).
    #[pyo3(signature = (offer, *, frame_ms, channel=None, advertised=None, advertised_tcp=None))]
    #[allow(clippy::too_many_arguments)] // One per value, all by keyword.
    fn accept_opus(
        &self,
        py: Python<'_>,
        offer: &str,
        frame_ms: u64,
        channel: Option<u16>,
        advertised: Option<Vec<String>>,
        advertised_tcp: Option<Vec<String>>,
    ) -> PyResult<(u64, String)> {
        let batch = Duration::from_millis(frame_ms);
        let sound = Sound::Opus { batch };
        self.accept_sound(py, offer, sound, channel, advertised, advertised_tcp)
    }

    /// Seals under `key_id` from now on, and takes records under any of `keys`.
    fn set_keys(&self, keys: &Bound<'_, PyMapping>, key_id: u8) -> PyResult<()> {
        let keys = self::keys(keys)?;
        if !keys.contains_key(&key_id) {
            let message = format!("key_id: there is no key under {key_id}");
            return Err(PyValueError::new_err(message));
        }
        let (token_keys, hop_secrets) = (token_keys(&keys)?, hop_secrets(&keys)?);
        self.running()?
            .set_keys(token_keys, &hop_secrets, key_id)
            .map_err(mailbox_full)
    }

    /// Answers an offer in mid-call: `Renegotiated` follows.
    fn renegotiate(&self, session: u64, offer: String) -> PyResult<()> {
        self.running()?
            .renegotiate(SessionId(session), offer)
            .map_err(engine_error)
    }

    /// Says PCM16LE mono as the next part of an utterance.
    #[pyo3(signature = (session, utterance, pcm, *, complete))]
    fn play(&self, session: u64, utterance: u64, pcm: &[u8], complete: bool) -> PyResult<()> {
        let pcm = samples(pcm)?;
        let engine = self.running()?;
        engine
            .play(SessionId(session), utterance, pcm, complete)
            .map_err(mailbox_full)
    }

    /// Says `OpusPacket`s as the next part of an utterance.
    #[pyo3(signature = (session, utterance, packets, *, complete))]
    fn play_opus(
        &self,
        session: u64,
        utterance: u64,
        packets: &Bound<'_, PySequence>,
        complete: bool,
    ) -> PyResult<()> {
        let packets = self::packets(packets)?;
        let engine = self.running()?;
        engine
            .play_opus(SessionId(session), utterance, packets, complete)
            .map_err(mailbox_full)
    }

    /// Says what the client says, as it comes.
    fn mirror(&self, session: u64, utterance: u64) -> PyResult<()> {
        self.running()?
            .mirror(SessionId(session), utterance)
            .map_err(mailbox_full)
    }

    /// Stops speaking.
    fn flush(&self, session: u64) -> PyResult<()> {
        self.running()?
            .flush(SessionId(session))
            .map_err(mailbox_full)
    }

    /// Sends a text message on the data channel.
    fn send(&self, session: u64, text: String) -> PyResult<()> {
        self.running()?
            .send(SessionId(session), text)
            .map_err(mailbox_full)
    }

    /// Hangs up.
    fn close(&self, session: u64) -> PyResult<()> {
        self.running()?
            .close(SessionId(session))
            .map_err(mailbox_full)
    }

    /// All events that wait, oldest first.
    fn take_events(&self, py: Python<'_>) -> PyResult<Vec<PyEvent>> {
        let events = self.running()?.take_events();
        events
            .into_iter()
            .map(|event| PyEvent::new(py, event))
            .collect()
    }

    /// A descriptor that is readable when events wait.
    fn fileno(&self) -> PyResult<i32> {
        Ok(self.running()?.as_fd().as_raw_fd())
    }

    /// The transport addresses of the shards, as tokens name them.
    fn addresses(&self) -> PyResult<Vec<String>> {
        Ok(self
            .running()?
            .addresses()
            .iter()
            .map(SocketAddr::to_string)
            .collect())
    }

    /// Sums over all shards: `sessions`, `ingress_packets`, `egress_packets`, `paths_lost`, and
    /// one `dropped_<reason>` per reason.
    fn counters(&self) -> PyResult<HashMap<String, u64>> {
        use std::sync::atomic::Ordering::Relaxed;
        let engine = self.running()?;
        let mut sums = HashMap::new();
        for counters in engine.counters() {
            let mut add =
                |name: &str, value: u64| *sums.entry(name.to_owned()).or_default() += value;
            add("sessions", counters.sessions.load(Relaxed));
            add("ingress_packets", counters.ingress_packets.load(Relaxed));
            add("egress_packets", counters.egress_packets.load(Relaxed));
            add("paths_lost", counters.paths_lost.load(Relaxed));
            for reason in DropReason::ALL {
                add(
                    &format!("dropped_{}", reason.as_str()),
                    counters.dropped(reason),
                );
            }
        }
        Ok(sums)
    }

    /// Hangs up every session and ends the threads.
    fn stop(&self, py: Python<'_>) {
        let engine = self
            .engine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        py.detach(|| drop(engine));
    }
}
