// SPDX-License-Identifier: Apache-2.0
//! OVA: an OVF with the files that it names, in one tar archive (DMTF DSP0243, 5.3; tar: POSIX.1
//! pax, with GNU's long names and large numbers). Nothing is unpacked: files are places in it.

use serde::{Deserialize, Serialize};

use super::Vm;
use crate::disk::{Storage, read_padded};
use crate::document::MAX_BYTES;
use crate::error::{Error, Result};

const BLOCK: u64 = 512;
/// Files in an archive, most: a machine has some dozens of disks.
const MOST_FILES: usize = 512;
/// Bytes of a pax header or a long name, most.
const LONGEST_NOTE: u64 = 64 << 10;

/// An OVA as its OVF describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ova {
    /// The machine.
    pub vm: Vm,
    /// Its disks in order.
    pub disks: Vec<Part>,
    /// What the manifest says of the files that are disks, and of the OVF.
    pub digests: Vec<Digest>,
}

/// A file in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// As the archive calls it.
    pub name: String,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub len: u64,
}

/// A line of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// The file.
    pub part: Part,
    /// How it was summed.
    pub algorithm: Algorithm,
    /// The sum in lower-case hex.
    pub sum: String,
}

/// How a manifest sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Older exports.
    Sha1,
    /// The rule.
    Sha256,
    /// Newer ovftool by choice.
    Sha512,
}

fn bad(what: impl Into<String>, at: u64) -> Error {
    let what = what.into();
    Error::corrupt("ova", format!("the OVA is damaged: {what}"))
        .at(at)
        .hint("copy it again from its source")
}

/// True for an archive that begins with an OVF, as an OVA must.
pub fn is_ova(head: &[u8]) -> bool {
    let name = text(head.get(..100).unwrap_or_default()).to_ascii_lowercase();
    head.get(257..262) == Some(b"ustar") && name.ends_with(".ovf")
}

/// Reads an archive's list of files, its OVF and its manifest.
///
/// # Errors
/// `Corrupt`/`ova` with the place, `Unsupported`/`ova-disk` for a disk that is not in the archive
/// as it is, `Host`/`io`.
pub fn read(archive: &dyn Storage) -> Result<Ova> {
    let parts = list(archive)?;
    let ending = |end: &'static str| {
        let mut all = parts.iter();
        all.find(|part| part.name.to_ascii_lowercase().ends_with(end))
    };
    let ovf = ending(".ovf").ok_or_else(|| bad("it holds no OVF", 0))?;
    let vm = super::parse(&content(archive, ovf)?, &ovf.name)?;
    let mut disks = Vec::new();
    for disk in &vm.disks {
        let Some(part) = parts.iter().find(|part| part.name == disk.name) else {
            let what = format!(
                "the OVF names the disk {:?}, which is not in the OVA",
                disk.name
            );
            return Err(Error::unsupported("ova-disk", what)
                .hint("export the machine again, in one file, without chunks"));
        };
        if disks.contains(part) {
            return Err(bad(
                format!("the OVF names {} twice", part.name),
                part.start,
            ));
        }
        disks.push(part.clone());
    }
    if disks.is_empty() {
        return Err(Error::unsupported("ova-disk", "the OVF names no disks"));
    }
    let digests = match ending(".mf") {
        Some(manifest) => digests(
            &content(archive, manifest)?,
            &parts,
            (ovf, &disks),
            manifest,
        )?,
        None => Vec::new(),
    };
    Ok(Ova { vm, disks, digests })
}

fn content(archive: &dyn Storage, part: &Part) -> Result<Vec<u8>> {
    if part.len > MAX_BYTES {
        return Err(bad(format!("{} is too long", part.name), part.start));
    }
    let mut bytes = vec![0; usize::try_from(part.len).unwrap_or(0)];
    archive.read_at(&mut bytes, part.start)?;
    Ok(bytes)
}

/// `SHA256(name)= sum`.
fn digests(
    text: &[u8],
    parts: &[Part],
    (ovf, disks): (&Part, &[Part]),
    manifest: &Part,
) -> Result<Vec<Digest>> {
    let text = String::from_utf8_lossy(text);
    let mut out = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let wrong = || bad("a line of its manifest makes no sense", manifest.start);
        let (algorithm, rest) = line.split_once('(').ok_or_else(wrong)?;
        let (name, sum) = rest.rsplit_once(')').ok_or_else(wrong)?;
        let sum = sum.trim_start().strip_prefix('=').ok_or_else(wrong)?;
        let (algorithm, digits) = match algorithm.trim().to_ascii_uppercase().as_str() {
            "SHA1" => (Algorithm::Sha1, 40),
            "SHA256" => (Algorithm::Sha256, 64),
            "SHA512" => (Algorithm::Sha512, 128),
            _ => return Err(wrong()),
        };
        let sum = sum.trim().to_ascii_lowercase();
        if sum.len() != digits || !sum.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let part = parts.iter().find(|part| part.name == name);
        if let Some(part) = part.filter(|part| *part == ovf || disks.contains(part)) {
            let part = part.clone();
            out.push(Digest {
                part,
                algorithm,
                sum,
            });
        }
    }
    Ok(out)
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(field.get(..end.unwrap_or(field.len())).unwrap_or_default())
        .into_owned()
}

