// SPDX-License-Identifier: Apache-2.0
//! `guestfix drivers`.

mod text;

use std::path::PathBuf;

use drivers::{Bundle, Flag, Pick, Picks, Release, Role, Signature, SignatureCheck, SurveyRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::args::DriversArgs;
use super::output::Output;
use crate::error::{Error, Result};

/// The document `guestfix.io/drivers/v1`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct DriversDocument {
    /// Always `guestfix.io/drivers/v1`.
    pub schema: String,
    /// The bundle, as it was named.
    pub bundle: PathBuf,
    /// Every INF that can be read.
    pub drivers: Vec<DriverView>,
    /// INFs that cannot be read.
    pub damaged: Vec<OtherView>,
    /// Installers of QEMU's guest agent.
    pub guest_agents: Vec<String>,
    /// What would be picked, with `--for`.
    pub picked: Option<PickedView>,
}

/// One INF.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct DriverView {
    /// Its path in the bundle.
    pub inf: String,
    /// What it is for: block, scsi, net and so on; empty for a device that guestfix does not know.
    pub roles: Vec<String>,
    /// The release whose folder it lies in: w10, 2k22 and so on.
    pub folder: Option<String>,
    /// Architectures that it serves.
    pub archs: Vec<String>,
    /// Its models sections with their decorations.
    pub models: Vec<String>,
    /// Version of the driver.
    pub version: String,
    /// Date of the driver, year first.
    pub date: Option<String>,
    /// Its maker.
    pub provider: String,
    /// Who vouches for it; absent where nobody does.
    pub signature: Option<SignatureView>,
    /// What is to be known of it on the release that it is made for.
    pub notes: Vec<NoteView>,
    /// Why it cannot be used at all.
    pub problem: Option<String>,
}

/// A signature; Microsoft's roots are not held by guestfix, so none is called trusted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct SignatureView {
    /// Common name of the signer.
    pub signer: String,
    /// Common name of who issued the signer's certificate.
    pub issuer: String,
    /// The name at the end of the chain in the file.
    pub root: String,
    /// The digest that was signed: sha1, sha256 and so on.
    pub digest: String,
    /// What could be checked: chain-consistent (each certificate by the next up to a root in the
    /// file), chain-open (the same, but the root is not in the file), not-checked or broken.
    pub check: String,
}

/// Something to know of a driver.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct NoteView {
    /// Stable word: near-version, unvouched, sha1-only, sha256-only, signature-open, ignored.
    pub id: String,
    /// Whether convert refuses it without `--allow-unsigned-drivers`.
    pub critical: bool,
    /// A sentence.
    pub message: String,
}

/// An INF that is not used.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct OtherView {
    /// Its path in the bundle.
    pub inf: String,
    /// Why.
    pub why: String,
}

/// What would be picked for one release.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct PickedView {
    /// The release, for people.
    pub release: String,
    /// One per role.
    pub picks: Vec<PickView>,
    /// Roles that nothing serves.
    pub missing: Vec<MissingView>,
    /// The guest agent's installer.
    pub guest_agent: Option<String>,
    /// Whether a disk driver is there that somebody vouches for.
    pub bootable: bool,
}

/// The driver for one role.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct PickView {
    /// What it is for.
    pub role: String,
    /// The INF's path in the bundle.
    pub inf: String,
    /// Version of the driver.
    pub version: String,
    /// The service that drives the device.
    pub service: Option<String>,
    /// The section that serves the release.
    pub models: String,
    /// Hardware ids, the most special first.
    pub hardware_ids: Vec<String>,
    /// Files that are copied, with their places below the Windows folder.
    pub files: Vec<FileView>,
    /// Why this one.
    pub reason: String,
    /// What is to be known of it.
    pub notes: Vec<NoteView>,
    /// Others, with why they were passed over.
    pub rejected: Vec<OtherView>,
}

/// A file of a driver.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct FileView {
    /// Its path in the bundle.
    pub member: String,
    /// Where it goes, below the Windows folder; absent where the INF's words for it are not known.
    pub goal: Option<String>,
    /// Length in bytes.
    pub len: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Who signed what vouches for it.
    pub signature: Option<SignatureView>,
}

/// A role that nothing serves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct MissingView {
    /// The role.
    pub role: String,
    /// Why.
    pub why: String,
    /// Those that came near.
    pub rejected: Vec<OtherView>,
}

