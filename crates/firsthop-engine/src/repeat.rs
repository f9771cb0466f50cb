//! What stands in for lost sound where a codec has nothing of its own: the last period of the
//! voice, again and again, fading. At 8 kHz.

/// Periods that are looked for: 66 to 200 Hz.
const SHORTEST: usize = 40;
const LONGEST: usize = 120;
/// What is compared with itself.
const WINDOW: usize = 160;
/// Sound is repeated as loud as it was for 10 ms, then fades until 60.
const STEADY: usize = 80;
const FADED: usize = 480;
/// The seams are blended over 4 ms.
const SEAM: usize = 32;

/// Keeps the last of what was heard.
#[derive(Default)]
pub(crate) struct Repeater {
    past: Vec<i16>,
    /// What is repeated; empty while nothing is missing.
    period: Vec<i16>,
    /// How much of it has been said.
    said: usize,
}

impl Repeater {
    /// Takes what was heard, and smooths its beginning where it follows a repetition.
    pub(crate) fn heard(&mut self, pcm: &mut [i16]) {
        if !self.period.is_empty() {
            let seam = SEAM.min(pcm.len());
            let repeated = self.say(seam);
            for (n, (sample, old)) in pcm.iter_mut().zip(repeated).enumerate() {
                *sample = blend(old, *sample, n, seam);
            }
            self.period = Vec::new();
        }
        self.past.extend_from_slice(pcm);
        let excess = self.past.len().saturating_sub(WINDOW + LONGEST);
        self.past.drain(..excess);
    }

    /// `count` samples in place of what is missing.
    pub(crate) fn repeat(&mut self, count: usize) -> Vec<i16> {
        if count > 0 && self.period.is_empty() {
            self.period = self.last_period();
            self.said = 0;
        }
        self.say(count)
    }

    fn say(&mut self, count: usize) -> Vec<i16> {
        let said = self.said;
        self.said += count;
        let sample = |n: usize| {
            let sample = i32::from(self.period[n % self.period.len()]);
            let left = FADED.saturating_sub(n).min(FADED - STEADY) as i32;
            (sample * left / (FADED - STEADY) as i32) as i16
        };
        (said..said + count).map(sample).collect()
    }

    /// The last period, blended so that its end leads to its beginning.
    fn last_period(&self) -> Vec<i16> {
        let past = &self.past;
        if past.len() < WINDOW + LONGEST {
            return vec![0; SHORTEST];
        }
        let length = self.period_length();
        let start = past.len() - length;
        let mut period = past[start..].to_vec();
        let seam = SEAM.min(length);
        for n in 0..seam {
            let at = length - seam + n;
            period[at] = blend(period[at], past[start - seam + n], n, seam);
        }
        period
    }

    /// The lag at which the last of the past is most like what was before it.
    fn period_length(&self) -> usize {
        let end = self.past.len();
        let now = &self.past[end - WINDOW..];
        let likeness = |lag: usize| {
            let before = &self.past[end - WINDOW - lag..end - lag];
            let pairs = now.iter().zip(before);
            let (mut product, mut power) = (0.0, 1.0);
            for (&a, &b) in pairs {
                product += f32::from(a) * f32::from(b);
                power += f32::from(b).powi(2);
            }
            product / power.sqrt()
        };
        (SHORTEST..=LONGEST)
            .max_by(|&a, &b| likeness(a).total_cmp(&likeness(b)))
            .unwrap_or(LONGEST)
    }
}

/// From `old` to `new`, `n` of `length` on the way.
fn blend(old: i16, new: i16, n: usize, length: usize) -> i16 {
    let (n, length) = (n as i32, length as i32);
    ((i32::from(old) * (length - n) + i32::from(new) * n) / length) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(from: usize, count: usize) -> Vec<i16> {
        let step = 125.0 * std::f32::consts::TAU / 8000.0;
        let sample = |n| ((n as f32 * step).sin() * 9000.0) as i16;
        (from..from + count).map(sample).collect()
    }

    #[test]
    fn a_tone_goes_on_and_fades() {
        let mut repeater = Repeater::default();
        repeater.heard(&mut sine(0, 1000));
        let repeated = repeater.repeat(160);
        for (n, (a, b)) in repeated.iter().zip(sine(1000, 160)).take(80).enumerate() {
            assert!(a.abs_diff(b) < 900, "{n}: {a}, not {b}");
        }
        let peak = |pcm: &[i16]| pcm.iter().map(|sample| sample.abs()).max().unwrap();
        let more = repeater.repeat(400);
        assert!((6000..7300).contains(&peak(&more[..160])));
        assert_eq!(peak(&more[320..]), 0);
    }

    #[test]
    fn what_follows_begins_without_a_click() {
        let mut repeater = Repeater::default();
        repeater.heard(&mut sine(0, 1000));
        let mut line = repeater.repeat(160);
        let mut next = sine(1160, 160);
        repeater.heard(&mut next);
        line.extend(next);
        let steepest = line.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max();
        assert!(steepest.unwrap() < 1200, "{steepest:?}");
        assert_eq!(line[160 + SEAM..], sine(1160 + SEAM, 160 - SEAM));
    }

    #[test]
    fn before_anything_was_heard_there_is_silence() {
        let mut repeater = Repeater::default();
        assert_eq!(repeater.repeat(50), [0; 50]);
        repeater.heard(&mut [100; 5]);
        assert!(repeater.repeat(50)[5..].iter().all(|&sample| sample == 0));
        assert!(repeater.repeat(0).is_empty());
    }
}
