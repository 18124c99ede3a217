// SPDX-License-Identifier: Apache-2.0
//! The operating systems that guestfix knows: the one list of OS rooms.

use crate::error::{Error, Result};
use crate::inspect::Recognise;
use crate::linux::{self, Linux};
use crate::plan::Propose;
use crate::verify::Check;
use crate::windows::{self, Windows};

/// One operating-system family: what its room contributes to each stage.
#[derive(Clone, Copy)]
pub struct Family {
    /// To inspection.
    pub recognise: &'static dyn Recognise,
    /// To deciding.
    pub propose: &'static dyn Propose,
    /// To verification.
    pub checks: fn() -> Vec<Check>,
}

impl std::fmt::Debug for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Family")
            .field(&self.recognise.family())
            .finish()
    }
}

/// Every family, in the order in which a filesystem is asked.
pub const FAMILIES: &[Family] = &[
    Family {
        recognise: &Linux,
        propose: &Linux,
        checks: linux::checks,
    },
    Family {
        recognise: &Windows,
        propose: &Windows,
        checks: windows::checks,
    },
];

/// The family of that name.
///
/// # Errors
/// `Internal` when there is none: facts name only families of the list.
pub(super) fn family(name: &str) -> Result<Family> {
    FAMILIES
        .iter()
        .find(|family| family.recognise.family() == name)
        .copied()
        .ok_or_else(|| Error::internal(format!("no family is called {name}")))
}
