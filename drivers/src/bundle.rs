// SPDX-License-Identifier: Apache-2.0
//! A bundle: a directory or ISO image, and the driver packages in it.

mod examine;
mod index;
mod survey;

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::package::Member;
use crate::pick::{self, Picks};
use crate::release::Release;
use crate::role::Role;
use crate::source::Files;

pub(crate) use examine::{Evidence, Witness};
pub(crate) use index::{Damaged, Entry, Index};
pub use survey::{Survey, SurveyRow};

/// An open bundle.
#[derive(Debug)]
pub struct Bundle {
    files: Files,
    index: Index,
}

impl Bundle {
    /// Opens a directory or an ISO image and reads its INFs. Layouts: virtio-win's image
    /// (`viostor/w10/amd64`), `/usr/share/virtio-win`, a folder of INFs, and a folder in which only
    /// an ISO lies.
    ///
    /// # Errors
    /// `Host`/`io` for what cannot be opened; `Unsupported`/`no-bundle` where there is neither image
    /// nor INF; `Corrupt`/`iso-damaged`, `iso-cut-short` or `bundle-too-large`. A damaged INF is no
    /// error: it is told where it would have been picked.
    pub fn open(path: &Path) -> Result<Self> {
        let files = Files::open(path)?;
        let index = Index::of(&files);
        if index.entries.is_empty() && index.damaged.is_empty() {
            return Err(Error::new(
                Kind::Unsupported,
                "no-bundle",
                format!("{} holds no drivers: not one INF file", path.display()),
            )
            .hint("name a virtio-win ISO image, or a directory with its files"));
        }
        Ok(Self { files, index })
    }

    /// Picks the drivers for a release: one per role.
    ///
    /// # Errors
    /// When a file of a package cannot be read from the bundle.
    pub fn pick(&self, release: &Release, roles: &[Role]) -> Result<Picks> {
        let (picks, missing) = pick::pick(&self.index, release, roles, &self.files)?;
        let agent = self.index.agent(release.arch);
        let agent = agent.map(|path| Ok(examine::member(path, &self.files.read(path)?)));
        Ok(Picks {
            release: release.clone(),
            picks,
            missing,
            agent: agent.transpose()?,
        })
    }

    /// Everything that the bundle holds, for people: every INF with its files looked at.
    ///
    /// # Errors
    /// When a file cannot be read from the bundle.
    pub fn survey(&self) -> Result<Survey> {
        survey::survey(&self.index, &self.files)
    }

    /// The bytes of a member.
    ///
    /// # Errors
    /// `Host`/`io`; `Corrupt`/`bundle-changed` when they are no longer what `Member` says.
    pub fn read(&self, member: &Member) -> Result<Vec<u8>> {
        let bytes = self.files.read(&member.path)?;
        if examine::member(&member.path, &bytes) != *member {
            return Err(Error::corrupt(
                "bundle-changed",
                format!(
                    "{} in the driver bundle changed while it was in use",
                    member.path
                ),
            )
            .hint("leave the bundle alone while guestfix runs, and run the command again"));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