/// An octal number, or a binary one behind a set first bit.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) {
        let start = u64::from(first & 0x7f);
        return rest.iter().try_fold(start, |sum, byte| {
            sum.checked_mul(256)?.checked_add(u64::from(*byte))
        });
    }
    let digits = text(field);
    match digits.trim() {
        "" => Some(0),
        digits => u64::from_str_radix(digits, 8).ok(),
    }
}

/// What a pax header or a GNU entry says of the next file.
#[derive(Default)]
struct Note {
    name: Option<String>,
    size: Option<u64>,
}

/// The regular files.
fn list(archive: &dyn Storage) -> Result<Vec<Part>> {
    let mut out: Vec<Part> = Vec::new();
    let mut note = Note::default();
    let mut at = 0_u64;
    let mut seen = 0_usize;
    while at < archive.len() {
        let mut head = vec![0; 512];
        read_padded(archive, &mut head, at)?;
        if head.iter().all(|byte| *byte == 0) {
            break;
        }
        seen = seen.saturating_add(1);
        if seen > MOST_FILES {
            return Err(bad(format!("it has more than {MOST_FILES} files"), at));
        }
        if !sum_fits(&head) {
            return Err(bad("a file's header has a wrong checksum", at));
        }
        let size = head.get(124..136).and_then(number);
        let size = note
            .size
            .take()
            .or(size)
            .ok_or_else(|| bad("a file's size", at))?;
        let start = at.saturating_add(BLOCK);
        let end = start.checked_add(size).filter(|end| *end <= archive.len());
        let end = end.ok_or_else(|| bad("a file ends behind it: it is cut short", at))?;
        let part = Part {
            name: note.name.take().unwrap_or_else(|| name_of(&head)),
            start,
            len: size,
        };
        match head.get(156).copied().unwrap_or(0) {
            b'0' | b'7' | 0 => {
                if out.iter().any(|have| have.name == part.name) {
                    return Err(bad(format!("{} is in it twice", part.name), at));
                }
                out.push(part);
            }
            b'x' => note = pax(&noted(archive, start, size, at)?, at)?,
            b'L' => note.name = Some(text(&noted(archive, start, size, at)?)),
            // Directories, links and devices: nothing that a machine's disk could be.
            _ => {}
        }
        at = end.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
    }
    Ok(out)
}

