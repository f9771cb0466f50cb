//! The two forms in which a session's sound is handed over and taken: PCM, through Opus, or Opus
//! packets, past it. A session has one form, both ways.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::adapt::Adaptation;
use crate::codec::Codec;
use crate::collect::Collector;
use crate::event::{Event, SessionId, UtteranceId};
use crate::listen::Listener;
use crate::pace::Pacer;
use crate::packet::OpusPacket;
use crate::playout::{Encoding, Packet, Playout, Progress, QueueFull};

/// PCM16, mono, and how it is made and taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioFormat {
    /// Of PCM both ways, in Hz: 8000, 12000, 16000, 24000 or 48000.
    pub rate: u32,
    /// Length of the frames that the client's speech is handed over in.
    pub frame: Duration,
    /// How the agent's speech is encoded.
    pub encoding: Encoding,
}

/// The form of a session's sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    /// PCM: the session decodes and encodes.
    Pcm(AudioFormat),
    /// Opus packets as they are: a session costs no codec.
    Opus {
        /// Sound in a batch of packets, at least; and how long a packet may wait for others.
        batch: Duration,
    },
}

/// How the client is heard.
pub(crate) enum Hearing {
    Pcm(Box<Listener>),
    Opus(Box<Collector>),
}

impl Hearing {
    /// Of packets in the codec that was agreed on.
    pub(crate) fn new(codec: Codec, sound: Sound) -> Self {
        match sound {
            Sound::Pcm(format) => {
                Self::Pcm(Box::new(Listener::new(codec, format.rate, format.frame)))
            }
            Sound::Opus { batch } => Self::Opus(Box::new(Collector::new(batch))),
        }
    }

    /// Whether packets are handed over as they are.
    pub(crate) fn is_opus(&self) -> bool {
        matches!(self, Self::Opus(_))
    }

    /// Takes one RTP packet: extended sequence number, extended RTP time, payload. False: it is
    /// known not to be Opus.
    pub(crate) fn push(
        &mut self,
        now: Instant,
        sequence: u64,
        rtp_time: u64,
        payload: Arc<[u8]>,
    ) -> bool {
        match self {
            Self::Pcm(listener) => {
                listener.push(now, sequence, rtp_time, payload);
                true
            }
            Self::Opus(collector) => collector.push(now, sequence, rtp_time, payload),
        }
    }

    /// Starts over with another stream.
    pub(crate) fn restart(&mut self, now: Instant) {
        match self {
            Self::Pcm(listener) => listener.restart(),
            Self::Opus(collector) => collector.restart(now),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Pcm(listener) => listener.handle_timeout(now),
            Self::Opus(collector) => collector.handle_timeout(now),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Pcm(listener) => listener.deadline(),
            Self::Opus(collector) => collector.deadline(),
        }
    }

    /// What was heard next, if there is anything whole.
    pub(crate) fn poll(&mut self, session: SessionId) -> Option<Event> {
        Some(match self {
            Self::Pcm(listener) => {
                let frame = listener.poll()?;
                let (position, pcm) = (frame.position, frame.pcm);
                Event::Audio {
                    session,
                    position,
                    pcm,
                }
            }
            Self::Opus(collector) => {
                let packets = collector.poll()?;
                Event::Opus { session, packets }
            }
        })
    }
}

/// How the agent speaks.
pub(crate) struct Speaking {
    form: Form,
    /// Of utterances in a form that is not the session's.
    refused: VecDeque<Progress>,
}

enum Form {
    Pcm {
        format: AudioFormat,
        codec: Codec,
        adaptation: Adaptation,
        /// Made when there is something to say: an encoder is the largest thing a session owns.
        playout: Option<Box<Playout>>,
    },
    Opus(Pacer),
}

impl Speaking {
    /// In the codec that was agreed on.
    pub(crate) fn new(codec: Codec, sound: Sound) -> Self {
        let form = match sound {
            Sound::Pcm(format) => Form::Pcm {
                format,
                codec,
                adaptation: Adaptation::new(format.encoding.bitrate),
                playout: None,
            },
            Sound::Opus { .. } => Form::Opus(Pacer::default()),
        };
        Self {
            form,
            refused: VecDeque::new(),
        }
    }

    /// # Errors
    /// When libopus refuses a value or is out of memory.
    pub(crate) fn play(
        &mut self,
        now: Instant,
        utterance: UtteranceId,
        pcm: &[i16],
        complete: bool,
    ) -> Result<Result<(), QueueFull>, opus::Error> {
        let Form::Pcm {
            format,
            codec,
            adaptation,
            playout,
        } = &mut self.form
        else {
            return Ok(self.refuse(utterance));
        };
        let playout = match playout {
            Some(playout) => playout,
            None => {
                let mut new = Playout::new(*codec, format.rate, format.encoding)?;
                new.adapt(adaptation.setting())?;
                playout.insert(Box::new(new))
            }
        };
        Ok(playout.push(now, utterance, pcm, complete))
    }

    pub(crate) fn play_opus(
        &mut self,
        now: Instant,
        utterance: UtteranceId,
        packets: Vec<OpusPacket>,
        complete: bool,
    ) -> Result<(), QueueFull> {
        match &mut self.form {
            Form::Opus(pacer) => pacer.push(now, utterance, packets, complete),
            Form::Pcm { .. } => self.refuse(utterance),
        }
    }

    /// Takes what the client reports of the path to it: the share of packets lost since its last
    /// report, 0 to 1, and the latest round trip. What is encoded here follows it.
    ///
    /// # Errors
    /// When libopus refuses a value.
    pub(crate) fn path_report(
        &mut self,
        now: Instant,
        loss: f32,
        round_trip: Option<Duration>,
    ) -> Result<(), opus::Error> {
        let Form::Pcm {
            adaptation,
            playout,
            ..
        } = &mut self.form
        else {
            return Ok(());
        };
        adaptation.report(now, loss, round_trip);
        playout
            .iter_mut()
            .try_for_each(|playout| playout.adapt(adaptation.setting()))
    }

    pub(crate) fn flush(&mut self) {
        match &mut self.form {
            Form::Pcm { playout, .. } => playout.iter_mut().for_each(|playout| playout.flush()),
            Form::Opus(pacer) => pacer.flush(),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.form {
            Form::Pcm { playout, .. } => playout.as_ref()?.deadline(),
            Form::Opus(pacer) => pacer.deadline(),
        }
    }

    /// The packet that is due at `now`, if one is. Call until `None`.
    ///
    /// # Errors
    /// When libopus fails.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<Option<Packet>, opus::Error> {
        match &mut self.form {
            Form::Pcm { playout, .. } => match playout {
                Some(playout) => playout.tick(now),
                None => Ok(None),
            },
            Form::Opus(pacer) => Ok(pacer.tick(now)),
        }
    }

    pub(crate) fn poll_progress(&mut self) -> Option<Progress> {
        self.refused.pop_front().or_else(|| match &mut self.form {
            Form::Pcm { playout, .. } => playout.as_mut()?.poll_progress(),
            Form::Opus(pacer) => pacer.poll_progress(),
        })
    }

    /// Settles an utterance of which nothing can be played.
    fn refuse(&mut self, utterance: UtteranceId) -> Result<(), QueueFull> {
        self.refused.push_back(Progress::Ended {
            utterance,
            played_ms: 0,
            interrupted: true,
        });
        Ok(())
    }
}
