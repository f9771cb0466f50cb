//! What callers say: Opus packets in a loop, some of which begin a mark.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use firsthop_engine::packet::{OpusPacket, PacketError};

/// A loop of packets. What it holds is shared by all callers.
#[derive(Debug, Clone)]
pub struct Sound {
    packets: Vec<Said>,
}

/// One packet of the loop.
#[derive(Debug, Clone)]
pub struct Said {
    /// What is sent.
    pub packet: OpusPacket,
    /// A mark begins in it.
    pub mark: bool,
    /// No other packet of the loop has the same payload, as those of silence have.
    pub alone: bool,
}

/// Why bytes are no loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SoundError {
    /// The packet at this index cannot be sent.
    Packet(usize, PacketError),
    /// No packet has this index, and a mark should begin there.
    Mark(usize),
}

impl fmt::Display for SoundError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(index, error) => write!(formatter, "sound[{index}]: {error}"),
            Self::Mark(index) => write!(formatter, "marks: the sound has no packet {index}"),
        }
    }
}

impl std::error::Error for SoundError {}

impl Sound {
    /// The loop of `payloads`, with a mark at the beginning of each packet that `marks` names.
    ///
    /// # Errors
    /// [`SoundError`].
    pub fn new<'a>(
        payloads: impl IntoIterator<Item = &'a [u8]>,
        marks: &[usize],
    ) -> Result<Self, SoundError> {
        let said = |(index, payload)| {
            let packet = OpusPacket::new(payload).map_err(|e| SoundError::Packet(index, e))?;
            Ok(Said {
                packet,
                mark: false,
                alone: false,
            })
        };
        let packets = payloads.into_iter().enumerate().map(said);
        let mut packets = packets.collect::<Result<Vec<_>, _>>()?;
        for &mark in marks {
            packets.get_mut(mark).ok_or(SoundError::Mark(mark))?.mark = true;
        }
        let mut times = HashMap::<Arc<[u8]>, u32>::new();
        for said in &packets {
            *times.entry(Arc::clone(said.packet.payload())).or_default() += 1;
        }
        for said in &mut packets {
            said.alone = times.get(said.packet.payload()) == Some(&1);
        }
        Ok(Self { packets })
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// The packet at `index` modulo the length of the loop, if the loop is not empty.
    #[must_use]
    pub fn said(&self, index: usize) -> Option<&Said> {
        self.packets.get(index % self.packets.len().max(1))
    }

    /// How many packets the loop has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }
}
