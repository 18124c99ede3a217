// SPDX-License-Identifier: Apache-2.0
//! Installed packages, as far as topics ask about them: the status file of dpkg.

use super::gather::Gatherer;
use super::text::lines;
use crate::error::Result;
use crate::fs::{FileType, Metadata};
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, SourceFile, Sources};
use crate::plan::{Policy, Proposal, Target};
use crate::verify::Check;

const DPKG_STATUS: &str = "/var/lib/dpkg/status";
/// Where images without a status file keep one file per package.
const DPKG_STATUS_DIR: &str = "/var/lib/dpkg/status.d";
/// A status file of 20,000 packages is about 20 MiB.
const MAX_STATUS: u64 = 64 << 20;

/// A package of which dpkg knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version, epoch and revision included.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// Its files are there (also half-configured and the like); false when only configuration is
    /// left.
    pub installed: bool,
}

/// Reads dpkg's status file (deb822 stanzas, deb-control(5)); stanzas without a name are skipped.
pub fn parse(bytes: &[u8]) -> Vec<Package> {
    stanzas(bytes).into_iter().filter_map(package).collect()
}

/// Nothing is changed about packages here; topics do that.
pub fn propose(_: &Facts, _: &Target, _: &Policy) -> Proposal {
    Proposal::default()
}

/// Nothing is asserted about packages here.
pub const CHECKS: &[Check] = &[];

/// Records an excerpt of the status file: the stanzas of packages that some topic asks about.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    let mut excerpt = Vec::new();
    match gather.tree().read_up_to(&DPKG_STATUS.into(), MAX_STATUS) {
        Ok(Some(status)) => keep_wanted(&status, &mut excerpt),
        Ok(None) => {}
        Err(error) if error.code == "file-too-large" => gather.concerns.push(Concern::warning(
            "unreadable-file",
            format!("the package list was not read: {error}"),
        )),
        Err(error) => return Err(error),
    }
    for name in gather.tree().list(&DPKG_STATUS_DIR.into())? {
        let Ok(name) = std::str::from_utf8(&name) else {
            continue;
        };
        if !is_wanted(name) {
            continue;
        }
        let path = format!("{DPKG_STATUS_DIR}/{name}");
        if let Some(stanza) = gather.tree().read(&path.as_str().into())? {
            keep_wanted(&stanza, &mut excerpt);
        }
    }
    if !excerpt.is_empty() {
        record(&mut gather.sources, excerpt);
    }
    Ok(())
}

/// The gathered packages.
pub fn of(sources: &Sources) -> Vec<Package> {
    sources.bytes(DPKG_STATUS).map(parse).unwrap_or_default()
}

/// The version of an installed package.
pub fn version(packages: &[Package], name: &str) -> Option<String> {
    packages
        .iter()
        .find(|package| package.installed && package.name == name)
        .map(|package| package.version.clone())
}

fn is_wanted(name: &str) -> bool {
    name.contains("open-vm-tools")
        || name.contains("vmware")
        || matches!(
            name,
            "systemd" | "udev" | "qemu-guest-agent" | "initramfs-tools" | "dracut"
        )
}

fn keep_wanted(status: &[u8], excerpt: &mut Vec<u8>) {
    for stanza in stanzas(status) {
        if field(stanza, "Package").is_some_and(|name| is_wanted(&name)) {
            excerpt.extend_from_slice(stanza);
            excerpt.extend_from_slice(b"\n\n");
        }
    }
}

fn record(sources: &mut Sources, excerpt: Vec<u8>) {
    let meta = Metadata {
        file_type: FileType::File,
        len: excerpt.len() as u64,
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    let file = SourceFile {
        real: DPKG_STATUS.into(),
        meta,
        content: excerpt,
    };
    sources.files.insert(DPKG_STATUS.to_owned(), file);
}

/// The runs of lines between empty lines.
fn stanzas(bytes: &[u8]) -> Vec<&[u8]> {
    let mut out = Vec::new();
    let mut start: Option<usize> = None;
    let mut end = 0;
    for line in lines(bytes) {
        if line.bytes.iter().all(u8::is_ascii_whitespace) {
            if let Some(from) = start.take() {
                out.extend(bytes.get(from..end));
            }
        } else {
            start = start.or(Some(line.start));
            end = line.end;
        }
    }
    if let Some(from) = start {
        out.extend(bytes.get(from..end));
    }
    out
}

fn field(stanza: &[u8], name: &str) -> Option<String> {
    lines(stanza).into_iter().find_map(|line| {
        let (key, value) = line.bytes.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        key.eq_ignore_ascii_case(name.as_bytes())
            .then(|| String::from_utf8_lossy(value).trim().to_owned())
    })
}

fn package(stanza: &[u8]) -> Option<Package> {
    // "want flag status": only the last word says what is on the disk (dpkg(1)).
    let status = field(stanza, "Status").unwrap_or_else(|| "install ok installed".to_owned());
    let state = status.split_whitespace().nth(2).unwrap_or_default();
    Some(Package {
        name: field(stanza, "Package")?,
        version: field(stanza, "Version").unwrap_or_default(),
        arch: field(stanza, "Architecture").unwrap_or_default(),
        installed: !matches!(state, "not-installed" | "config-files" | ""),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::fs::MemoryFs;

    const STATUS: &str = "Package: adduser\nStatus: install ok installed\nVersion: 3.134\n\nPackage: open-vm-tools\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2:12.2.0-1+deb12u2\nDescription: x\n Package: not-me\n .\n\n\nPackage: open-vm-tools-desktop\nStatus: deinstall ok config-files\nVersion: 2:12\n\nStatus: lonely\n\nPackage: systemd\nStatus: install ok half-configured\nVersion: 252.30-1";

    #[test]
    fn stanzas_are_read_and_continuation_lines_are_not_fields() {
        let all = parse(STATUS.as_bytes());
        let names: Vec<_> = all.iter().map(|p| (p.name.as_str(), p.installed)).collect();
        assert_eq!(
            names,
            [
                ("adduser", true),
                ("open-vm-tools", true),
                ("open-vm-tools-desktop", false),
                ("systemd", true)
            ]
        );
        assert_eq!(all[1].arch, "amd64");
        assert_eq!(version(&all, "systemd").as_deref(), Some("252.30-1"));
    }

    #[test]
    fn only_what_is_asked_about_is_kept() {
        let crlf = STATUS.replace('\n', "\r\n");
        for status in [STATUS, &crlf] {
            let fs = MemoryFs::new().file("/var/lib/dpkg/status", status).file(
                "/var/lib/dpkg/status.d/qemu-guest-agent",
                "Package: qemu-guest-agent\nVersion: 1\n",
            );
            let facts = fixture::gathered(fs);
            let names: Vec<_> = of(&facts.sources).into_iter().map(|p| p.name).collect();
            assert_eq!(
                names,
                [
                    "open-vm-tools",
                    "open-vm-tools-desktop",
                    "systemd",
                    "qemu-guest-agent"
                ]
            );
        }
    }
}
