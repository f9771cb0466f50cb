//! Each Rust error to its Python exception, once. The classes live in `firsthop.errors`.

use firsthop_engine::{EngineError, MailboxFull};
use firsthop_wire::token::TokenError;
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::{PyErr, import_exception};

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

pub(crate) fn os_error(error: std::io::Error) -> PyErr {
    let message = error.to_string();
    match error.raw_os_error() {
        Some(code) => PyOSError::new_err((code, message)),
        None => PyErr::from(error),
    }
}
