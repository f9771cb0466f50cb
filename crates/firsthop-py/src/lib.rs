//! `firsthop._native`: the list of what Python sees, and no more.

mod cluster;
mod convert;
mod engine;
mod error;
mod load;
mod packet;
mod relay;
mod wire;

/// The native core. `python/firsthop/_native.pyi` has the types.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::cluster::PyCluster;
    #[pymodule_export]
    use crate::engine::{PyEngine, PyEvent};
    #[pymodule_export]
    use crate::load::{PyCallerReport, PyCallers, decode, encode};
    #[pymodule_export]
    use crate::packet::PyOpusPacket;
    #[pymodule_export]
    use crate::relay::{PyNotice, PyRelay};
    #[pymodule_export]
    use crate::wire::{edge_key, open_token, seal_hop_header, seal_token};
}
