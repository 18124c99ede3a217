// SPDX-License-Identifier: Apache-2.0
//! Which driver of a bundle serves which device on one release, and why.

mod choose;

use serde::{Deserialize, Serialize};

use crate::package::{Member, Package};
use crate::release::{Product, Release};
use crate::role::Role;

pub(crate) use choose::{evidence, flags, pick, resolve, unfit};

/// What was picked from a bundle for one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picks {
    /// For which Windows.
    pub release: Release,
    /// One per role that a driver serves, in the order of the roles asked for. A package that
    /// serves two roles stands here twice.
    pub picks: Vec<Pick>,
    /// Roles that nothing in the bundle serves.
    pub missing: Vec<Missing>,
    /// The installer of QEMU's guest agent for the architecture, where the bundle has it.
    pub agent: Option<Member>,
}

/// The driver for one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pick {
    /// What it is for.
    pub role: Role,
    /// The package.
    pub package: Package,
    /// How it fits.
    pub fit: Fit,
    /// Why this one, in one sentence for people.
    pub reason: String,
    /// What is to be known of it.
    pub flags: Vec<Flag>,
    /// Others that were passed over or serve other Windows, each with why. What fits but less well
    /// is not among them.
    pub rejected: Vec<Rejected>,
}

/// How a package fits a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// The models section that the release takes, with its decoration: `VioStor.NTamd64.10.0`.
    pub models: String,
    /// The product whose folder it lies in; `None` where folders say nothing.
    pub folder: Option<Product>,
    /// Whether the folder is the release's own, or there is none.
    pub exact: bool,
}

/// A package that was not picked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The INF's path in the bundle.
    pub inf: String,
    /// Why not.
    pub why: String,
}

/// A role that nothing serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The role.
    pub role: Role,
    /// Why nothing fits.
    pub why: String,
    /// Those that came near, each with why not.
    pub rejected: Vec<Rejected>,
}

/// Something to know of a pick.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "flag", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Flag {
    /// It lies in another release's folder.
    NearVersion {
        /// Whose.
        folder: Product,
    },
    /// Nobody vouches for a file: Critical unless unsigned drivers are allowed.
    Unvouched {
        /// The file's path in the bundle.
        file: String,
        /// Why not.
        why: String,
    },
    /// Signed with SHA-1 only; Windows with Secure Boot and all from 10 on may refuse it.
    Sha1Only,
    /// Signed with SHA-256 only; this release reads that after an update (KB4474419) only.
    Sha256Only,
    /// The signature could not be checked.
    SignatureOpen {
        /// What was not checked.
        why: String,
    },
    /// The INF asks for something that is not followed.
    Ignored {
        /// What.
        what: String,
    },
}

impl Picks {
    /// The pick for a role.
    pub fn of(&self, role: Role) -> Option<&Pick> {
        self.picks.iter().find(|pick| pick.role == role)
    }

    /// Every package once, in the order of the picks.
    pub fn packages(&self) -> Vec<&Package> {
        let mut out: Vec<&Package> = Vec::new();
        for pick in &self.picks {
            if !out.iter().any(|package| package.inf == pick.package.inf) {
                out.push(&pick.package);
            }
        }
        out
    }
}

impl Pick {
    /// Whether somebody vouches for the INF and every file.
    pub fn is_vouched(&self) -> bool {
        let unvouched = |flag: &Flag| matches!(flag, Flag::Unvouched { .. });
        !self.flags.iter().any(unvouched)
    }

    /// The service that drives the role's devices, for example `viostor`.
    pub fn service(&self) -> Option<&crate::package::Service> {
        self.package.service_of(self.role)
    }
}
