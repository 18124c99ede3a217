// SPDX-License-Identifier: Apache-2.0
//! Installed packages, as far as topics ask about them: the databases of dpkg, rpm, apk, pacman
//! and portage, read without those programs.

use super::gather::Gatherer;
use crate::error::{Error, Result};
use crate::fs::{FileType, Metadata, Tree};
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, SourceFile, Sources};
use crate::plan::{Policy, Proposal, Target};
use crate::verify::Check;

mod lists;
pub mod rpm;
mod stanza;

const DPKG_STATUS: &str = "/var/lib/dpkg/status";
/// Where images without a status file keep one file per package.
const DPKG_STATUS_DIR: &str = "/var/lib/dpkg/status.d";
/// A status file of 20,000 packages is about 20 MiB.
const MAX_STATUS: u64 = 64 << 20;

/// A tool that keeps a database of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// dpkg, Debian's.
    Dpkg,
    /// rpm.
    Rpm,
    /// apk, Alpine's.
    Apk,
    /// pacman, Arch's.
    Pacman,
    /// portage, Gentoo's.
    Portage,
}

/// Every format with the name under which its excerpt is recorded.
const FORMATS: [(Format, &str); 5] = [
    (Format::Dpkg, DPKG_STATUS),
    (Format::Rpm, "/var/lib/rpm"),
    (Format::Apk, lists::APK),
    (Format::Pacman, lists::PACMAN),
    (Format::Portage, lists::PORTAGE),
];

/// The programs by format, in the places where they may be.
const PROGRAMS: [(Format, &str); 7] = [
    (Format::Dpkg, "/usr/bin/dpkg"),
    (Format::Rpm, "/usr/bin/rpm"),
    (Format::Rpm, "/bin/rpm"),
    (Format::Apk, "/sbin/apk"),
    (Format::Apk, "/usr/bin/apk"),
    (Format::Apk, "/usr/sbin/apk"),
    (Format::Pacman, "/usr/bin/pacman"),
];

/// Options that keep rpm's plugins from what the sandbox forbids: namespaces of their own for
/// scripts (rpm 4.20), and the init system's locks. Older versions know of neither.
pub const RPM_QUIET: [&str; 4] = [
    "--define",
    "__transaction_unshare %{nil}",
    "--define",
    "__transaction_systemd_inhibit %{nil}",
];

/// An installed package.
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
    /// Whose database it stands in.
    pub format: Format,
    /// Of VMware's packages in an rpm database, the files that start something at boot.
    pub files: Vec<String>,
}

/// Reads dpkg's status file (deb822 stanzas, deb-control(5)); stanzas without a name are skipped.
pub fn parse(bytes: &[u8]) -> Vec<Package> {
    stanza::parse(bytes, Format::Dpkg)
}

/// Nothing is changed about packages here; topics do that.
pub fn propose(_: &Facts, _: &Target, _: &Policy) -> Proposal {
    Proposal::default()
}

/// Nothing is asserted about packages here.
pub const CHECKS: &[Check] = &[];

/// Records an excerpt of every database: the packages that some topic asks about.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged. A damaged database is a concern.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    dpkg(gather)?;
    rpm_database(gather)?;
    lists::gather(gather)?;
    for (_, program) in PROGRAMS {
        gather.presence(program)?;
    }
    Ok(())
}

/// The gathered packages.
pub fn of(sources: &Sources) -> Vec<Package> {
    let read = |(format, key): &(Format, &str)| {
        let bytes = sources.bytes(key).unwrap_or_default();
        stanza::parse(bytes, *format)
    };
    FORMATS.iter().flat_map(read).collect()
}

/// The version of an installed package.
pub fn version(packages: &[Package], name: &str) -> Option<String> {
    packages
        .iter()
        .find(|package| package.installed && package.name == name)
        .map(|package| package.version.clone())
}

/// The program of a format, where the guest has it.
pub fn program(sources: &Sources, format: Format) -> Option<&'static str> {
    let there = |(of, path): &&(Format, &str)| *of == format && sources.has(path);
    PROGRAMS.iter().find(there).map(|(_, path)| *path)
}

