// SPDX-License-Identifier: Apache-2.0
//! deb822 stanzas (deb-control(5)): the form of dpkg's status file, and the form in which what any
//! database says of packages travels in the sources.

use super::super::text::lines;
use super::{Format, Package};

/// Reads stanzas; those without a name are skipped.
pub(super) fn parse(bytes: &[u8], format: Format) -> Vec<Package> {
    let all = stanzas(bytes).into_iter();
    all.filter_map(|stanza| package(stanza, format)).collect()
}

/// Writes a package as a stanza. One whose name or version is no single word is left out.
pub(super) fn write(package: &Package, out: &mut Vec<u8>) {
    let word = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
    if package.name.is_empty()
        || !word(&package.name)
        || !word(&package.version)
        || !word(&package.arch)
    {
        return;
    }
    let mut text = format!(
        "Package: {}\nStatus: install ok installed\nVersion: {}\nArchitecture: {}\n",
        package.name, package.version, package.arch
    );
    let files: Vec<&str> = package
        .files
        .iter()
        .map(String::as_str)
        .filter(|file| !file.contains(char::is_control))
        .collect();
    if !files.is_empty() {
        text.push_str(&format!("X-Files: {}\n", files.join("\t")));
    }
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

/// The runs of lines between empty lines.
pub(super) fn stanzas(bytes: &[u8]) -> Vec<&[u8]> {
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

pub(super) fn field(stanza: &[u8], name: &str) -> Option<String> {
    lines(stanza).into_iter().find_map(|line| {
        let (key, value) = line.bytes.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        key.eq_ignore_ascii_case(name.as_bytes())
            .then(|| String::from_utf8_lossy(value).trim().to_owned())
    })
}

fn package(stanza: &[u8], format: Format) -> Option<Package> {
    // "want flag status": only the last word says what is on the disk (dpkg(1)).
    let status = field(stanza, "Status").unwrap_or_else(|| "install ok installed".to_owned());
    let state = status.split_whitespace().nth(2).unwrap_or_default();
    Some(Package {
        name: field(stanza, "Package")?,
        version: field(stanza, "Version").unwrap_or_default(),
        arch: field(stanza, "Architecture").unwrap_or_default(),
        installed: !matches!(state, "not-installed" | "config-files" | ""),
        format,
        files: field(stanza, "X-Files")
            .map(|files| files.split('\t').map(str::to_owned).collect())
            .unwrap_or_default(),
    })
}
