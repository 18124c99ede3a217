// SPDX-License-Identifier: Apache-2.0
//! Ctrl-C and `kill`: a flag that the supervisor looks at between steps.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::{Error, Kind, Result};

static CAUGHT: AtomicI32 = AtomicI32::new(0);

extern "C" fn remember(signal: libc::c_int) {
    CAUGHT.store(signal, Ordering::Relaxed);
}

/// From now on SIGINT and SIGTERM only set a flag; waiting system calls end early.
///
/// # Errors
/// `Host`/`io` when the kernel refuses.
pub fn catch() -> Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(remember),
        SaFlags::empty(),
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is safe in a signal handler.
        unsafe { sigaction(signal, &action) }.map_err(|e| Error::io("catching signals", e))?;
    }
    Ok(())
}

/// The signal that was caught.
pub fn caught() -> Option<i32> {
    Some(CAUGHT.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// The exit code for a caught signal: 130 for SIGINT, 143 for SIGTERM.
pub fn exit_code() -> Option<u8> {
    caught().and_then(|signal| u8::try_from(signal.saturating_add(128)).ok())
}

/// Ends a long operation when the user asked for it.
///
/// # Errors
/// `Cancelled`/`cancelled` once a signal was caught.
pub fn check() -> Result<()> {
    match caught() {
        None => Ok(()),
        Some(signal) => Err(Error::new(
            Kind::Cancelled,
            "cancelled",
            format!("cancelled by signal {signal}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caught_signal_cancels_with_its_exit_code() {
        catch().unwrap();
        check().unwrap();
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        assert_eq!(check().unwrap_err().kind, Kind::Cancelled);
        assert_eq!(exit_code(), Some(143));
    }
}
