//! The load clients as Python classes, and Opus at a stretch.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use firsthop_load::codec::{self, CodecError, Encoding};
use firsthop_load::report::{Failure, Phase, Report};
use firsthop_load::sound::Sound;
use firsthop_load::{CallerError, CallerId, Callers, CallersConfig};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::{parse, pcm_bytes, samples};
use crate::error::{caller_error, os_error};

/// WebRTC clients for load tests.
#[pyclass(frozen, name = "Callers", module = "firsthop._native")]
pub(crate) struct PyCallers {
    /// Gone after `stop`.
    callers: Mutex<Option<Arc<Callers>>>,
}

impl PyCallers {
    /// Asks the callers without holding up Python: their threads may have much to do.
    fn ask<T: Send>(
        &self,
        py: Python<'_>,
        question: impl FnOnce(&Callers) -> Result<T, CallerError> + Send,
    ) -> PyResult<T> {
        let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let callers = callers
            .clone()
            .ok_or_else(|| PyRuntimeError::new_err("the callers are stopped"))?;
        py.detach(|| question(&callers))
            .map_err(|error| caller_error(py, error))
    }
}

#[pymethods]
impl PyCallers {
    #[new]
    #[pyo3(signature = (*, local, threads, sound, marks, channel, wanted = None))]
    fn new(
        py: Python<'_>,
        local: &str,
        threads: usize,
        sound: Vec<Vec<u8>>,
        marks: Vec<usize>,
        channel: Option<String>,
        wanted: Option<String>,
    ) -> PyResult<Self> {
        if threads == 0 {
            return Err(PyValueError::new_err("threads: 1 or more"));
        }
        let sound = Sound::new(sound.iter().map(Vec::as_slice), &marks)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let config = CallersConfig {
            local: parse::<IpAddr>("local", local)?,
            threads,
            sound,
            channel,
            wanted,
        };
        let callers = py
            .detach(|| Callers::start(config))
            .map_err(|error| os_error(py, error))?;
        Ok(Self {
            callers: Mutex::new(Some(Arc::new(callers))),
        })
    }

    /// A new caller and its SDP offer.
    #[pyo3(signature = (*, talks = true, listens = false))]
    fn offer(&self, py: Python<'_>, talks: bool, listens: bool) -> PyResult<(u64, String)> {
        let (CallerId(id), offer) = self.ask(py, |callers| callers.offer(talks, listens))?;
        Ok((id, offer))
    }

    /// The server's SDP answer.
    fn answer(&self, py: Python<'_>, caller: u64, answer: &str) -> PyResult<()> {
        self.ask(py, |callers| callers.answer(CallerId(caller), answer))
    }

    /// Forgets a caller whose offer was refused.
    fn refuse(&self, py: Python<'_>, caller: u64) -> PyResult<()> {
        self.ask(py, |callers| callers.refuse(CallerId(caller)))
    }

    /// Sends on a caller's data channel.
    fn send(&self, py: Python<'_>, caller: u64, text: String) -> PyResult<()> {
        self.ask(py, |callers| callers.send(CallerId(caller), text))
    }

    /// Closes a caller and forgets it.
    fn hang_up(&self, py: Python<'_>, caller: u64) -> PyResult<()> {
        self.ask(py, |callers| callers.hang_up(CallerId(caller)))
    }

    /// Begins all counts of media anew.
    fn measure(&self, py: Python<'_>) -> PyResult<()> {
        self.ask(py, Callers::measure)
    }

    /// The sums over all callers, by name.
    fn totals(&self, py: Python<'_>) -> PyResult<HashMap<&'static str, u64>> {
        let totals = self.ask(py, Callers::totals)?;
        let counts = totals.counts;
        let counts = [
            ("sent", counts.sent),
            ("received", counts.received),
            ("lost", counts.lost),
            ("returned", counts.returned),
            ("unreturned", counts.unreturned),
            ("reordered", counts.reordered),
            ("duplicated", counts.duplicated),
            ("late", counts.late),
            ("unsent", counts.unsent),
            ("messages", counts.messages),
            ("sent_bytes", counts.sent_bytes),
            ("received_bytes", counts.received_bytes),
        ];
        let phases = Phase::ALL.map(|phase| (phase.as_str(), totals.in_phase(phase)));
        Ok(phases.into_iter().chain(counts).collect())
    }

    /// Histogram of the time between packets.
    fn gaps(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        Ok(self.ask(py, Callers::totals)?.gaps.bins().to_vec())
    }

    /// The longest gap that ended since this was last asked.
    fn longest_gap_ms(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(ms(self.ask(py, Callers::longest_gap)?))
    }

    /// The wanted messages that came since this was last asked.
    fn messages(&self, py: Python<'_>) -> PyResult<Vec<(u64, String)>> {
        let messages = self.ask(py, Callers::messages)?;
        let numbered = messages.into_iter().map(|(CallerId(id), text)| (id, text));
        Ok(numbered.collect())
    }

    /// The callers that are over, and why.
    fn over(&self, py: Python<'_>) -> PyResult<Vec<(u64, &'static str)>> {
        let over = self.ask(py, Callers::over)?.into_iter();
        let told =
            |failure: Option<Failure>| failure.map_or(Phase::Closed.as_str(), |f| f.as_str());
        Ok(over.map(|(CallerId(id), why)| (id, told(why))).collect())
    }

    /// All that is known of a caller.
    fn call(&self, py: Python<'_>, caller: u64) -> PyResult<PyCallerReport> {
        let (report, epoch) = self.ask(py, |callers| {
            Ok((callers.report(CallerId(caller))?, callers.epoch()))
        })?;
        let at = Instant::now();
        Ok(PyCallerReport { report, epoch, at })
    }

    /// All callers that are not forgotten.
    fn callers(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        let ids = self.ask(py, |callers| Ok(callers.ids()))?;
        Ok(ids.into_iter().map(|CallerId(id)| id).collect())
    }

    /// Hangs up every caller and ends the threads.
    fn stop(&self, py: Python<'_>) {
        let callers = self
            .callers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        py.detach(|| drop(callers));
    }
}

/// What one caller tells of its call.
#[pyclass(frozen, name = "CallerReport", module = "firsthop._native")]
pub(crate) struct PyCallerReport {
    report: Report,
    epoch: Instant,
    at: Instant,
}

impl PyCallerReport {
    fn since_s(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.epoch).as_secs_f64()
    }
}