pub(super) fn run(args: &DriversArgs, output: &Output) -> Result<u8> {
    let release = args.release.as_deref().map(str::parse::<Release>);
    let release = release.transpose().map_err(Error::of_bundle)?;
    let bundle = Bundle::open(&args.bundle).map_err(Error::of_bundle)?;
    let survey = bundle.survey().map_err(Error::of_bundle)?;
    let picked = release.map(|release| bundle.pick(&release, Role::ALL));
    let picked = picked.transpose().map_err(Error::of_bundle)?;
    let document = DriversDocument {
        schema: "guestfix.io/drivers/v1".to_owned(),
        bundle: args.bundle.clone(),
        drivers: survey.rows.iter().map(driver).collect(),
        damaged: survey.damaged.iter().map(other).collect(),
        guest_agents: survey.agents,
        picked: picked.as_ref().map(picked_view),
    };
    output.result(&document, text::render);
    Ok(u8::from(document.picked.is_some_and(|p| !p.bootable)))
}

fn driver(row: &SurveyRow) -> DriverView {
    let (year, month, day) = row.version.date;
    DriverView {
        inf: row.inf.clone(),
        roles: row.roles.iter().map(ToString::to_string).collect(),
        folder: row.folder.map(|folder| folder.to_string()),
        archs: row.archs.iter().map(ToString::to_string).collect(),
        models: row.models.clone(),
        version: row.version.dotted(),
        date: (year != 0).then(|| format!("{year:04}-{month:02}-{day:02}")),
        provider: row.provider.clone(),
        signature: row.signature.as_ref().map(signature),
        notes: row.flags.iter().map(note).collect(),
        problem: row.problem.clone(),
    }
}

fn signature(signature: &Signature) -> SignatureView {
    let check = match &signature.check {
        SignatureCheck::ChainConsistent => "chain-consistent",
        SignatureCheck::ChainOpen => "chain-open",
        SignatureCheck::NotChecked { .. } => "not-checked",
        SignatureCheck::Broken { .. } => "broken",
    };
    SignatureView {
        signer: signature.signer.clone(),
        issuer: signature.issuer.clone(),
        root: signature.root.clone(),
        digest: format!("{:?}", signature.digest).to_lowercase(),
        check: check.to_owned(),
    }
}

fn note(flag: &Flag) -> NoteView {
    let (id, message) = match flag {
        Flag::NearVersion { folder } => (
            "near-version",
            format!("lies in the folder of {}", folder.title()),
        ),
        Flag::Unvouched { file, why } => ("unvouched", format!("nobody vouches for {file}: {why}")),
        Flag::Sha1Only => (
            "sha1-only",
            "signed with SHA-1 only, which this release may refuse".to_owned(),
        ),
        Flag::Sha256Only => (
            "sha256-only",
            "signed with SHA-256 only, which this release reads with update KB4474419".to_owned(),
        ),
        Flag::SignatureOpen { why } => (
            "signature-open",
            format!("its signature was not checked: {why}"),
        ),
        Flag::Ignored { what } => (
            "ignored",
            format!("the INF asks for {what}, which is left to Windows"),
        ),
        other => ("other", format!("{other:?}")),
    };
    NoteView {
        id: id.to_owned(),
        critical: matches!(flag, Flag::Unvouched { .. }),
        message,
    }
}

fn other(rejected: &drivers::Rejected) -> OtherView {
    OtherView {
        inf: rejected.inf.clone(),
        why: rejected.why.clone(),
    }
}

fn picked_view(picks: &Picks) -> PickedView {
    let boots = |pick: &Pick| pick.role.boots() && pick.is_vouched();
    PickedView {
        release: picks.release.title(),
        picks: picks.picks.iter().map(pick).collect(),
        missing: picks
            .missing
            .iter()
            .map(|missing| MissingView {
                role: missing.role.to_string(),
                why: missing.why.clone(),
                rejected: missing.rejected.iter().map(other).collect(),
            })
            .collect(),
        guest_agent: picks.agent.as_ref().map(|agent| agent.path.clone()),
        bootable: picks.picks.iter().any(boots),
    }
}

fn pick(pick: &Pick) -> PickView {
    let package = &pick.package;
    let store = package.store_name();
    let ids = package.devices_of(pick.role).flat_map(|device| &device.ids);
    PickView {
        role: pick.role.to_string(),
        inf: package.inf.path.clone(),
        version: package.version.dotted(),
        service: pick.service().map(|service| service.name.clone()),
        models: pick.fit.models.clone(),
        hardware_ids: ids.map(|id| id.id.clone()).collect(),
        files: package
            .files
            .iter()
            .map(|file| FileView {
                member: file.member.path.clone(),
                goal: file.place.below_windows(&store),
                len: file.member.len,
                sha256: file.member.sha256.clone(),
                signature: file.vouch.signature().map(signature),
            })
            .collect(),
        reason: pick.reason.clone(),
        notes: pick.flags.iter().map(note).collect(),
        rejected: pick.rejected.iter().map(other).collect(),
    }
}
