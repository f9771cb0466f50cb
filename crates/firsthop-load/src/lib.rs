//! Load for WebRTC endpoints: many callers, each with a socket, ICE, DTLS, SRTP and a data channel
//! of its own, that talk, listen and count.
//!
//! [`Callers`] is all of it. A [caller](caller::Caller) and what it is made of take `now` and bytes;
//! `thread.rs` alone has sockets and a clock. How an offer gets to a server, and its answer back, is
//! somebody else's business.

pub mod caller;
pub mod codec;
pub mod counts;
pub mod ear;
pub mod echo;
pub mod gaps;
pub mod reception;
pub mod report;
pub mod sound;
pub mod talk;
mod thread;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use firsthop_udp::{Options, Sharing, Socket};
use str0m::config::DtlsCert;
use str0m::crypto::{CryptoProvider, from_feature_flags};

use crate::caller::{CallerConfig, Offer, SdpError};
use crate::counts::Counts;
use crate::ear::Ear;
use crate::gaps::Gaps;
use crate::report::{Failure, Phase, Report};
use crate::sound::Sound;
use crate::talk::{Beginning, Talk};
use crate::thread::{Command, Line, Summary, Thread};

/// Multiples of it modulo 1 are spread evenly, however many there are: the golden ratio.
const SPREAD: f64 = 0.618_033_988_749_894_9;

/// Names a caller, for as long as its [`Callers`] live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerId(pub u64);

/// The threads have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// What all callers have in common.
pub struct CallersConfig {
    /// The address that their sockets are bound to.
    pub local: IpAddr,
    /// Threads that they are spread over: 1 or more.
    pub threads: usize,
    /// What those say that talk.
    pub sound: Sound,
    /// Label of their data channels.
    pub channel: Option<String>,
    /// Text messages that hold this are kept for [`Callers::messages`].
    pub wanted: Option<String>,
}

/// Why something could not be done for a caller.
#[derive(Debug)]
pub enum CallerError {
    /// There is no such caller, or not any more.
    Unknown(CallerId),
    /// It is beyond that: it has its answer already.
    Answered(CallerId),
    /// Offer or answer cannot be used.
    Sdp(SdpError),
    /// No socket, say.
    Io(io::Error),
    /// The threads have ended.
    Stopped,
}

impl fmt::Display for CallerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(CallerId(id)) => write!(formatter, "there is no caller {id}"),
            Self::Answered(CallerId(id)) => write!(formatter, "caller {id} has its answer"),
            Self::Sdp(error) => error.fmt(formatter),
            Self::Io(error) => error.fmt(formatter),
            Self::Stopped => formatter.write_str("the callers are stopped"),
        }
    }
}

impl std::error::Error for CallerError {}

impl From<Stopped> for CallerError {
    fn from(Stopped: Stopped) -> Self {
        Self::Stopped
    }
}

/// The sums over all callers.
#[derive(Debug, Default, Clone)]
pub struct Totals {
    phases: HashMap<&'static str, u64>,
    /// Counts of media since the last measure, also of callers that are gone.
    pub counts: Counts,
    /// What was quiet between packets since then.
    pub gaps: Gaps,
}

impl Totals {
    /// How many callers are in a phase now.
    #[must_use]
    pub fn in_phase(&self, phase: Phase) -> u64 {
        self.phases.get(phase.as_str()).copied().unwrap_or(0)
    }

    fn add(&mut self, summary: &Summary) {
        self.counts += summary.counts;
        self.gaps.merge(&summary.gaps);
        for phase in &summary.phases {
            *self.phases.entry(phase.as_str()).or_default() += 1;
        }
    }
}

enum Place {
    /// It waits for an answer; its socket waits with it.
    Waiting(Box<Offer>, Socket),
    /// The number of its thread.
    At(usize),
}

#[derive(Default)]
struct Places {
    next: u64,
    places: HashMap<CallerId, Place>,
}

/// Callers and their threads. Dropped, all hang up.
pub struct Callers {
    config: CallersConfig,
    sound: Arc<Sound>,
    wanted: Option<Arc<str>>,
    certificate: DtlsCert,
    epoch: Instant,
    threads: Vec<Thread>,
    places: Mutex<Places>,
}

