//! What the encoder is set to for the path, as its reports (RTCP receiver reports) tell of it.
//! Takes `now`; no I/O.

use std::time::{Duration, Instant};

use crate::lateness::fading;

/// The estimate of loss goes half of the way up to what is reported within this, and down.
const RISE: Duration = Duration::from_secs(1);
const FALL: Duration = Duration::from_secs(10);
/// Share of lost packets from which on, and down to which, FEC is worth its bits.
const FEC_ON: f32 = 0.015;
const FEC_OFF: f32 = 0.005;
/// libopus plans its redundancy for no more.
const MAX_PERCENT: i32 = 30;
/// Percentage points below which a change does not reach the encoder.
const STEP_PERCENT: i32 = 3;
/// Loss above which fewer bits may help; and where the queues on the path grow as well.
const HEAVY: f32 = 0.15;
const HEAVY_IF_CONGESTED: f32 = 0.05;
/// A round trip that takes so much longer than it did tells of queues.
const CONGESTED: Duration = Duration::from_millis(100);
/// Loss below which the bit rate grows back, by so much a second.
const LIGHT: f32 = 0.05;
const GROWTH: f32 = 1.02;
/// Lowest bit rate, in bit/s. With less, libopus makes no FEC for a lossy path.
const FLOOR: f32 = 20_000.0;

/// What an encoder is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    /// In bit/s.
    pub(crate) bitrate: i32,
    /// Loss to be ready for, in percent; 0: no in-band FEC.
    pub(crate) loss_percent: i32,
}

/// Follows one path.
pub(crate) struct Adaptation {
    ceiling: f32,
    bitrate: f32,
    loss: f32,
    shortest_trip: Option<Duration>,
    reported: Option<Instant>,
    setting: Setting,
}

impl Adaptation {
    /// For a path that nothing is known of: `bitrate` in bit/s, which is the highest, and no FEC.
    pub(crate) fn new(bitrate: i32) -> Self {
        Self {
            ceiling: bitrate as f32,
            bitrate: bitrate as f32,
            loss: 0.0,
            shortest_trip: None,
            reported: None,
            setting: Setting {
                bitrate,
                loss_percent: 0,
            },
        }
    }

    /// What the encoder is to be set to now.
    pub(crate) fn setting(&self) -> Setting {
        self.setting
    }

    /// Takes a report: the share of packets lost since the one before, 0 to 1, and how long a
    /// round trip took.
    pub(crate) fn report(&mut self, now: Instant, loss: f32, round_trip: Option<Duration>) {
        if loss.is_nan() {
            return;
        }
        let since = self.reported.map_or(RISE, |reported| now - reported);
        self.reported = Some(now);
        let loss = loss.clamp(0.0, 1.0);
        let half_life = if loss > self.loss { RISE } else { FALL };
        self.loss = loss + (self.loss - loss) * fading(since, half_life);
        self.adapt_bitrate(since, loss, self.is_congested(round_trip));
        self.shortest_trip = [self.shortest_trip, round_trip].into_iter().flatten().min();
        self.settle();
    }

    fn is_congested(&self, round_trip: Option<Duration>) -> bool {
        let pair = round_trip.zip(self.shortest_trip);
        pair.is_some_and(|(now, shortest)| now > shortest + CONGESTED)
    }

    fn adapt_bitrate(&mut self, since: Duration, loss: f32, congested: bool) {
        let heavy = if congested { HEAVY_IF_CONGESTED } else { HEAVY };
        if loss > heavy {
            self.bitrate *= 1.0 - loss / 2.0;
        } else if loss < LIGHT && !congested {
            self.bitrate *= GROWTH.powf(since.as_secs_f32().min(10.0));
        }
        self.bitrate = self.bitrate.clamp(self.floor(), self.ceiling);
    }

    fn floor(&self) -> f32 {
        FLOOR.min(self.ceiling)
    }

