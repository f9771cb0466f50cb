//! An unbroken line of PCM, cut into frames of one length.

use std::collections::VecDeque;

/// Takes stretches of any length, gives frames. Keeps no memory for what it has given.
pub(crate) struct Frames {
    length: usize,
    whole: VecDeque<Vec<i16>>,
    /// Shorter than a frame.
    rest: Vec<i16>,
}

impl Frames {
    /// No sound yet, in frames of `length` samples, at least one.
    pub(crate) fn new(length: usize) -> Self {
        Self {
            length: length.max(1),
            whole: VecDeque::new(),
            rest: Vec::new(),
        }
    }

    /// Appends a stretch.
    pub(crate) fn push(&mut self, pcm: Vec<i16>) {
        if self.rest.is_empty() && pcm.len() == self.length {
            // The usual case: a packet is a frame, and moves.
            self.whole.push_back(pcm);
            return;
        }
        let mut pcm = &pcm[..];
        while !pcm.is_empty() {
            let taken = pcm.len().min(self.length - self.rest.len());
            self.rest.reserve_exact(self.length - self.rest.len());
            self.rest.extend_from_slice(&pcm[..taken]);
            pcm = &pcm[taken..];
            if self.rest.len() == self.length {
                self.whole.push_back(std::mem::take(&mut self.rest));
            }
        }
    }

    /// The next whole frame.
    pub(crate) fn poll(&mut self) -> Option<Vec<i16>> {
        let frame = self.whole.pop_front();
        if frame.is_none() {
            self.whole = VecDeque::new();
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_of_any_length_become_frames_of_one() {
        let mut frames = Frames::new(4);
        let mut next = 0;
        for length in [4, 1, 2, 9, 0, 3, 1] {
            frames.push((next..next + length).collect());
            next += length;
        }
        let out: Vec<_> = std::iter::from_fn(|| frames.poll()).collect();
        assert!(out.iter().all(|frame| frame.len() == 4));
        assert_eq!(out.concat(), (0..20).collect::<Vec<_>>());
        assert_eq!(frames.poll(), None);
        assert_eq!(frames.rest.capacity(), 0);
    }
}
