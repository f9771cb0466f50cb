//! The transceiver's engine: the only owner of ICE, DTLS, SRTP, SCTP and Opus.
//!
//! An [`Engine`] is a set of shards. A shard is one thread, one UDP socket and its own sessions;
//! the routing token in a session's ufrag names the shard's own address, so shards never hand
//! packets to each other. Offers come in and answers go out on the caller's thread; after that the
//! caller sends commands and takes events, and never waits for a shard.
//!
//! From the bottom: [`offer`], [`path`], [`packet`], [`listen`] and [`playout`], [`collect`] and
//! [`pace`] are single ideas without I/O, [`sound`] is the choice between them, [`session`] is one
//! peer, [`shard`] is many peers behind one socket, and `endpoint` is the thread and the socket.

mod adapt;
pub mod answer;
mod backlog;
mod bell;
mod budget;
mod candidate;
pub mod codec;
pub mod collect;
mod counters;
mod decode;
mod digits;
mod encode;
mod endpoint;
mod event;
mod frames;
mod g711;
mod lately;
mod lateness;
mod level;
pub mod listen;
mod mailbox;
mod negotiation;
pub mod offer;
pub mod pace;
pub mod packet;
pub mod path;
pub mod playout;
mod reorder;
mod repeat;
mod resample;
pub mod session;
pub mod shard;
pub mod sound;
#[cfg(test)]
mod test_voice;
mod utterances;
mod voices;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use firsthop_wire::hop::HopSecrets;
use firsthop_wire::token::{Claims, Owner, TokenKeys, slot_at};
use str0m::config::DtlsCert;
use str0m::crypto::from_feature_flags;
use str0m::ice::IceCreds;

pub use crate::counters::{Counters, DropReason};
pub use crate::endpoint::MailboxFull;
use crate::endpoint::{Endpoint, bind};
pub use crate::event::{CloseReason, Event, SessionId, UtteranceId};
use crate::mailbox::{EventReceiver, mailbox};
use crate::offer::OfferError;
use crate::packet::OpusPacket;
use crate::session::{AcceptError, Session, SessionConfig};
use crate::shard::{Command, RelayLink, Shard};
use crate::sound::Sound;

/// How an engine is set up.
pub struct EngineConfig {
    /// Where shard 0 listens; shard n takes the port n higher, or any if the port is 0.
    pub listen: SocketAddr,
    /// How many shards.
    pub shards: u16,
    /// The address under which relays reach the shards, if it is not the one they listen on.
    pub reachable_ip: Option<IpAddr>,
    /// The addresses that answers name: the relay's.
    pub advertised: Vec<SocketAddr>,
    /// The addresses that answers name for clients that cannot send UDP (ICE-TCP).
    pub advertised_tcp: Vec<SocketAddr>,
    /// Whether clients may reach the shards without a relay.
    pub direct: bool,
    /// The cluster that tokens name.
    pub cluster: u16,
    /// For sealing tokens.
    pub token_keys: TokenKeys,
    /// The key under which new tokens are sealed.
    pub token_key_id: u8,
    /// How long a token, and so a call, is good for; at most 24 hours.
    pub token_lifetime: Duration,
    /// For the hop headers.
    pub hop_secrets: HopSecrets,
    /// The secret under which hop headers are sealed.
    pub hop_key_id: u8,
    /// Sessions at the same time, over all shards.
    pub max_sessions: u64,
}

/// Why an offer was not accepted.
#[derive(Debug)]
pub enum EngineError {
    /// The offer is wrong.
    Offer(OfferError),
    /// There are as many sessions as allowed.
    Full,
    /// A shard does not keep up.
    Busy,
    /// Something of ours is wrong.
    Internal(String),
}

struct Running {
    endpoint: Endpoint,
    owner: Owner,
    counters: Arc<Counters>,
    address: SocketAddr,
}

/// What new tokens are sealed with.
struct Seal {
    keys: TokenKeys,
    key_id: u8,
}

/// What one session's answer names instead of the engine's own addresses, most preferred first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Candidates<'a> {
    /// For UDP.
    pub udp: Option<&'a [SocketAddr]>,
    /// For clients that cannot send UDP.
    pub tcp: Option<&'a [SocketAddr]>,
}

/// A running engine. Dropping it closes all sessions.
pub struct Engine {
    shards: Vec<Running>,
    events: EventReceiver,
    certificate: DtlsCert,
    next_number: AtomicU64,
    seal: RwLock<Seal>,
    config: EngineConfig,
}

