//! Opus packets as Python values: what a backend gets as it came, and says as it is.

use firsthop_engine::collect::Received;
use firsthop_engine::packet::OpusPacket;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PySequence};

/// A well-formed Opus packet, and where it stands in what the client says.
#[pyclass(frozen, name = "OpusPacket", module = "firsthop._native")]
pub(crate) struct PyOpusPacket {
    packet: OpusPacket,
    position: u64,
    missing: u32,
}

impl From<Received> for PyOpusPacket {
    fn from(received: Received) -> Self {
        let Received {
            packet,
            position,
            missing,
        } = received;
        Self {
            packet,
            position,
            missing,
        }
    }
}

#[pymethods]
impl PyOpusPacket {
    #[new]
    #[pyo3(signature = (payload, *, at_ms=0.0, missing=0))]
    fn new(payload: &[u8], at_ms: f64, missing: u32) -> PyResult<Self> {
        let packet = OpusPacket::new(payload);
        let packet = packet.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let position = (at_ms.max(0.0) * 48.0).round() as u64;
        Ok(Self {
            packet,
            position,
            missing,
        })
    }

    /// The packet as RTP carries it.
    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.packet.payload())
    }

    /// How long it sounds, in milliseconds: 2.5 to 120.
    #[getter]
    fn duration_ms(&self) -> f64 {
        milliseconds(self.packet.ticks().into())
    }

    /// Where it begins, in milliseconds since the first packet of the call.
    #[getter]
    fn at_ms(&self) -> f64 {
        milliseconds(self.position)
    }

    /// How many packets before it were lost.
    #[getter]
    fn missing(&self) -> u32 {
        self.missing
    }

    fn __repr__(&self) -> String {
        let (bytes, duration) = (self.packet.payload().len(), self.duration_ms());
        let (at, missing) = (self.at_ms(), self.missing);
        format!("<OpusPacket: {bytes} bytes, {duration} ms at {at} ms, {missing} missing before>")
    }
}

/// Ticks of 48 kHz in milliseconds.
fn milliseconds(ticks: u64) -> f64 {
    ticks as f64 / 48.0
}

/// The packets of a sequence of `OpusPacket`; an error names the one that is wrong.
pub(crate) fn packets(sequence: &Bound<'_, PySequence>) -> PyResult<Vec<OpusPacket>> {
    let mut packets = Vec::with_capacity(sequence.len()?);
    for (nth, item) in sequence.try_iter()?.enumerate() {
        let item = item?;
        let Ok(packet) = item.cast::<PyOpusPacket>() else {
            let name = item.get_type().name()?;
            let message = format!("packet {nth}: expected OpusPacket, found {name}");
            return Err(PyTypeError::new_err(message));
        };
        packets.push(packet.get().packet.clone());
    }
    Ok(packets)
}
