// SPDX-License-Identifier: Apache-2.0
//! The choice itself.
//!
//! An INF must serve the release by its own decorations; folders come second. Of those that do, in
//! this order: the release's own folder (or none), the highest Windows version that the decoration
//! names, the nearest folder, a driver before a null driver, the closest decoration, the newest.
//! The first that somebody vouches for is taken; the first that nobody does only where all are so.

use std::cmp::Reverse;

use super::{Fit, Flag, Missing, Pick, Rejected};
use crate::bundle::{Damaged, Entry, Evidence, Index, Witness};
use crate::error::Result;
use crate::inf::{Installs, Models};
use crate::package::{DigestKind, Package, Text, Vouch};
use crate::release::{Arch, Product, Release};
use crate::role::Role;

/// Others that are told of beside a pick.
const MAX_REJECTED: usize = 12;

/// An INF resolved for a release.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    models: Models,
    installs: Installs,
    /// Whose folder it lies in, if that is another release's.
    near: Option<Product>,
}

/// Picks a driver per role.
///
/// # Errors
/// Those of the witness.
pub(crate) fn pick(
    index: &Index,
    release: &Release,
    roles: &[Role],
    witness: &dyn Witness,
) -> Result<(Vec<Pick>, Vec<Missing>)> {
    let mut picks = Vec::new();
    let mut missing = Vec::new();
    for role in roles {
        match one(index, release, *role, witness)? {
            Ok(pick) => picks.push(pick),
            Err(nothing) => missing.push(nothing),
        }
    }
    Ok((picks, missing))
}

fn one(
    index: &Index,
    release: &Release,
    role: Role,
    witness: &dyn Witness,
) -> Result<Result<Pick, Missing>> {
    let mut rejected = Vec::new();
    let candidates = candidates(index, release, role, &mut rejected);
    let mut doubtful: Option<(&Entry, Resolved, Evidence, Vec<Flag>)> = None;
    let mut chosen = None;
    let mut before = Vec::new();
    for (entry, resolved) in candidates {
        if chosen.is_some() {
            break;
        }
        let evidence = evidence(entry, &resolved, release.arch, witness)?;
        if let Some(why) = unfit(&evidence, release.arch) {
            before.push(reject(entry, &why));
            continue;
        }
        let flags = flags(release, &resolved, &evidence);
        match doubt(&flags) {
            None => chosen = Some((entry, resolved, evidence, flags)),
            Some(why) => {
                before.push(reject(entry, &why));
                doubtful.get_or_insert((entry, resolved, evidence, flags));
            }
        }
    }
    let taken = chosen.or(doubtful);
    before.extend(rejected);
    let Some((entry, resolved, evidence, flags)) = taken else {
        return Ok(Err(nothing(index, release, role, before)));
    };
    before.retain(|other| other.inf != entry.path);
    before.truncate(MAX_REJECTED);
    Ok(Ok(Pick {
        role,
        reason: reason(entry, &resolved, release),
        fit: Fit {
            models: resolved.models.sections.clone(),
            folder: entry.folder,
            exact: resolved.near.is_none(),
        },
        package: package(entry, resolved, evidence, release.arch),
        flags,
        rejected: before,
    }))
}

/// Those that serve the role on the release, best first; the others with why they do not.
fn candidates<'a>(
    index: &'a Index,
    release: &Release,
    role: Role,
    rejected: &mut Vec<Rejected>,
) -> Vec<(&'a Entry, Resolved)> {
    let near = release.product.near();
    let mut out = Vec::new();
    for entry in index.entries.iter().filter(|e| e.roles.contains(&role)) {
        let resolved = resolve(entry, release);
        if entry.arch.is_some_and(|arch| arch != release.arch) {
            continue;
        }
        if resolved.models.devices.iter().any(|d| d.role == Some(role)) {
            out.push((entry, resolved));
        } else {
            let sections = entry.inf.every_models_section().join(", ");
            rejected.push(reject(
                entry,
                &format!("its sections are for other Windows: {sections}"),
            ));
        }
    }
    out.sort_by_cached_key(|(entry, resolved)| {
        let distance = entry
            .folder
            .and_then(|own| near.iter().position(|p| *p == own));
        let service = resolved
            .installs
            .sections
            .iter()
            .any(|i| i.function_service().is_some());
        (
            resolved.near.is_some(),
            Reverse(resolved.models.closeness.windows()),
            distance,
            !service,
            Reverse((resolved.models.closeness, entry.header.version)),
            entry.path.clone(),
        )
    });
    out
}

