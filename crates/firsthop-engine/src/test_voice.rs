//! Something like a voice, for the tests: syllables of a buzz, active enough for Opus's FEC.

use std::sync::Arc;

/// The rate of [`pcm`], in Hz.
pub(crate) const RATE: u32 = 16_000;

/// PCM16, mono, never silent.
pub(crate) fn pcm(ms: usize) -> Vec<i16> {
    let sine = |hz: f32, n: usize| (n as f32 * hz * std::f32::consts::TAU / RATE as f32).sin();
    let buzz = |n| {
        let partials = (1..12).map(|k| sine(140.0 * k as f32, n) / k as f32);
        partials.sum::<f32>()
    };
    let sample = |n| ((sine(4.0, n) + 1.6) * buzz(n) * 4e3) as i16;
    (0..ms * RATE as usize / 1000).map(sample).collect()
}

/// Opus packets of 20 ms of it, with FEC.
pub(crate) fn packets(count: usize) -> Vec<Arc<[u8]>> {
    let mode = opus::Application::Voip;
    let mut encoder = opus::Encoder::new(RATE, opus::Channels::Mono, mode).unwrap();
    encoder.set_inband_fec(true).unwrap();
    encoder.set_packet_loss_perc(20).unwrap();
    let encode = |frame| encoder.encode_vec(frame, 400).unwrap().into();
    pcm(count * 20).chunks_exact(320).map(encode).collect()
}