fn is_wanted(name: &str) -> bool {
    is_vmware(name)
        || name.starts_with("kernel")
        || name.starts_with("linux-image-")
        || name.starts_with("dracut")
        || name.starts_with("liburing")
        || name.starts_with("libglib2.0-0")
        || name.starts_with("libnuma")
        || matches!(
            name,
            "systemd"
                | "udev"
                | "qemu-guest-agent"
                | "qemu-ga"
                | "initramfs-tools"
                | "mkinitrd"
                | "mkinitfs"
                | "mkinitcpio"
                | "booster"
                | "cloud-init"
                | "glib"
                | "glib2"
                | "libglib-2_0-0"
                | "numactl-libs"
        )
}

fn is_vmware(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("open-vm-") || name.contains("vmware")
}

fn dpkg(gather: &mut Gatherer<'_>) -> Result<()> {
    let mut excerpt = Vec::new();
    match gather.tree().read_up_to(&DPKG_STATUS.into(), MAX_STATUS) {
        Ok(Some(status)) => keep_wanted(&status, &mut excerpt),
        Ok(None) => {}
        Err(error) => tolerate(gather, DPKG_STATUS, error)?,
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
    record(&mut gather.sources, Format::Dpkg, excerpt);
    Ok(())
}

/// A database that cannot be read is told, and the guest is converted without it.
fn tolerate(gather: &mut Gatherer<'_>, path: &str, error: Error) -> Result<()> {
    if !matches!(
        error.code.as_str(),
        "file-too-large" | "symlink-loop" | "package-database-unreadable"
    ) {
        return Err(error);
    }
    gather.concerns.push(Concern::warning(
        "package-database-unreadable",
        format!("{path} could not be read to its end, so packages of VMware Tools may be missed: {error}; rebuild it in the guest (rpm --rebuilddb, dpkg --audit)"),
    ));
    Ok(())
}

fn keep_wanted(status: &[u8], excerpt: &mut Vec<u8>) {
    for text in stanza::stanzas(status) {
        if stanza::field(text, "Package").is_some_and(|name| is_wanted(&name)) {
            excerpt.extend_from_slice(text);
            excerpt.extend_from_slice(b"\n\n");
        }
    }
}

fn rpm_database(gather: &mut Gatherer<'_>) -> Result<()> {
    let Some(path) = find_rpm(gather.tree())? else {
        return Ok(());
    };
    let Some(file) = gather.tree().open(&path.as_str().into())? else {
        return Ok(());
    };
    // Beside a database of SQLite that was in use when the guest was copied.
    let log = format!("{path}-wal");
    let log = gather.tree().open(&log.as_str().into())?;
    let reading = rpm::read(file, log, &is_wanted);
    let mut excerpt = Vec::new();
    for package in reading.packages {
        let starts = |file: &String| is_vmware(&package.name) && starts_something(file);
        let package = Package {
            files: package
                .files
                .iter()
                .filter(|f| starts(f))
                .cloned()
                .collect(),
            name: package.name,
            version: package.version,
            arch: package.arch,
            installed: true,
            format: Format::Rpm,
        };
        stanza::write(&package, &mut excerpt);
    }
    record(&mut gather.sources, Format::Rpm, excerpt);
    match reading.damage {
        Some(error) => tolerate(gather, &path, error),
        None => Ok(()),
    }
}

fn find_rpm(tree: &Tree) -> Result<Option<String>> {
    for dir in rpm::DIRS {
        for name in rpm::FILES {
            let path = format!("{dir}/{name}");
            let meta = match tree.stat(&path.as_str().into()) {
                Err(error) if error.code == "symlink-loop" => None,
                other => other?,
            };
            if meta.is_some_and(|meta| meta.file_type == FileType::File && meta.len > 0) {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

/// A file that has something started or loaded.
fn starts_something(path: &str) -> bool {
    [
        "/systemd/system/",
        "/init.d/",
        "/etc/init/",
        "/rules.d/",
        "/modules-load.d/",
    ]
    .iter()
    .any(|dir| path.contains(dir))
}

/// Records an excerpt under the name of its format.
fn record(sources: &mut Sources, format: Format, excerpt: Vec<u8>) {
    let key = FORMATS.iter().find(|(of, _)| *of == format);
    let Some((_, key)) = key.filter(|_| !excerpt.is_empty()) else {
        return;
    };
    let meta = Metadata {
        file_type: FileType::File,
        len: excerpt.len() as u64,
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    let file = SourceFile {
        real: (*key).into(),
        meta,
        world_readable: true,
        content: excerpt,
    };
    sources.files.insert((*key).to_owned(), file);
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