/// What an INF says for a release.
pub(crate) fn resolve(entry: &Entry, release: &Release) -> Resolved {
    let mut models = entry.inf.models(release);
    let names = models.devices.iter().map(|device| device.install.as_str());
    let installs = entry.inf.installs(names, release.arch);
    let known = |name: &str| {
        installs
            .sections
            .iter()
            .any(|i| i.name.eq_ignore_ascii_case(name))
    };
    models.devices.retain(|device| known(&device.install));
    Resolved {
        near: entry.folder.filter(|folder| *folder != release.product),
        models,
        installs,
    }
}

/// Looks at the files of a resolved INF.
pub(crate) fn evidence(
    entry: &Entry,
    resolved: &Resolved,
    arch: Arch,
    witness: &dyn Witness,
) -> Result<Evidence> {
    witness.examine(
        &entry.path,
        entry.inf.catalog(arch),
        &resolved.installs.copies,
    )
}

/// Why a package cannot be used at all.
pub(crate) fn unfit(evidence: &Evidence, arch: Arch) -> Option<String> {
    if let Some(name) = evidence.missing.first() {
        return Some(format!("its file {name} is missing"));
    }
    if let Some(what) = evidence.damaged.first() {
        return Some(what.clone());
    }
    let driver =
        |file: &&crate::package::DriverFile| file.member.name().to_lowercase().ends_with(".sys");
    evidence.files.iter().filter(driver).find_map(|file| {
        let name = file.member.name();
        match &file.image {
            None => Some(format!("{name} is no PE image")),
            Some(image) if image.arch != Some(arch) => {
                let own = image.arch.map_or_else(
                    || format!("machine {:#06x}", image.machine),
                    |own| own.to_string(),
                );
                Some(format!("{name} is an image for {own}, not for {arch}"))
            }
            Some(_) => None,
        }
    })
}

/// What is to be known of a package on a release.
pub(crate) fn flags(release: &Release, resolved: &Resolved, evidence: &Evidence) -> Vec<Flag> {
    let near = resolved.near.map(|folder| Flag::NearVersion { folder });
    let mut out: Vec<Flag> = near.into_iter().collect();
    let files = evidence
        .files
        .iter()
        .map(|file| (&file.member, &file.vouch));
    for (member, vouch) in std::iter::once((&evidence.inf, &evidence.inf_vouch)).chain(files) {
        if !vouch.is_vouched() {
            out.push(Flag::Unvouched {
                file: member.path.clone(),
                why: why_unvouched(vouch),
            });
        }
    }
    let sha1 = evidence.signed_with.contains(&DigestKind::Sha1);
    let stronger = evidence
        .signed_with
        .iter()
        .any(|kind| *kind != DigestKind::Sha1);
    if release.needs_sha1() && stronger && !sha1 {
        out.push(Flag::Sha256Only);
    }
    if !release.needs_sha1() && sha1 && !stronger {
        out.push(Flag::Sha1Only);
    }
    if let Some(signature) = evidence.inf_vouch.signature()
        && let crate::package::SignatureCheck::NotChecked { why } = &signature.check
    {
        out.push(Flag::SignatureOpen { why: why.clone() });
    }
    let sections = &resolved.installs.sections;
    let ignored = sections.iter().flat_map(|install| &install.ignored);
    out.extend(ignored.map(|what| Flag::Ignored { what: what.clone() }));
    out
}

