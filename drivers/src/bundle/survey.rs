// SPDX-License-Identifier: Apache-2.0
//! Everything that a bundle holds, one row per INF.

use serde::{Deserialize, Serialize};

use super::{Entry, Index, Witness};
use crate::error::Result;
use crate::package::{DriverVersion, Signature};
use crate::pick::{self, Flag, Rejected};
use crate::release::{Arch, Installation, Product, Release};
use crate::role::Role;

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// One per readable INF, sorted by path.
    pub rows: Vec<SurveyRow>,
    /// INFs that cannot be read, each with why.
    pub damaged: Vec<Rejected>,
    /// Paths of installers of QEMU's guest agent.
    pub agents: Vec<String>,
}

/// One INF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyRow {
    /// Its path in the bundle.
    pub inf: String,
    /// What it is for; empty for a device that no role knows.
    pub roles: Vec<Role>,
    /// The product whose folder it lies in.
    pub folder: Option<Product>,
    /// Architectures that its decorations name.
    pub archs: Vec<Arch>,
    /// Its models sections, with their decorations.
    pub models: Vec<String>,
    /// `DriverVer`.
    pub version: DriverVersion,
    /// `Provider`.
    pub provider: String,
    /// Who vouches for it, where anybody does.
    pub signature: Option<Signature>,
    /// What is to be known of it, on the release that it is made for.
    pub flags: Vec<Flag>,
    /// Why it could not be used on any release.
    pub problem: Option<String>,
}

pub(super) fn survey(index: &Index, witness: &dyn Witness) -> Result<Survey> {
    let rows = index.entries.iter().map(|entry| row(entry, witness));
    Ok(Survey {
        rows: rows.collect::<Result<_>>()?,
        damaged: index
            .damaged
            .iter()
            .map(|damaged| Rejected {
                inf: damaged.path.clone(),
                why: damaged.error.message.clone(),
            })
            .collect(),
        agents: index.agents.iter().map(|(path, _)| path.clone()).collect(),
    })
}

fn row(entry: &Entry, witness: &dyn Witness) -> Result<SurveyRow> {
    let archs = [Arch::X86, Arch::Amd64, Arch::Arm64];
    let serves = |release: &Release| !entry.inf.models(release).devices.is_empty();
    let all: Vec<Release> = releases(entry).filter(serves).collect();
    let mut out = SurveyRow {
        inf: entry.path.clone(),
        roles: entry.roles.clone(),
        folder: entry.folder,
        archs: archs
            .into_iter()
            .filter(|arch| all.iter().any(|release| release.arch == *arch))
            .collect(),
        models: entry.inf.every_models_section(),
        version: entry.header.version,
        provider: entry.header.provider.text.clone(),
        signature: None,
        flags: Vec::new(),
        problem: None,
    };
    let Some(release) = all.first() else {
        out.problem = Some("no Windows that is known here is served by its sections".to_owned());
        return Ok(out);
    };
    let fit = pick::resolve(entry, release);
    let evidence = pick::evidence(entry, &fit, release.arch, witness)?;
    out.problem = pick::unfit(&evidence, release.arch);
    out.signature = evidence.inf_vouch.signature().cloned();
    out.flags = pick::flags(release, &fit, &evidence);
    Ok(out)
}

/// Releases to look at an INF with: that of its folder first.
fn releases(entry: &Entry) -> impl Iterator<Item = Release> {
    let products = entry.folder.into_iter().chain(Product::all().rev());
    let archs = match entry.arch {
        Some(arch) => vec![arch],
        None => vec![Arch::Amd64, Arch::X86, Arch::Arm64],
    };
    products.flat_map(move |product| {
        let (major, minor) = product.version();
        let server = product.is_server();
        archs.clone().into_iter().map(move |arch| Release {
            product,
            major,
            minor,
            build: product.usual_build(),
            installation: if server {
                Installation::Server
            } else {
                Installation::Client
            },
            arch,
        })
    })
}
