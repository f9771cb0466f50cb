//! How loud a voice is beside how loud it was.

use std::time::Duration;

use crate::lateness::fading;

/// What was loud counts half as much, in amplitude, after this.
const HALF_LIFE: Duration = Duration::from_secs(10);
/// A thousandth of the power: 30 dB below the loudest is quiet.
const QUIET: f32 = 1e-3;
/// Power of what nobody hears: -70 dBFS.
const SILENT: f32 = 100.0;

/// Follows the loudest of a voice.
#[derive(Default)]
pub(crate) struct Level {
    loudest: f32,
}

impl Level {
    /// Whether the next stretch, `pcm` at `rate` Hz, is quiet.
    pub(crate) fn is_quiet(&mut self, pcm: &[i16], rate: u32) -> bool {
        let length = Duration::from_secs_f32(pcm.len() as f32 / rate as f32);
        let power = power(pcm);
        self.loudest = power.max(self.loudest * fading(length * 2, HALF_LIFE));
        power <= SILENT.max(self.loudest * QUIET)
    }
}

/// Whether nobody hears it, however quiet it is around.
pub(crate) fn is_silent(pcm: &[i16]) -> bool {
    power(pcm) <= SILENT
}

/// Mean square.
fn power(pcm: &[i16]) -> f32 {
    let sum: f32 = pcm.iter().map(|&sample| f32::from(sample).powi(2)).sum();
    sum / pcm.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_is_far_below_the_voice_or_silent() {
        let mut level = Level::default();
        let square = |peak: i16| [peak, -peak].repeat(160);
        assert!(level.is_quiet(&square(9), 16_000));
        assert!(!level.is_quiet(&square(100), 16_000));
        assert!(!level.is_quiet(&square(8000), 16_000));
        assert!(level.is_quiet(&square(100), 16_000));
        assert!(!level.is_quiet(&square(400), 16_000));
        // What goes on for long is no longer beside a voice.
        let forgotten = (0..6000).find(|_| !level.is_quiet(&square(100), 16_000));
        assert!((500..1500).contains(&forgotten.unwrap()), "{forgotten:?}");
    }
}