#[pymethods]
impl PyCallerReport {
    #[getter]
    fn state(&self) -> &'static str {
        self.report.phase.as_str()
    }

    #[getter]
    fn failure(&self) -> Option<&'static str> {
        self.report.failure.map(|failure| failure.as_str())
    }

    #[getter]
    fn stages_ms(&self) -> HashMap<&'static str, f64> {
        let stages = self.report.stages.reached();
        stages.map(|(name, after)| (name, ms(after))).collect()
    }

    #[getter]
    fn sent(&self) -> u64 {
        self.report.counts.sent
    }

    #[getter]
    fn received(&self) -> u64 {
        self.report.counts.received
    }

    #[getter]
    fn lost(&self) -> u64 {
        self.report.counts.lost
    }

    #[getter]
    fn reordered(&self) -> u64 {
        self.report.counts.reordered
    }

    #[getter]
    fn duplicated(&self) -> u64 {
        self.report.counts.duplicated
    }

    #[getter]
    fn messages(&self) -> u64 {
        self.report.counts.messages
    }

    #[getter]
    fn heard_s(&self) -> Option<(f64, f64)> {
        let heard = self.report.heard;
        heard.map(|(first, newest)| (self.since_s(first), self.since_s(newest)))
    }

    #[getter]
    fn at_s(&self) -> f64 {
        self.since_s(self.at)
    }

    #[getter]
    fn returned(&self) -> u64 {
        self.report.counts.returned
    }

    #[getter]
    fn jitter_ms(&self) -> f64 {
        ms(self.report.jitter)
    }

    #[getter]
    fn round_trip_ms(&self) -> Option<f64> {
        self.report.round_trip.map(ms)
    }

    #[getter]
    fn delays_ms(&self) -> Vec<f64> {
        self.report.delays.iter().copied().map(ms).collect()
    }

    #[getter]
    fn marks_missed(&self) -> u64 {
        self.report.marks_missed
    }
}

/// Encodes PCM16LE as Opus payloads.
#[pyfunction]
#[pyo3(signature = (pcm, *, rate, bitrate, complexity, packet_ms, channels = 1, fec = false,
                    loss_percent = 0))]
#[allow(clippy::too_many_arguments)] // One per setting, all by keyword.
pub(crate) fn encode<'py>(
    py: Python<'py>,
    pcm: &[u8],
    rate: u32,
    bitrate: i32,
    complexity: i32,
    packet_ms: u32,
    channels: u8,
    fec: bool,
    loss_percent: i32,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let pcm = samples(pcm)?;
    let encoding = Encoding {
        rate,
        channels,
        bitrate,
        complexity,
        packet_ms,
        fec,
        loss_percent,
    };
    let packets = py
        .detach(|| codec::encode(&pcm, encoding))
        .map_err(codec_error)?;
    Ok(packets.iter().map(|p| PyBytes::new(py, p)).collect())
}

/// Decodes Opus payloads, in order, to PCM16LE mono.
#[pyfunction]
#[pyo3(signature = (packets, *, rate))]
pub(crate) fn decode<'py>(
    py: Python<'py>,
    packets: Vec<Vec<u8>>,
    rate: u32,
) -> PyResult<Bound<'py, PyBytes>> {
    let pcm = py
        .detach(|| codec::decode(packets.iter().map(Vec::as_slice), rate))
        .map_err(codec_error)?;
    Ok(PyBytes::new(py, &pcm_bytes(&pcm)))
}

fn codec_error(error: CodecError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
