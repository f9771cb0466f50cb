//! Each Rust error to its Python exception, once. The classes live in `firsthop.errors`.

use firsthop_engine::{EngineError, MailboxFull};
use firsthop_load::CallerError;
use firsthop_wire::token::TokenError;
use pyo3::exceptions::{PyLookupError, PyOSError, PyRuntimeError};
use pyo3::import_exception;
use pyo3::prelude::*;
use std::io::ErrorKind;

mod python {
    use super::import_exception;
    import_exception!(firsthop.errors, OfferError);
    import_exception!(firsthop.errors, OverloadedError);
    import_exception!(firsthop.errors, TokenError);
}

pub(crate) fn engine_error(error: EngineError) -> PyErr {
    match error {
        EngineError::Offer(error) => python::OfferError::new_err((error.message, error.line)),
        EngineError::Full => python::OverloadedError::new_err(
            "all sessions of this transceiver are taken; try again or another one",
        ),
        EngineError::Busy => mailbox_full(MailboxFull),
        EngineError::Internal(message) => PyRuntimeError::new_err(message),
    }
}

pub(crate) fn mailbox_full(MailboxFull: MailboxFull) -> PyErr {
    python::OverloadedError::new_err("the engine does not keep up; nothing was taken")
}

pub(crate) fn token_error(error: TokenError) -> PyErr {
    python::TokenError::new_err(match error {
        TokenError::Shape => "shape",
        TokenError::Version => "version",
        TokenError::UnknownKey => "unknown_key",
        TokenError::Tag => "tag",
        TokenError::Expired => "expired",
    })
}

pub(crate) fn caller_error(py: Python<'_>, error: CallerError) -> PyErr {
    match error {
        CallerError::Unknown(_) | CallerError::Answered(_) => {
            PyLookupError::new_err(error.to_string())
        }
        CallerError::Sdp(error) => {
            python::OfferError::new_err((format!("the answer cannot be used: {error}"),))
        }
        CallerError::Io(error) => os_error(py, error),
        CallerError::Stopped => PyRuntimeError::new_err(error.to_string()),
    }
}

/// An I/O error as Python's `OSError`, with the errno that callers act on.
pub(crate) fn os_error(py: Python<'_>, error: std::io::Error) -> PyErr {
    // An error that got the address added to its message has a kind, but no number any more.
    let name = match error.kind() {
        ErrorKind::AddrInUse => "EADDRINUSE",
        ErrorKind::AddrNotAvailable => "EADDRNOTAVAIL",
        ErrorKind::PermissionDenied => "EACCES",
        ErrorKind::InvalidInput => "EINVAL",
        ErrorKind::TimedOut => "ETIMEDOUT",
        _ => "EIO",
    };
    let number = py
        .import("errno")
        .and_then(|errno| errno.getattr(name)?.extract::<i32>());
    match number {
        Ok(number) => PyOSError::new_err((number, error.to_string())),
        Err(error) => error,
    }
}
