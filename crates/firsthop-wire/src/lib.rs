//! Bytes to values and back, for everything that crosses firsthop's network.
//!
//! Pure functions over byte slices: no socket, no clock, no thread. Time comes in as an argument.
//! *No byte from the network can panic*: every parser here takes any input and answers with a
//! value or an error from a closed set, and the fuzz targets hold it to that.

pub mod bundle;
pub mod demux;
pub mod edge;
pub mod hop;
pub mod stun;
pub mod token;

#[cfg(test)]
mod noise;

/// The largest UDP payload that firsthop accepts from a client, in bytes.
///
/// An Ethernet frame carries 1500; what is larger was fragmented on its way, and no WebRTC client
/// sends that.
pub const MAX_CLIENT_DATAGRAM: usize = 1500;