impl Callers {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn start(config: CallersConfig) -> io::Result<Self> {
        let provider = from_feature_flags();
        let certificate = provider
            .dtls_provider
            .generate_certificate()
            .ok_or_else(|| io::Error::other("no DTLS certificate could be generated"))?;
        // Set once per process, by whoever comes first.
        if CryptoProvider::get_default().is_none() {
            provider.install_process_default();
        }
        let threads = (0..config.threads.max(1))
            .map(|number| Thread::start(format!("load-{number}")))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            sound: Arc::new(config.sound.clone()),
            wanted: config.wanted.as_deref().map(Arc::from),
            config,
            certificate,
            epoch: Instant::now(),
            threads,
            places: Mutex::default(),
        })
    }

    /// A new caller and its offer. One that does not talk sends no audio; one that listens times
    /// the marks that it hears.
    ///
    /// # Errors
    /// [`CallerError::Io`] when there is no socket to be had.
    pub fn offer(&self, talks: bool, listens: bool) -> Result<(CallerId, String), CallerError> {
        let options = Options {
            sharing: Sharing::Exclusive,
            only_v6: false,
            gro: false,
        };
        let socket = Socket::bind(SocketAddr::new(self.config.local, 0), options);
        let socket = socket.map_err(CallerError::Io)?;
        // Best effort: without, a packet arrives when it is read.
        let _ = socket.stamp_arrivals();
        let opus = |error: opus::Error| CallerError::Io(io::Error::other(error.to_string()));
        let id = self.next_id();
        let talk = (talks && !self.sound.is_empty()).then(|| self.talk(id));
        let config = CallerConfig {
            local: socket.local_addr(),
            certificate: self.certificate.clone(),
            channel: self.config.channel.clone(),
            wanted: self.wanted.clone(),
            talk,
            ear: listens.then(Ear::new).transpose().map_err(opus)?,
        };
        let (waiting, offer) = Offer::new(Instant::now(), config).map_err(CallerError::Sdp)?;
        let place = Place::Waiting(Box::new(waiting), socket);
        self.places().places.insert(id, place);
        Ok((id, offer))
    }

    /// Gives a caller the server's answer: from now on it connects.
    ///
    /// # Errors
    /// [`CallerError::Sdp`] when the answer cannot be used: the caller is forgotten.
    pub fn answer(&self, id: CallerId, answer: &str) -> Result<(), CallerError> {
        let index = id.0 as usize % self.threads.len();
        let (offer, socket) = {
            let mut places = self.places();
            match places.places.remove(&id) {
                Some(Place::Waiting(offer, socket)) => {
                    places.places.insert(id, Place::At(index));
                    (offer, socket)
                }
                Some(at) => {
                    places.places.insert(id, at);
                    return Err(CallerError::Answered(id));
                }
                None => return Err(CallerError::Unknown(id)),
            }
        };
        let answered = offer.answer(Instant::now(), answer);
        let (caller, candidates) = answered.map_err(|error| {
            self.places().places.remove(&id);
            CallerError::Sdp(error)
        })?;
        // The kernel need not look for a way with every packet, if there is one address only.
        let server = match candidates[..] {
            [server] if socket.connect(server).is_ok() => Some(server),
            _ => None,
        };
        let line = Line { socket, server };
        self.threads[index].send(Command::Add(id, Box::new(caller), line))?;
        Ok(())
    }

    /// Forgets a caller whose offer was refused.
    ///
    /// # Errors
    /// [`CallerError::Answered`] and [`CallerError::Unknown`].
    pub fn refuse(&self, id: CallerId) -> Result<(), CallerError> {
        let mut places = self.places();
        match places.places.get(&id) {
            Some(Place::Waiting(..)) => {
                places.places.remove(&id);
                Ok(())
            }
            Some(Place::At(_)) => Err(CallerError::Answered(id)),
            None => Err(CallerError::Unknown(id)),
        }
    }

    /// Sends text on a caller's data channel, once that is open.
    ///
    /// # Errors
    /// [`CallerError::Unknown`], also while it has no answer.
    pub fn send(&self, id: CallerId, text: String) -> Result<(), CallerError> {
        let thread = self.thread_of(id)?.ok_or(CallerError::Unknown(id))?;
        Ok(thread.send(Command::Send(id, text))?)
    }

    /// Closes a caller properly, in the background, and forgets it.
    ///
    /// # Errors
    /// [`CallerError::Unknown`].
    pub fn hang_up(&self, id: CallerId) -> Result<(), CallerError> {
        let thread = self.thread_of(id)?;
        self.places().places.remove(&id);
        match thread {
            Some(thread) => Ok(thread.send(Command::HangUp(id))?),
            None => Ok(()),
        }
    }

    /// Begins all counts of media anew.
    ///
    /// # Errors
    /// [`CallerError::Stopped`].
    pub fn measure(&self) -> Result<(), CallerError> {
        for thread in &self.threads {
            thread.send(Command::Measure)?;
        }
        Ok(())
    }

    /// The sums over all callers.
    ///
    /// # Errors
    /// [`CallerError::Stopped`].
    pub fn totals(&self) -> Result<Totals, CallerError> {
        let mut totals = Totals::default();
        for thread in &self.threads {
            totals.add(&thread.ask(Command::Summary)?);
        }
        let waiting = |place: &&Place| matches!(place, Place::Waiting(..));
        let waiting = self.places().places.values().filter(waiting).count();
        totals
            .phases
            .insert(Phase::Waiting.as_str(), waiting as u64);
        Ok(totals)
    }

    /// The messages that came since this was last asked, of those that are wanted, each with whom
    /// it came to.
    ///
    /// # Errors
    /// [`CallerError::Stopped`].
    pub fn messages(&self) -> Result<Vec<(CallerId, String)>, CallerError> {
        let mut messages = Vec::new();
        for thread in &self.threads {
            messages.append(&mut thread.ask(Command::Messages)?);
        }
        Ok(messages)
    }

    /// The longest gap between two packets of a caller that ended since this was last asked.
    ///
    /// # Errors
    /// [`CallerError::Stopped`].
    pub fn longest_gap(&self) -> Result<Duration, CallerError> {
        let mut longest = Duration::ZERO;
        for thread in &self.threads {
            longest = longest.max(thread.ask(Command::LongestGap)?);
        }
        Ok(longest)
    }

    /// The callers that are over and not forgotten, and why, if it was not they who hung up.
    ///
    /// # Errors
    /// [`CallerError::Stopped`].
    pub fn over(&self) -> Result<Vec<(CallerId, Option<Failure>)>, CallerError> {
        let mut over = Vec::new();
        for thread in &self.threads {
            over.append(&mut thread.ask(Command::Over)?);
        }
        Ok(over)
    }

    /// From when on callers count time.
    #[must_use]
    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// All that is known of a caller.
    ///
    /// # Errors
    /// [`CallerError::Unknown`].
    pub fn report(&self, id: CallerId) -> Result<Report, CallerError> {
        match self.thread_of(id)? {
            None => Ok(Report::waiting()),
            Some(thread) => thread
                .ask(|reply| Command::Report(id, reply))?
                .ok_or(CallerError::Unknown(id)),
        }
    }

    /// All callers that are not forgotten, in the order in which they came.
    #[must_use]
    pub fn ids(&self) -> Vec<CallerId> {
        let mut ids = self.places().places.keys().copied().collect::<Vec<_>>();
        ids.sort_unstable();
        ids
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // Nothing panics while it holds the lock; and a map has no half-done state.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_id(&self) -> CallerId {
        let mut places = self.places();
        let id = CallerId(places.next);
        places.next += 1;
        id
    }

    /// Callers begin at other places of the loop, and with clocks that are spread evenly.
    fn talk(&self, CallerId(number): CallerId) -> Talk {
        let part = (number as f64 * SPREAD).fract();
        let beginning = Beginning {
            packet: (part * self.sound.len() as f64) as usize % self.sound.len(),
            phase: part,
            epoch: self.epoch,
        };
        Talk::new(Arc::clone(&self.sound), beginning)
    }

    /// The thread of a caller, if it has its answer.
    fn thread_of(&self, id: CallerId) -> Result<Option<&Thread>, CallerError> {
        match self.places().places.get(&id) {
            Some(&Place::At(thread)) => Ok(Some(&self.threads[thread])),
            Some(Place::Waiting(..)) => Ok(None),
            None => Err(CallerError::Unknown(id)),
        }
    }
}