fn why_unvouched(vouch: &Vouch) -> String {
    match vouch {
        Vouch::Nobody { why } => why.clone(),
        Vouch::Catalog { signature, .. } => match signature {
            None => "nobody signed its catalogue".to_owned(),
            Some(_) => "the signature of its catalogue is wrong".to_owned(),
        },
        Vouch::Embedded { .. } => "its own signature is wrong".to_owned(),
    }
}

/// Why another package is to be preferred.
fn doubt(flags: &[Flag]) -> Option<String> {
    flags.iter().find_map(|flag| match flag {
        Flag::Unvouched { file, why } => Some(format!("nobody vouches for {file}: {why}")),
        _ => None,
    })
}

fn package(entry: &Entry, resolved: Resolved, evidence: Evidence, arch: Arch) -> Package {
    let header = &entry.header;
    let texts = resolved
        .models
        .devices
        .iter()
        .flat_map(|device| [&device.manufacturer, &device.description]);
    Package {
        strings: texts.filter_map(token).collect(),
        inf: evidence.inf,
        catalog: evidence.catalog,
        catalog_name: entry.inf.catalog(arch).map(str::to_owned),
        files: evidence.files,
        arch,
        class: header.class.clone(),
        class_guid: header.class_guid.clone(),
        provider: header.provider.clone(),
        version: header.version,
        pnp_lockdown: header.pnp_lockdown,
        devices: resolved.models.devices,
        installs: resolved.installs.sections,
    }
}

/// A token in lower case without its percent signs, and its text.
fn token(text: &Text) -> Option<(String, String)> {
    let token = text.token();
    let inner = token.strip_prefix('%')?.strip_suffix('%')?;
    Some((inner.to_owned(), text.text.clone()))
}

fn reason(entry: &Entry, resolved: &Resolved, release: &Release) -> String {
    let section = &resolved.models.sections;
    let product = release.product.title();
    let build = release.build;
    match entry.folder {
        Some(folder) if resolved.near.is_some() => format!(
            "nothing in a folder of {product} can be used; this one lies in that of {}, and its \
             section {section} serves build {build}",
            folder.title()
        ),
        Some(_) => format!(
            "it lies in the folder of {product}, and its section {section} serves build {build}"
        ),
        None => format!("its section {section} serves build {build}; no folder names a release"),
    }
}

fn reject(entry: &Entry, why: &str) -> Rejected {
    Rejected {
        inf: entry.path.clone(),
        why: why.to_owned(),
    }
}

/// Why nothing serves a role.
fn nothing(index: &Index, release: &Release, role: Role, mut rejected: Vec<Rejected>) -> Missing {
    let serves = |entry: &&Entry| entry.roles.contains(&role);
    let mut archs: Vec<Arch> = index
        .entries
        .iter()
        .filter(serves)
        .filter_map(|e| e.arch)
        .collect();
    archs.sort_unstable();
    archs.dedup();
    let words: Vec<&str> = archs.iter().map(|arch| arch.as_str()).collect();
    let any = index.entries.iter().any(|entry| serves(&entry));
    let why = if !any {
        format!("the bundle has no driver for {role}")
    } else if !archs.is_empty() && !archs.contains(&release.arch) {
        format!("the bundle has its driver for {} only", words.join(" and "))
    } else {
        format!("no driver of the bundle can be used on {release}")
    };
    let own = |damaged: &&Damaged| damaged.arch.is_none_or(|arch| arch == release.arch);
    let damaged = index.damaged.iter().filter(own).map(|damaged| Rejected {
        inf: damaged.path.clone(),
        why: damaged.error.message.clone(),
    });
    rejected.extend(damaged);
    rejected.truncate(MAX_REJECTED);
    Missing {
        role,
        why,
        rejected,
    }
}

#[cfg(test)]
mod tests;
