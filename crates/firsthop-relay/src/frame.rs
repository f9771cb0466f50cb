//! Packets out of a byte stream (RFC 4571): each goes behind its length, two bytes in network
//! order. No I/O.
//!
//! Length zero is valid and codes the null packet (RFC 4571 §2). It is skipped, and is no frame
//! to anybody above: some clients send it to keep a NAT open, and refusing it would cost them the
//! call, but whoever sends nothing else has said nothing.

use firsthop_wire::MAX_CLIENT_DATAGRAM;

/// What goes before each packet.
pub const LENGTH_BYTES: usize = 2;

/// A frame is longer than [`MAX_CLIENT_DATAGRAM`]: nobody who speaks ICE sends one, and what
/// follows cannot be told from its inside. The stream is to be closed, and not to be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oversize;

/// Parts one stream into packets. Keeps at most one incomplete frame.
#[derive(Debug, Default)]
pub struct Deframer {
    /// The frame that is incomplete: its length, and what there is of its packet. A frame that
    /// comes whole never gets here. Its memory stays with it, so that no frame allocates but the
    /// first few.
    begun: Vec<u8>,
}

impl Deframer {
    /// Takes the next `bytes` of the stream, in whatever pieces they come, and passes each packet
    /// that they complete to `each`, in order.
    ///
    /// # Errors
    /// [`Oversize`], after the packets that came before.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), Oversize> {
        if self.is_within_a_frame() {
            self.take(&mut bytes, LENGTH_BYTES);
            let Some(end) = end_of_frame(&self.begun)? else {
                return Ok(());
            };
            self.take(&mut bytes, end);
            if self.begun.len() < end {
                return Ok(());
            }
            pass(&self.begun, &mut each);
            self.begun.clear();
        }
        while let Some(end) = end_of_frame(bytes)? {
            let Some((frame, rest)) = bytes.split_at_checked(end) else {
                break;
            };
            pass(frame, &mut each);
            bytes = rest;
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether a frame has begun and is not complete.
    #[must_use]
    pub fn is_within_a_frame(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Moves bytes from `bytes` until the begun frame has `length` of them, or there are no more.
    fn take(&mut self, bytes: &mut &[u8], length: usize) {
        let wanted = length.saturating_sub(self.begun.len()).min(bytes.len());
        let (taken, rest) = bytes.split_at(wanted);
        self.begun.extend_from_slice(taken);
        *bytes = rest;
    }
}

/// How long the frame at the start of `bytes` is, length included; `None` while that is unknown.
fn end_of_frame(bytes: &[u8]) -> Result<Option<usize>, Oversize> {
    let Some((&length, _)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_CLIENT_DATAGRAM {
        return Err(Oversize);
    }
    Ok(Some(LENGTH_BYTES + length))
}

fn pass(frame: &[u8], each: &mut impl FnMut(&[u8])) {
    let packet = &frame[LENGTH_BYTES..];
    if !packet.is_empty() {
        each(packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(packet: &[u8]) -> Vec<u8> {
        [&(packet.len() as u16).to_be_bytes()[..], packet].concat()
    }

    /// Packets of lengths that matter, null packets among them, and their stream.
    fn stream() -> (Vec<Vec<u8>>, Vec<u8>) {
        let lengths = [1, 0, 20, 255, 256, 0, 0, MAX_CLIENT_DATAGRAM, 2, 100];
        let packets = lengths.map(|length| vec![length as u8; length]);
        let bytes = packets.iter().flat_map(|packet| framed(packet)).collect();
        let not_null = packets.into_iter().filter(|packet| !packet.is_empty());
        (not_null.collect(), bytes)
    }

    fn parted(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Result<(), Oversize>) {
        let (mut deframer, mut packets) = (Deframer::default(), Vec::new());
        let parted = pieces
            .iter()
            .try_for_each(|piece| deframer.push(piece, |packet| packets.push(packet.to_vec())));
        (packets, parted)
    }

    #[test]
    fn every_way_to_cut_a_stream_in_three_gives_the_same_packets() {
        let (packets, bytes) = stream();
        // Every place near a border of frames, and some in between.
        let cuts: Vec<usize> = (0..=bytes.len())
            .filter(|cut| *cut < 40 || cut % 97 == 0 || bytes.len() - cut < 110)
            .collect();
        for &first in &cuts {
            for &second in cuts.iter().filter(|second| **second >= first) {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(
                    parted(&pieces),
                    (packets.clone(), Ok(())),
                    "{first} {second}"
                );
            }
        }
    }

    #[test]
    fn one_byte_at_a_time_gives_the_same_packets() {
        let (packets, bytes) = stream();
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(parted(&pieces), (packets, Ok(())));
    }

    #[test]
    fn it_is_within_a_frame_from_the_first_byte_to_the_last() {
        let mut deframer = Deframer::default();
        for byte in [0, 3, b'a', b'b'] {
            deframer.push(&[byte], |_| panic!("not complete")).unwrap();
            assert!(deframer.is_within_a_frame());
        }
        let mut packets = 0;
        deframer.push(b"c", |_| packets += 1).unwrap();
        assert_eq!((packets, deframer.is_within_a_frame()), (1, false));
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_by_its_length_alone() {
        let good = framed(b"good");
        let length = (MAX_CLIENT_DATAGRAM as u16 + 1).to_be_bytes();
        let bytes = [&good[..], &length].concat();
        for cut in 0..=bytes.len() {
            let (packets, parted) = parted(&[&bytes[..cut], &bytes[cut..]]);
            assert_eq!(packets, [b"good"], "{cut}");
            assert_eq!(parted, Err(Oversize), "{cut}");
        }
    }

    #[test]
    fn an_incomplete_frame_is_all_that_it_keeps() {
        let mut deframer = Deframer::default();
        let frame = framed(&[7; MAX_CLIENT_DATAGRAM]);
        for _ in 0..100 {
            for piece in frame.chunks(1000) {
                deframer.push(piece, |_| ()).unwrap();
                assert!(deframer.begun.len() < frame.len());
            }
        }
        assert!(deframer.begun.capacity() <= 2 * frame.len());
    }
}