    /// Lets what has changed enough reach the encoder.
    fn settle(&mut self) {
        let floor = self.floor();
        let Setting {
            bitrate,
            loss_percent,
        } = &mut self.setting;
        let percent = ((self.loss * 100.0).round() as i32).clamp(1, MAX_PERCENT);
        if self.loss < FEC_OFF {
            *loss_percent = 0;
        } else if *loss_percent == 0 {
            *loss_percent = if self.loss >= FEC_ON { percent } else { 0 };
        } else if (percent - *loss_percent).abs() >= STEP_PERCENT {
            *loss_percent = percent;
        }
        let near = (self.bitrate / *bitrate as f32 - 1.0).abs() < 0.05;
        if !near || self.bitrate == floor || self.bitrate == self.ceiling {
            *bitrate = self.bitrate as i32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: Option<Duration> = Some(Duration::from_millis(40));

    /// A report a second, from `start`; the settings after each.
    fn reports(adaptation: &mut Adaptation, start: Instant, losses: &[f32]) -> Vec<Setting> {
        let seconds = (1..).map(|n| start + Duration::from_secs(n));
        let settings = seconds.zip(losses).map(|(now, &loss)| {
            adaptation.report(now, loss, TRIP);
            adaptation.setting()
        });
        settings.collect()
    }

    #[test]
    fn there_is_fec_where_packets_are_lost_and_none_elsewhere() {
        let mut adaptation = Adaptation::new(32_000);
        let start = Instant::now();
        assert_eq!(adaptation.setting().loss_percent, 0);
        // One packet in 250 is no reason.
        for setting in reports(&mut adaptation, start, &[0.0, 0.02, 0.0, 0.0, 0.004]) {
            assert_eq!(setting.loss_percent, 0);
        }
        let start = start + Duration::from_secs(5);
        let lossy = reports(&mut adaptation, start, &[0.1; 20]);
        assert!(lossy[0].loss_percent >= 3, "{:?}", lossy[0]);
        assert!((8..=10).contains(&lossy[19].loss_percent));
        assert!(lossy.iter().all(|setting| setting.bitrate == 32_000));
        let start = start + Duration::from_secs(20);
        let healed = reports(&mut adaptation, start, &[0.0; 60]);
        let off = healed.iter().position(|setting| setting.loss_percent == 0);
        assert!((20..50).contains(&off.unwrap()), "{off:?}");
    }

    #[test]
    fn the_encoder_is_not_bothered_with_every_report() {
        let mut adaptation = Adaptation::new(32_000);
        let losses: Vec<_> = (0..200).map(|n| 0.08 + 0.04 * (n % 2) as f32).collect();
        let mut settings = reports(&mut adaptation, Instant::now(), &losses);
        settings.dedup();
        assert!(settings.len() <= 6, "{settings:?}");
    }

    #[test]
    fn under_heavy_loss_the_bit_rate_falls_to_a_floor_and_grows_back_slowly() {
        let mut adaptation = Adaptation::new(32_000);
        let start = Instant::now();
        let settings = reports(&mut adaptation, start, &[0.3; 30]);
        assert!(settings[0].bitrate < 30_000 && settings[0].bitrate > 20_000);
        assert_eq!(settings[29].bitrate, 20_000);
        assert!(settings[29].loss_percent >= 28);
        let start = start + Duration::from_secs(30);
        let settings = reports(&mut adaptation, start, &[0.01; 60]);
        assert!(settings[10].bitrate < 26_000, "{:?}", settings[10]);
        assert_eq!(settings[59].bitrate, 32_000, "the ceiling");
        // A ceiling below the floor stays what it is.
        let mut adaptation = Adaptation::new(12_000);
        let settings = reports(&mut adaptation, start, &[0.3; 9]);
        assert!(settings.iter().all(|setting| setting.bitrate == 12_000));
    }

    #[test]
    fn queues_on_the_path_make_less_loss_heavy() {
        let mut adaptation = Adaptation::new(32_000);
        let now = Instant::now();
        reports(&mut adaptation, now, &[0.0]);
        let later = now + Duration::from_secs(2);
        adaptation.report(later, 0.1, Some(Duration::from_millis(100)));
        assert_eq!(adaptation.setting().bitrate, 32_000);
        adaptation.report(later, 0.1, Some(Duration::from_millis(200)));
        assert!(adaptation.setting().bitrate < 31_000);
    }

    #[test]
    fn reports_of_nonsense_do_no_harm() {
        let mut adaptation = Adaptation::new(32_000);
        let now = Instant::now();
        for loss in [f32::NAN, 7.0, -3.0, f32::INFINITY, 0.5] {
            adaptation.report(now, loss, Some(Duration::ZERO));
            let setting = adaptation.setting();
            assert!((20_000..=32_000).contains(&setting.bitrate), "{setting:?}");
            assert!((0..=30).contains(&setting.loss_percent), "{setting:?}");
        }
        assert!(!adaptation.loss.is_nan());
    }
}