fn noted(archive: &dyn Storage, start: u64, size: u64, at: u64) -> Result<Vec<u8>> {
    if size > LONGEST_NOTE {
        return Err(bad("a long name is too long", at));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    archive.read_at(&mut bytes, start)?;
    Ok(bytes)
}

/// `LENGTH key=value\n`.
fn pax(bytes: &[u8], at: u64) -> Result<Note> {
    let mut note = Note::default();
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines() {
        let Some((_, record)) = line.split_once(' ') else {
            continue;
        };
        match record.split_once('=') {
            Some(("path", name)) => note.name = Some(name.to_owned()),
            Some(("size", size)) => {
                note.size = Some(size.parse().map_err(|_| bad("a file's size", at))?);
            }
            _ => {}
        }
    }
    Ok(note)
}

fn name_of(head: &[u8]) -> String {
    let field = |range: std::ops::Range<usize>| text(head.get(range).unwrap_or_default());
    let (name, prefix) = (field(0..100), field(345..500));
    // GNU's own format keeps other things where POSIX keeps the prefix.
    let posix = head.get(257..263) == Some(b"ustar\0");
    match prefix.is_empty() || !posix {
        true => name,
        false => format!("{prefix}/{name}"),
    }
}

/// The sum of all bytes, the field itself taken as blanks.
fn sum_fits(head: &[u8]) -> bool {
    let sum: u64 = head
        .iter()
        .enumerate()
        .map(|(index, byte)| match index {
            148..156 => 32,
            _ => u64::from(*byte),
        })
        .sum();
    head.get(148..156).and_then(number) == Some(sum)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::disk::Raw;

    const OVF: &str = r#"<Envelope><References><File href="b.vmdk" id="f2"/><File href="a.vmdk" id="f1"/></References>
<DiskSection><Disk diskId="d1" fileRef="f1" capacity="1024"/><Disk diskId="d2" fileRef="f2" capacity="1024"/></DiskSection>
<VirtualSystem><VirtualHardwareSection>
<Item><AddressOnParent>0</AddressOnParent><HostResource>ovf:/disk/d1</HostResource><InstanceID>5</InstanceID><ResourceType>17</ResourceType></Item>
<Item><AddressOnParent>1</AddressOnParent><HostResource>ovf:/disk/d2</HostResource><InstanceID>6</InstanceID><ResourceType>17</ResourceType></Item>
</VirtualHardwareSection></VirtualSystem></Envelope>"#;

    fn pack(dir: &Path, options: &[&str], files: &[&str]) -> Result<Ova> {
        let out = Command::new("tar")
            .args(options)
            .arg("-cf")
            .arg("x.ova")
            .args(files)
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        read(&Raw::container_from_file(
            std::fs::File::open(dir.join("x.ova")).unwrap(),
            "x.ova",
            false,
        )?)
    }

    fn files(dir: &Path) {
        std::fs::write(dir.join("x.ovf"), OVF).unwrap();
        std::fs::write(dir.join("a.vmdk"), vec![1; 700]).unwrap();
        std::fs::write(dir.join("b.vmdk"), vec![2; 512]).unwrap();
        let sum = "ab".repeat(32);
        std::fs::write(
            dir.join("x.mf"),
            format!(
                "SHA256(x.ovf)= {sum}\nSHA256(b.vmdk)= {sum}\nSHA1(other)= {}\n",
                "0".repeat(40)
            ),
        )
        .unwrap();
    }

    #[test]
    fn disks_come_in_the_machines_order_with_their_places_and_digests() {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path());
        for format in ["--format=ustar", "--format=gnu", "--format=pax"] {
            let ova = pack(
                dir.path(),
                &[format],
                &["x.ovf", "x.mf", "b.vmdk", "a.vmdk"],
            )
            .unwrap();
            let names: Vec<_> = ova.disks.iter().map(|d| (d.name.as_str(), d.len)).collect();
            assert_eq!(names, [("a.vmdk", 700), ("b.vmdk", 512)], "{format}");
            let file = std::fs::read(dir.path().join("x.ova")).unwrap();
            assert_eq!(file[ova.disks[0].start as usize..][..700], [1; 700]);
            let summed: Vec<_> = ova.digests.iter().map(|d| d.part.name.as_str()).collect();
            assert_eq!(summed, ["x.ovf", "b.vmdk"]);
            assert!(is_ova(&file[..512]) && !is_ova(&[0; 512]));
        }
    }

    #[test]
    fn long_names_are_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("{}.vmdk", "n".repeat(150));
        std::fs::write(dir.path().join("x.ovf"), OVF.replace("a.vmdk", &name)).unwrap();
        for file in [&name, "b.vmdk"] {
            std::fs::write(dir.path().join(file), [3; 9]).unwrap();
        }
        for format in ["--format=gnu", "--format=pax"] {
            let ova = pack(dir.path(), &[format], &["x.ovf", &name, "b.vmdk"]).unwrap();
            assert_eq!(
                (ova.disks[0].name.as_str(), ova.disks[0].len),
                (name.as_str(), 9)
            );
        }
    }

    #[test]
    fn damage_and_missing_disks_are_named() {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path());
        let missing = pack(dir.path(), &[], &["x.ovf", "b.vmdk"]).unwrap_err();
        assert_eq!(missing.code, "ova-disk");
        assert!(missing.message.contains("a.vmdk"), "{missing}");
        pack(dir.path(), &[], &["x.ovf", "a.vmdk", "b.vmdk"]).unwrap();
        let good = std::fs::read(dir.path().join("x.ova")).unwrap();
        let of = |bytes: &[u8]| {
            std::fs::write(dir.path().join("y"), bytes).unwrap();
            let file = std::fs::File::open(dir.path().join("y")).unwrap();
            read(&Raw::container_from_file(file, "y", false).unwrap())
        };
        let cut = of(&good[..2048 + 600]).unwrap_err();
        assert_eq!((cut.code.as_str(), cut.offset.is_some()), ("ova", true));
        for at in (0..good.len()).step_by(37) {
            let mut bytes = good.clone();
            bytes[at] ^= 0x41;
            let _ = of(&bytes);
        }
        let mut bytes = good;
        bytes[130] ^= 1;
        assert_eq!(of(&bytes).unwrap_err().code, "ova");
    }
}
