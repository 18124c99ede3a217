// SPDX-License-Identifier: Apache-2.0
//! Crash points. Without the cargo feature `fault-injection` (and outside unit tests) each is
//! nothing at all.
//!
//! With the feature, `GUESTFIX_FAULT=<point>:<n>` makes the process kill itself by SIGKILL where
//! `point(<point>, <n>)` is reached: no destructor runs, as in a power cut. In unit tests a thread
//! can ask to be stopped at its k-th point, so that every step of a commit is tried.

#[cfg(not(test))]
use crate::error::Result;
#[cfg(test)]
pub(crate) use simulated::{CODE, alive, point, stop_after};

/// A place where the process may be made to die: the `n`-th step of `name`, from 0.
///
/// # Errors
/// Only in unit tests: the simulated crash.
#[cfg(not(test))]
#[inline]
pub fn point(name: &str, n: u64) -> Result<()> {
    #[cfg(feature = "fault-injection")]
    {
        if std::env::var("GUESTFIX_FAULT").is_ok_and(|wanted| wanted == format!("{name}:{n}")) {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
    }
    let _ = (name, n);
    Ok(())
}

/// False once a unit test has simulated a crash: clean-up must not run after it either.
#[cfg(not(test))]
#[inline]
pub(crate) const fn alive() -> bool {
    true
}

#[cfg(test)]
mod simulated {
    use std::cell::Cell;

    use crate::error::{Error, Result};

    thread_local! {
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    }

    pub(crate) const CODE: &str = "simulated-crash";

    /// Lets this thread pass `points` points and stops it at the next; `None` never stops it.
    pub(crate) fn stop_after(points: Option<u64>) {
        LEFT.set(points);
    }

    pub(crate) fn alive() -> bool {
        LEFT.get() != Some(0)
    }

    pub(crate) fn point(_name: &str, _n: u64) -> Result<()> {
        match LEFT.get() {
            Some(0) => Err(Error::host(CODE, "the test stopped here")),
            left => {
                LEFT.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}
