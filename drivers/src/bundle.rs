// SPDX-License-Identifier: Apache-2.0
//! A bundle: a directory or ISO image, and the driver packages in it.

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::package::Member;
use crate::pick::Picks;
use crate::release::Release;
use crate::role::Role;

/// An open bundle.
#[derive(Debug)]
pub struct Bundle {}

impl Bundle {
    /// Opens a directory or an ISO image.
    ///
    /// # Errors
    /// `Host`/`io`, `Corrupt`/`iso-*`, `Unsupported`/`no-bundle`.
    pub fn open(path: &Path) -> Result<Self> {
        Err(Error::new(
            Kind::Unsupported,
            "no-bundle",
            format!("{} cannot be read yet", path.display()),
        ))
    }

    /// Picks the drivers for a release: one per role.
    ///
    /// # Errors
    /// When a file of a package cannot be read from the bundle.
    pub fn pick(&self, release: &Release, _roles: &[Role]) -> Result<Picks> {
        Ok(Picks {
            release: release.clone(),
            picks: Vec::new(),
            missing: Vec::new(),
            agent: None,
        })
    }

    /// The bytes of a member.
    ///
    /// # Errors
    /// `Host`/`io`; `Corrupt`/`bundle-changed` when length or digest are no longer what `Member`
    /// says.
    pub fn read(&self, _member: &Member) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}
