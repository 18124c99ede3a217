// SPDX-License-Identifier: Apache-2.0
//! What starts VMware Tools at boot, by whatever init the guest has, and how it is kept from it.

use super::super::gather::Gatherer;
use super::super::packages::Package;
use crate::error::Result;
use crate::inspect::facts::Sources;
use crate::plan::{Action, Attrs};

/// Units of open-vm-tools and of VMware's own installer, by any distribution's name.
const UNITS: [&str; 11] = [
    "open-vm-tools.service",
    "vgauth.service",
    "vgauthd.service",
    "vmtoolsd.service",
    "vmware-tools.service",
    "vmware-tools-services.service",
    "vmware-tools-thinprint.service",
    "run-vmblock\\x2dfuse.mount",
    "vmware-vmblock-fuse.service",
    "vmblock-fuse.service",
    "proc-fs-vmblock-mountPoint.mount",
];
const UNIT_DIRS: [&str; 3] = [
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Scripts of init and jobs of upstart.
const SCRIPTS: [&str; 7] = [
    "vmware-tools",
    "vmware-tools-services",
    "vmware-tools-thinprint",
    "open-vm-tools",
    "vmtoolsd",
    "vmtools",
    "vgauthd",
];
const INIT_D: &str = "/etc/init.d";
const UPSTART: &str = "/etc/init";
const RUNLEVELS: &str = "/etc/runlevels";
/// Above the directories of links: Red Hat's, Debian's, SUSE's.
const RC_DIRS: [&str; 3] = ["/etc/rc.d", "/etc", "/etc/init.d"];
const LEVELS: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "S"];

/// What starts the tools: units by name, scripts and jobs by path.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub(super) fn gather(gather: &mut Gatherer<'_>, packages: &[Package]) -> Result<Vec<String>> {
    let mut found = units(gather, packages)?;
    let mut scripts = SCRIPTS.map(str::to_owned).to_vec();
    scripts.extend(named(packages, "/init.d/"));
    scripts.sort();
    scripts.dedup();
    let mut links = None;
    for script in scripts {
        let path = format!("{INIT_D}/{script}");
        if gather.exists(&path)? {
            let links = match &links {
                Some(links) => links,
                None => links.insert(start_links(gather)?),
            };
            let masked = gather.link(&mask(&format!("{script}.service")))?;
            let started = links.iter().any(|link| is_link_of(link, &script));
            let native = found.contains(&format!("{script}.service"));
            if started && !native && masked.as_deref() != Some("/dev/null") {
                found.push(path);
            }
        }
        let job = format!("{UPSTART}/{script}.conf");
        if gather.exists(&job)? && !gather.file(&over(&job))? {
            found.push(job);
        }
    }
    Ok(found)
}

fn units(gather: &mut Gatherer<'_>, packages: &[Package]) -> Result<Vec<String>> {
    let mut names = UNITS.map(str::to_owned).to_vec();
    let theirs = named(packages, "/systemd/system/");
    names.extend(theirs.filter(|name| !name.contains('/')));
    names.sort();
    names.dedup();
    let mut found = Vec::new();
    for unit in &names {
        let mut there = false;
        for dir in UNIT_DIRS {
            there |= gather.exists(&format!("{dir}/{unit}"))?;
        }
        let masked = gather.link(&mask(unit))?;
        if there && masked.as_deref() != Some("/dev/null") {
            found.push(unit.clone());
        }
    }
    // vmtoolsd.service is Debian's alias: a link in /etc to a unit that is masked by its own name.
    let alias = |unit: &String| {
        let link = gather.sources.links.get(&mask(unit));
        let to = |other: &String| link.is_some_and(|to| to.ends_with(&format!("/{other}")));
        names.iter().any(|other| other != unit && to(other))
    };
    found.retain(|unit| !alias(unit));
    Ok(found)
}

/// The last parts of the packages' files in a directory.
fn named(packages: &[Package], dir: &'static str) -> impl Iterator<Item = String> {
    let files = packages.iter().flat_map(|package| package.files.clone());
    files.filter_map(move |file| {
        let (_, name) = file.rsplit_once(dir)?;
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.@\\".contains(c);
        (!name.is_empty() && name.chars().all(good)).then(|| name.to_owned())
    })
}

/// Every link that init follows at boot, as paths. They are recorded as listings.
fn start_links(gather: &mut Gatherer<'_>) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let mut dirs: Vec<String> = Vec::new();
    for above in RC_DIRS {
        dirs.extend(LEVELS.map(|level| format!("{above}/rc{level}.d")));
    }
    for level in gather.dir(RUNLEVELS)? {
        dirs.push(format!("{RUNLEVELS}/{level}"));
    }
    for dir in dirs {
        // Red Hat's /etc/rc3.d is a link to /etc/rc.d/rc3.d.
        if gather.link(&dir)?.is_some() {
            continue;
        }
        for name in gather.dir(&dir)? {
            out.push(format!("{dir}/{name}"));
        }
    }
    Ok(out)
}

/// `S50vmware-tools`, or in a runlevel of OpenRC `vmware-tools`.
fn is_link_of(link: &str, script: &str) -> bool {
    let name = link.rsplit('/').next().unwrap_or_default();
    let number = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    let order = name
        .strip_suffix(script)
        .and_then(|order| order.strip_prefix('S'));
    match link.starts_with(RUNLEVELS) {
        true => name == script,
        false => order.is_some_and(number),
    }
}

fn mask(unit: &str) -> String {
    format!("/etc/systemd/system/{unit}")
}

fn over(job: &str) -> String {
    format!("{}.override", job.trim_end_matches(".conf"))
}

/// What keeps one of the found from starting.
pub(super) fn disable(sources: &Sources, found: &str, systemd: bool) -> Vec<Action> {
    let script = found.strip_prefix(&format!("{INIT_D}/"));
    if found.starts_with(&format!("{UPSTART}/")) {
        return vec![Action::WriteFile {
            path: over(found).as_str().into(),
            before: None,
            content: b"manual\n".to_vec(),
            attrs: Attrs::FILE,
        }];
    }
    match script {
        Some(script) if !systemd => links_of(sources, script),
        // systemd makes a unit of that name of a script.
        Some(script) => vec![masked(&format!("{script}.service"))],
        None => vec![masked(found)],
    }
}

/// Removes the links that start a script.
fn links_of(sources: &Sources, script: &str) -> Vec<Action> {
    let all = sources
        .dirs
        .iter()
        .flat_map(|(dir, names)| names.iter().map(move |name| format!("{dir}/{name}")));
    let rc = |link: &String| {
        let mut above = RC_DIRS.iter();
        link.starts_with(RUNLEVELS) || above.any(|dir| link.starts_with(&format!("{dir}/rc")))
    };
    all.filter(|link| rc(link) && is_link_of(link, script))
        .map(|link| Action::RemoveFile {
            path: link.as_str().into(),
        })
        .collect()
}

fn masked(unit: &str) -> Action {
    Action::Symlink {
        path: mask(unit).as_str().into(),
        target: "/dev/null".to_owned(),
    }
}