impl Engine {
    /// Binds the sockets and starts the shards.
    ///
    /// # Errors
    /// When a socket cannot be bound (the message names it), or the kernel refuses a thread.
    pub fn start(mut config: EngineConfig) -> io::Result<Self> {
        let provider = from_feature_flags();
        let certificate = provider
            .dtls_provider
            .generate_certificate()
            .ok_or_else(|| io::Error::other("no DTLS certificate could be generated"))?;
        // Set once per process; a second engine finds it in place.
        if str0m::crypto::CryptoProvider::get_default().is_none() {
            provider.install_process_default();
        }
        let events = mailbox()?;
        let mut shards = Vec::new();
        for index in 0..config.shards.max(1) {
            let mut listen = config.listen;
            if listen.port() != 0 {
                listen.set_port(listen.port() + index);
            }
            let socket = bind(listen)?;
            let mut address = socket.local_addr();
            if let Some(ip) = config.reachable_ip {
                address.set_ip(ip);
            }
            let counters = Arc::new(Counters::default());
            let link = RelayLink::new(&config.hop_secrets, config.hop_key_id, address);
            let shard = Shard::new(link, config.direct, Arc::clone(&counters));
            let name = format!("engine-{index}");
            let sender = events.sender()?;
            let endpoint = Endpoint::start(name, socket, shard, Arc::clone(&counters), sender)?;
            shards.push(Running {
                endpoint,
                owner: owner_of(address),
                counters,
                address,
            });
        }
        Ok(Self {
            shards,
            events,
            certificate,
            next_number: AtomicU64::new(0),
            seal: RwLock::new(Seal {
                keys: std::mem::take(&mut config.token_keys),
                key_id: config.token_key_id,
            }),
            config,
        })
    }

