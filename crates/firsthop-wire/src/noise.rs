//! Pseudo-random bytes for the tests: the same on every run, so that a failure can be repeated.

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, evenly enough for a test.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// A copy of `good` with up to eight bytes changed, and sometimes cut or grown at its end.
    pub(crate) fn damaged(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..self.below(9) {
            let position = self.below(bytes.len());
            bytes[position] = self.next() as u8;
        }
        match self.below(4) {
            0 => bytes.truncate(self.below(good.len())),
            1 => {
                let length = self.below(40);
                bytes.extend(self.bytes(length));
            }
            _ => {}
        }
        bytes
    }
}
