// SPDX-License-Identifier: Apache-2.0
//! Databases that are text or directories: apk's (<https://wiki.alpinelinux.org/wiki/Apk_spec>),
//! pacman's (one directory a package), portage's (PMS: `/var/db/pkg/CATEGORY/NAME-VERSION`).

use super::super::gather::Gatherer;
use super::super::text::lines;
use super::{Format, MAX_STATUS, Package, is_wanted, record, stanza, tolerate};
use crate::error::Result;

/// apk's database.
pub(super) const APK: &str = "/lib/apk/db/installed";
/// Where a system with a merged /usr has it.
const APK_USR: &str = "/usr/lib/apk/db/installed";
/// pacman's database.
pub(super) const PACMAN: &str = "/var/lib/pacman/local";
/// portage's database.
pub(super) const PORTAGE: &str = "/var/db/pkg";
/// The categories that hold what is asked about.
const CATEGORIES: [&str; 3] = ["app-emulation", "sys-apps", "sys-kernel"];

/// Records excerpts of all three.
pub(super) fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    for path in [APK, APK_USR] {
        match gather.tree().read_up_to(&path.into(), MAX_STATUS) {
            Ok(Some(bytes)) => {
                save(gather, Format::Apk, apk(&bytes));
                break;
            }
            Ok(None) => {}
            Err(error) => tolerate(gather, path, error)?,
        }
    }
    let names = gather.tree().list(&PACMAN.into())?;
    save(gather, Format::Pacman, named(&names, Format::Pacman));
    let mut found = Vec::new();
    for category in CATEGORIES {
        let path = format!("{PORTAGE}/{category}");
        let names = gather.tree().list(&path.as_str().into())?;
        found.extend(named(&names, Format::Portage));
    }
    save(gather, Format::Portage, found);
    Ok(())
}

fn save(gather: &mut Gatherer<'_>, format: Format, packages: Vec<Package>) {
    let mut excerpt = Vec::new();
    for package in packages.iter().filter(|package| is_wanted(&package.name)) {
        stanza::write(package, &mut excerpt);
    }
    record(&mut gather.sources, format, excerpt);
}

fn package(name: &str, version: &str, format: Format) -> Package {
    Package {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: String::new(),
        installed: true,
        format,
        files: Vec::new(),
    }
}

/// Lines of one letter and a value; an empty line ends a package.
fn apk(bytes: &[u8]) -> Vec<Package> {
    let mut out = Vec::new();
    let mut now = package("", "", Format::Apk);
    let end = |now: &mut Package, out: &mut Vec<Package>| {
        let done = std::mem::replace(now, package("", "", Format::Apk));
        out.extend(Some(done).filter(|package| !package.name.is_empty()));
    };
    for line in lines(bytes) {
        let text = line.text();
        match text.split_once(':') {
            Some(("P", name)) => name.clone_into(&mut now.name),
            Some(("V", version)) => version.clone_into(&mut now.version),
            Some(("A", arch)) => arch.clone_into(&mut now.arch),
            None if text.trim().is_empty() => end(&mut now, &mut out),
            _ => {}
        }
    }
    end(&mut now, &mut out);
    out
}

/// Directories named after package and version: `NAME-VERSION-RELEASE` of pacman, `NAME-VERSION`
/// with perhaps `-rN` of portage.
fn named(names: &[Vec<u8>], format: Format) -> Vec<Package> {
    let split = |name: &Vec<u8>| {
        let name = std::str::from_utf8(name).ok()?;
        let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        let (head, last) = name.rsplit_once('-')?;
        let whole = match head.rsplit_once('-') {
            Some((package, version)) if format == Format::Pacman || digit(version) => {
                (package, format!("{version}-{last}"))
            }
            _ => (head, last.to_owned()),
        };
        Some(package(whole.0, &whole.1, format))
    };
    names.iter().filter_map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture;
    use super::super::of;
    use super::*;
    use crate::fs::MemoryFs;

    fn found(fs: MemoryFs) -> Vec<(String, String)> {
        let facts = fixture::gathered(fs);
        let all = of(&facts.sources).into_iter();
        all.map(|package| (package.name, package.version)).collect()
    }

    fn pair(name: &str, version: &str) -> (String, String) {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn apk_is_read_with_any_line_end() {
        let text = "C:Q1x=\nP:musl\nV:1.2\nA:x86_64\n\nP:open-vm-tools\nV:12.3.5-r2\nA:x86_64\nF:etc\nR:x\n\nP:qemu-guest-agent\nV:8.2\n";
        for text in [text.to_owned(), text.replace('\n', "\r\n")] {
            let got = found(MemoryFs::new().file(APK, text));
            assert_eq!(
                got,
                [
                    pair("open-vm-tools", "12.3.5-r2"),
                    pair("qemu-guest-agent", "8.2")
                ]
            );
        }
    }

    #[test]
    fn pacman_and_portage_are_read_from_the_names_of_directories() {
        let fs = MemoryFs::new()
            .file("/var/lib/pacman/local/open-vm-tools-6:12.4.5-1/desc", "")
            .file("/var/lib/pacman/local/zlib-1:1.3-1/desc", "")
            .file("/var/lib/pacman/local/ALPM_DB_VERSION", "9\n");
        assert_eq!(found(fs), [pair("open-vm-tools", "6:12.4.5-1")]);
        let fs = MemoryFs::new()
            .dir("/var/db/pkg/app-emulation/open-vm-tools-12.3.5-r1")
            .dir("/var/db/pkg/sys-kernel/dracut-103");
        assert_eq!(
            found(fs),
            [pair("open-vm-tools", "12.3.5-r1"), pair("dracut", "103")]
        );
    }
}