    /// Accepts an SDP offer: returns the session's name and the SDP answer. `channel` is the id of
    /// a data channel that client and server have agreed on beforehand; the offer tells of none.
    /// `candidates` are the session's for as long as it lives.
    ///
    /// Takes about 0.1 ms and waits for nothing.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn accept(
        &self,
        offer: &str,
        sound: Sound,
        channel: Option<u16>,
        candidates: Candidates<'_>,
    ) -> Result<(SessionId, String), EngineError> {
        let sessions = |shard: &Running| shard.counters.sessions.load(Ordering::Relaxed);
        if self.shards.iter().map(sessions).sum::<u64>() >= self.config.max_sessions {
            return Err(EngineError::Full);
        }
        let (index, shard) = self
            .shards
            .iter()
            .enumerate()
            .min_by_key(|(_, shard)| sessions(shard))
            .ok_or(EngineError::Full)?;

        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let credentials = self.credentials(shard.owner, number)?;
        // The session's name tells its shard.
        let id = SessionId(number * self.shards.len() as u64 + index as u64);
        let config = SessionConfig {
            id,
            credentials,
            advertised: candidates.udp.unwrap_or(&self.config.advertised),
            advertised_tcp: candidates.tcp.unwrap_or(&self.config.advertised_tcp),
            certificate: self.certificate.clone(),
            channel,
            sound,
        };
        let (session, answer) =
            Session::accept(Instant::now(), offer, config).map_err(|error| match error {
                AcceptError::Offer(error) => EngineError::Offer(error),
                AcceptError::Internal(message) => EngineError::Internal(message),
            })?;
        // Counted here and not by the shard, so that a burst of offers cannot outrun the limit.
        shard.counters.sessions.fetch_add(1, Ordering::Relaxed);
        let command = Command::Add(Box::new(session));
        if shard.endpoint.send(command).is_err() {
            shard.counters.sessions.fetch_sub(1, Ordering::Relaxed);
            return Err(EngineError::Busy);
        }
        Ok((id, answer))
    }

    /// Says `pcm` (PCM16, mono, at the session's rate) as the next part of `utterance`.
    ///
    /// # Errors
    /// [`MailboxFull`]: the shard does not keep up, nothing was taken. A session that is gone is
    /// no error: its `Closed` event is on the way.
    pub fn play(
        &self,
        session: SessionId,
        utterance: UtteranceId,
        pcm: Vec<i16>,
        complete: bool,
    ) -> Result<(), MailboxFull> {
        self.send_command(
            session,
            Command::Play {
                session,
                utterance,
                pcm,
                complete,
            },
        )
    }

    /// Says `packets` as the next part of `utterance`, in a session whose sound is Opus.
    ///
    /// # Errors
    /// As [`Engine::play`].
    pub fn play_opus(
        &self,
        session: SessionId,
        utterance: UtteranceId,
        packets: Vec<OpusPacket>,
        complete: bool,
    ) -> Result<(), MailboxFull> {
        self.send_command(
            session,
            Command::PlayOpus {
                session,
                utterance,
                packets,
                complete,
            },
        )
    }

    /// Says what the client says, packet by packet, as `utterance`, in a session whose sound is Opus.
    ///
    /// # Errors
    /// As [`Engine::play`].
    pub fn mirror(&self, session: SessionId, utterance: UtteranceId) -> Result<(), MailboxFull> {
        self.send_command(session, Command::Mirror { session, utterance })
    }

    /// Answers an offer in mid-call: one [`Event::Renegotiated`] per offer follows, in their order.
    ///
    /// # Errors
    /// [`EngineError::Busy`]: the shard does not keep up, nothing was taken.
    pub fn renegotiate(&self, session: SessionId, offer: String) -> Result<(), EngineError> {
        let shard = &self.shards[self.shard_of(session)];
        // The count is for calls; here it only has to differ from those of other tokens.
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let credentials = self.credentials(shard.owner, number)?;
        let command = Command::Renegotiate {
            session,
            offer,
            credentials,
        };
        shard.endpoint.send(command).map_err(|_| EngineError::Busy)
    }

    /// Stops speaking. One `PlayoutEnded` event per utterance tells what was played.
    ///
    /// # Errors
    /// As [`Engine::play`].
    pub fn flush(&self, session: SessionId) -> Result<(), MailboxFull> {
        self.send_command(session, Command::Flush(session))
    }

    /// Sends a text message on the session's data channel; lost while none is open.
    ///
    /// # Errors
    /// As [`Engine::play`].
    pub fn send(&self, session: SessionId, text: String) -> Result<(), MailboxFull> {
        self.send_command(session, Command::Send(session, text))
    }

    /// Hangs up.
    ///
    /// # Errors
    /// As [`Engine::play`].
    pub fn close(&self, session: SessionId) -> Result<(), MailboxFull> {
        self.send_command(session, Command::Close(session))
    }

    /// Seals new tokens and hop headers under `key_id`, and takes records under any of
    /// `hop_secrets`. Sessions go on. `key_id` has to be among both.
    ///
    /// # Errors
    /// [`MailboxFull`]: a shard does not keep up, and has its old keys; new tokens are sealed as
    /// before. It does no harm to try again.
    pub fn set_keys(
        &self,
        token_keys: TokenKeys,
        hop_secrets: &HopSecrets,
        key_id: u8,
    ) -> Result<(), MailboxFull> {
        for shard in &self.shards {
            let link = RelayLink::new(hop_secrets, key_id, shard.address);
            shard.endpoint.send(Command::Link(Box::new(link)))?;
        }
        let mut seal = self.seal.write().unwrap_or_else(PoisonError::into_inner);
        *seal = Seal {
            keys: token_keys,
            key_id,
        };
        Ok(())
    }

    /// All events that wait, oldest first. The descriptor is readable when there are some.
    pub fn take_events(&self) -> VecDeque<Event> {
        self.events.take()
    }

    /// The addresses of the shards, as tokens name them.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shards.iter().map(|shard| shard.address).collect()
    }

    /// The counters, one per shard.
    pub fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.shards.iter().map(|shard| &*shard.counters)
    }

    fn send_command(&self, session: SessionId, command: Command) -> Result<(), MailboxFull> {
        self.shards[self.shard_of(session)].endpoint.send(command)
    }

    fn shard_of(&self, session: SessionId) -> usize {
        (session.0 % self.shards.len() as u64) as usize
    }

    fn credentials(&self, owner: Owner, number: u64) -> Result<IceCreds, EngineError> {
        let internal = |message: &str| EngineError::Internal(message.to_owned());
        let (mut nonce, mut password) = ([0; 6], [0; 24]);
        getrandom::fill(&mut nonce)
            .and_then(|()| getrandom::fill(&mut password))
            .map_err(|_| internal("the kernel gave no random bytes"))?;
        // An IPv6 token holds two bytes of the nonce only: counted, no two sessions of a shard
        // share a ufrag within a slot. The token's encryption hides the count.
        nonce[..2].copy_from_slice(&(number as u16).to_be_bytes());
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let claims = Claims {
            cluster: self.config.cluster,
            owner,
            expiry_slot: slot_at((now + self.config.token_lifetime).as_secs()),
        };
        let seal = self.seal.read().unwrap_or_else(PoisonError::into_inner);
        let ufrag = seal.keys.seal(seal.key_id, &claims, nonce);
        let ufrag = ufrag.ok_or_else(|| internal("no token key under the sealing key's id"))?;
        Ok(IceCreds {
            ufrag,
            pass: STANDARD_NO_PAD.encode(password),
        })
    }
}

impl AsFd for Engine {
    /// Readable when [`Engine::take_events`] has something to give.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

fn owner_of(address: SocketAddr) -> Owner {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => Owner::V4(SocketAddrV4::new(ip, address.port())),
        IpAddr::V6(ip) => {
            let interface_id = u128::from(ip) as u64;
            Owner::V6 {
                interface_id,
                port: address.port(),
            }
        }
    }
}
