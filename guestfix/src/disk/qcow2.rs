// SPDX-License-Identifier: Apache-2.0
//! What a qcow2 image must be before anything of it is used: whole, in agreement with its own
//! reference counts, and referring to no other file (QEMU, docs/interop/qcow2.rst).

use super::{Format, Storage};
use crate::error::{Error, Result};

/// `QFI\xfb`.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Bytes in which the header, its extensions and the backing file's name stand at most.
const LONGEST_HEAD: usize = 64 << 10;
/// The extension that names the backing file's format.
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// Bits of `incompatible_features`.
const FEATURES: [(u32, &str, &str); 5] = [
    (
        0,
        "qcow2-dirty",
        "was not closed: its reference counts may be wrong",
    ),
    (1, "qcow2-corrupt", "is marked as corrupt"),
    (2, "qcow2-data-file", "keeps its data in another file"),
    (
        3,
        "qcow2-compression",
        "is compressed by another method than zlib",
    ),
    (4, "qcow2-subclusters", "has extended table entries"),
];
/// Of a table's entry: where the cluster lies, and whether it is compressed.
const PLACE: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
/// The largest first table, bytes: QEMU's own limit.
const LARGEST_L1: u64 = 32 << 20;
/// Clusters of a container that are counted at most.
const MOST_CLUSTERS: u64 = 1 << 28;

/// Checks an image of `size` bytes.
///
/// # Errors
/// `Unsupported`/`qcow2-...` for features that
/// are not supported; `Corrupt`/`qcow2` with the place when its tables leave the file or contradict
/// each other; `Host`/`io`.
pub fn check(storage: &dyn Storage, size: u64) -> Result<()> {
    let header = Header::read(storage, size)?;
    let mut seen = Seen::new(size, header.cluster)?;
    header.walk(storage, &mut seen)?;
    header.counts(storage, &seen)
}

/// The file that an image is backed by, as the image writes it, and its format.
///
/// # Errors
/// `Unsupported`/`qcow2-backing` when its format is not stated, or is neither raw nor qcow2;
/// `Corrupt`/`qcow2`; `Host`/`io`.
pub fn backing(storage: &dyn Storage) -> Result<Option<(String, Format)>> {
    let mut bytes = vec![0; LONGEST_HEAD];
    super::read_padded(storage, &mut bytes, 0)?;
    let (at, len) = (long(&bytes, 8)?, word(&bytes, 16)?);
    if at == 0 {
        return Ok(None);
    }
    let name = usize::try_from(at).ok().zip(usize::try_from(len).ok());
    let name = name.filter(|(_, len)| (1..=1023).contains(len));
    let name = name.and_then(|(at, len)| bytes.get(at..at.checked_add(len)?));
    let name = name.ok_or_else(|| bad("the name of its backing file makes no sense", 8))?;
    let name = String::from_utf8_lossy(name).into_owned();
    let format = match extension(&bytes, BACKING_FORMAT)?.as_deref() {
        Some(b"raw") => Format::Raw,
        Some(b"qcow2") => Format::Qcow2,
        other => {
            let what = match other {
                Some(format) => format!("is {}", String::from_utf8_lossy(format)),
                None => "is not stated".to_owned(),
            };
            let what = format!("the format of the backing file {name} {what}");
            return Err(Error::unsupported("qcow2-backing", what)
                .at(8)
                .hint("state it: qemu-img rebase -u -f qcow2 -b FILE -F raw|qcow2 IMAGE"));
        }
    };
    Ok(Some((name, format)))
}

/// The header's extension of a type.
fn extension(bytes: &[u8], want: u32) -> Result<Option<Vec<u8>>> {
    let first = match word(bytes, 4)? {
        2 => 72,
        _ => usize::try_from(word(bytes, 100)?).unwrap_or(usize::MAX),
    };
    let mut at = first;
    loop {
        let (kind, len) = (word(bytes, at)?, word(bytes, at.saturating_add(4))?);
        let start = at.saturating_add(8);
        let end = start.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
        if kind == 0 {
            return Ok(None);
        }
        let data = bytes.get(start..end);
        let data = data.ok_or_else(|| bad("an extension of its header is too long", at as u64))?;
        if kind == want {
            return Ok(Some(data.to_vec()));
        }
        at = end.saturating_add(7) & !7;
    }
}

struct Header {
    /// Bytes.
    cluster: u64,
    size: u64,
    /// The file's length.
    file: u64,
    l1: u64,
    l1_entries: u64,
    refcounts: u64,
    /// Bytes.
    refcounts_len: u64,
    /// Bytes of a reference count.
    width: u64,
}

fn bad(what: &str, at: u64) -> Error {
    Error::corrupt("qcow2", format!("the qcow2 image is damaged: {what}"))
        .at(at)
        .hint("try qemu-img check, and qemu-img convert to a new image, on a copy")
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let four = at.checked_add(4).and_then(|end| bytes.get(at..end));
    let four = four.and_then(|four| <[u8; 4]>::try_from(four).ok());
    four.map(u32::from_be_bytes)
        .ok_or_else(|| bad("its header is cut short", 0))
}

fn long(bytes: &[u8], at: usize) -> Result<u64> {
    let (high, low) = (word(bytes, at)?, word(bytes, at.saturating_add(4))?);
    Ok(u64::from(high) << 32 | u64::from(low))
}

impl Header {
    fn read(storage: &dyn Storage, file: u64) -> Result<Self> {
        let mut bytes = vec![0; 104];
        super::read_padded(storage, &mut bytes, 0)?;
        let version = word(&bytes, 4)?;
        if !matches!(version, 2 | 3) {
            let what = format!("qcow2 of version {version} is not supported");
            return Err(Error::unsupported("qcow2-version", what));
        }
        let bits = word(&bytes, 20)?;
        if !(9..=21).contains(&bits) {
            return Err(bad("the size of a cluster makes no sense", 20));
        }
        refusals(&bytes, version)?;
        let order = if version == 3 { word(&bytes, 96)? } else { 4 };
        if !(3..=6).contains(&order) {
            let what = "reference counts of less than a byte are not supported";
            return Err(Error::unsupported("qcow2-refcounts", what));
        }
        let cluster = 1_u64 << bits;
        Ok(Self {
            cluster,
            size: long(&bytes, 24)?,
            file,
            l1: long(&bytes, 40)?,
            l1_entries: u64::from(word(&bytes, 36)?),
            refcounts: long(&bytes, 48)?,
            refcounts_len: u64::from(word(&bytes, 56)?).saturating_mul(cluster),
            width: 1_u64 << order.saturating_sub(3),
        })
    }

    /// A table of entries, whole in the file.
    fn table(&self, storage: &dyn Storage, at: u64, len: u64) -> Result<Vec<u64>> {
        let fits = at.checked_add(len).is_some_and(|end| end <= self.file);
        if !fits || !at.is_multiple_of(self.cluster) || len > LARGEST_L1 {
            return Err(bad("a table leaves the file", at));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        storage.read_at(&mut bytes, at)?;
        let entry = |entry: &[u8]| <[u8; 8]>::try_from(entry).map(u64::from_be_bytes);
        Ok(bytes
            .chunks_exact(8)
            .filter_map(|one| entry(one).ok())
            .collect())
    }

    /// Every cluster that the tables name, once each.
    fn walk(&self, storage: &dyn Storage, seen: &mut Seen) -> Result<()> {
        let per_table = self.cluster / 8;
        let covered = self
            .l1_entries
            .saturating_mul(per_table)
            .saturating_mul(self.cluster);
        if covered < self.size {
            return Err(bad("its first table is too short", self.l1));
        }
        seen.take(0, self.cluster)?;
        let l1 = self.table(storage, self.l1, self.l1_entries.saturating_mul(8))?;
        seen.take(self.l1, self.l1_entries.saturating_mul(8))?;
        seen.take(self.refcounts, self.refcounts_len)?;
        for entry in l1 {
            let at = entry & PLACE;
            if at == 0 {
                continue;
            }
            seen.take(at, self.cluster)?;
            for entry in self.table(storage, at, self.cluster)? {
                match (entry & COMPRESSED, entry & PLACE) {
                    // Compressed clusters share what they lie in.
                    (COMPRESSED, _) => self.compressed(entry)?,
                    (_, 0) => {}
                    (_, at) => seen.take(at, self.cluster)?,
                }
            }
        }
        Ok(())
    }

    fn compressed(&self, entry: u64) -> Result<()> {
        let bits = 62_u32.saturating_sub(self.cluster.trailing_zeros().saturating_sub(8));
        let at = entry & 1_u64.checked_shl(bits).unwrap_or(0).saturating_sub(1);
        match at < self.file {
            true => Ok(()),
            false => Err(bad("a compressed cluster leaves the file", at)),
        }
    }

    /// Every cluster that is named must be counted.
    fn counts(&self, storage: &dyn Storage, seen: &Seen) -> Result<()> {
        let table = self.table(storage, self.refcounts, self.refcounts_len)?;
        let per_block = self.cluster.checked_div(self.width).unwrap_or(1);
        let mut block = vec![0; usize::try_from(self.cluster).unwrap_or(0)];
        let blocks = self.file.div_ceil(self.cluster).div_ceil(per_block);
        for number in 0..blocks {
            let at = usize::try_from(number)
                .ok()
                .and_then(|n| table.get(n))
                .map_or(0, |e| e & PLACE);
            match at {
                0 => block.fill(0),
                at if at
                    .checked_add(self.cluster)
                    .is_some_and(|end| end <= self.file) =>
                {
                    storage.read_at(&mut block, at)?;
                }
                at => return Err(bad("a block of reference counts leaves the file", at)),
            }
            let width = usize::try_from(self.width).unwrap_or(1);
            for (index, count) in (0_u64..).zip(block.chunks_exact(width)) {
                let cluster = number.saturating_mul(per_block).saturating_add(index);
                if seen.has(cluster) && count.iter().all(|byte| *byte == 0) {
                    let at = cluster.saturating_mul(self.cluster);
                    return Err(bad("a cluster in use counts as free", at));
                }
            }
        }
        Ok(())
    }
}

fn refusals(bytes: &[u8], version: u32) -> Result<()> {
    let convert = "make it one plain image first: qemu-img convert -O qcow2 FILE NEW.qcow2";
    if word(bytes, 32)? != 0 {
        return Err(
            Error::unsupported("qcow2-encrypted", "the qcow2 image is encrypted").hint(convert),
        );
    }
    if word(bytes, 60)? != 0 {
        return Err(Error::refused(
            "qcow2-snapshots",
            "the qcow2 image holds internal snapshots",
        )
        .hint("delete them (qemu-img snapshot -d), or convert it to a new image"));
    }
    let features = if version == 3 { long(bytes, 72)? } else { 0 };
    for (bit, code, what) in FEATURES {
        if features & (1 << bit) != 0 {
            let error = Error::unsupported(code, format!("the qcow2 image {what}"));
            return Err(error
                .at(72)
                .hint("try qemu-img check -r all, or qemu-img convert, on a copy"));
        }
    }
    if features >> FEATURES.len() != 0 {
        return Err(Error::unsupported(
            "qcow2-features",
            "the qcow2 image has unknown features",
        ));
    }
    Ok(())
}

/// Which clusters of the file are named, a bit for each.
struct Seen {
    bits: Vec<u64>,
    cluster: u64,
    clusters: u64,
}

impl Seen {
    fn new(file: u64, cluster: u64) -> Result<Self> {
        let clusters = file.div_ceil(cluster);
        if clusters > MOST_CLUSTERS {
            return Err(Error::unsupported(
                "qcow2-size",
                "the qcow2 image has too many clusters",
            ));
        }
        let words = usize::try_from(clusters.div_ceil(64)).unwrap_or(0);
        Ok(Self {
            bits: vec![0; words],
            cluster,
            clusters,
        })
    }

    fn has(&self, cluster: u64) -> bool {
        let word = usize::try_from(cluster / 64)
            .ok()
            .and_then(|n| self.bits.get(n));
        word.is_some_and(|word| word & (1 << (cluster % 64)) != 0)
    }

    fn take(&mut self, at: u64, len: u64) -> Result<()> {
        if !at.is_multiple_of(self.cluster) {
            return Err(bad("a cluster lies askew", at));
        }
        let first = at / self.cluster;
        for cluster in (first..).take(usize::try_from(len.div_ceil(self.cluster)).unwrap_or(0)) {
            if cluster >= self.clusters {
                return Err(bad("a cluster lies behind the file's end", at));
            }
            if self.has(cluster) {
                return Err(bad(
                    "a cluster is used twice",
                    cluster.saturating_mul(self.cluster),
                ));
            }
            let word = usize::try_from(cluster / 64)
                .ok()
                .and_then(|n| self.bits.get_mut(n));
            if let Some(word) = word {
                *word |= 1 << (cluster % 64);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::sync::Arc;

    /// An image that `qemu-img` made of `raw`.
    fn image(raw: &[u8], options: &[&str]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("raw"), dir.path().join("qcow2"));
        std::fs::write(&from, raw).unwrap();
        let made = Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .args(options)
            .args([&from, &to])
            .output()
            .unwrap_or_else(|error| panic!("qemu-img is needed by this test: {error}"));
        assert!(made.status.success(), "{made:?}");
        std::fs::read(to).unwrap()
    }

    fn checked(bytes: Vec<u8>) -> Result<()> {
        let size = bytes.len() as u64;
        let storage: Arc<dyn Storage> = crate::volume::sample::Bytes::shared(bytes);
        check(storage.as_ref(), size)
    }

    fn raw() -> Vec<u8> {
        (0..4 << 20).map(|n: u32| (n / 4096 % 251) as u8).collect()
    }

    #[test]
    fn images_of_qemu_are_sound_whatever_their_options() {
        let options: [&[&str]; 5] = [
            &[],
            &["-o", "compat=0.10"],
            &["-o", "cluster_size=4096"],
            &["-o", "refcount_bits=8"],
            &["-c"],
        ];
        for options in options {
            checked(image(&raw(), options)).unwrap();
        }
    }

    #[test]
    fn a_backing_file_is_named_with_its_format() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("image"), image(&raw(), &[])).unwrap();
        let read = |options: &[&str]| {
            let out = Command::new("qemu-img")
                .args(["rebase", "-u", "-f", "qcow2"])
                .args(options)
                .arg("image")
                .current_dir(dir.path())
                .output()
                .unwrap();
            assert!(out.status.success(), "{out:?}");
            let bytes = std::fs::read(dir.path().join("image")).unwrap();
            backing(crate::volume::sample::Bytes::shared(bytes).as_ref())
        };
        let named = read(&["-b", "/etc/shadow", "-F", "raw"]).unwrap();
        assert_eq!(named, Some(("/etc/shadow".to_owned(), Format::Raw)));
        let error = read(&["-b", "x", "-F", "vmdk"]).unwrap_err();
        assert_eq!(error.code, "qcow2-backing");
        assert!(error.message.contains("vmdk"), "{error}");
        assert_eq!(read(&["-b", ""]).unwrap(), None);
        let mut bytes = image(&raw(), &[]);
        bytes[8..20].copy_from_slice(&[0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 9]);
        let error = backing(crate::volume::sample::Bytes::shared(bytes.clone()).as_ref());
        assert!(error.unwrap_err().message.contains("not stated"));
        bytes[8] = 1;
        let error = backing(crate::volume::sample::Bytes::shared(bytes).as_ref());
        assert_eq!(error.unwrap_err().code, "qcow2");
    }

    #[test]
    fn damage_and_references_to_other_files_are_named_with_their_place() {
        let clean = image(&raw(), &[]);
        let edited = |at: usize, bytes: &[u8]| {
            let mut image = clean.clone();
            image[at..at + bytes.len()].copy_from_slice(bytes);
            checked(image).unwrap_err()
        };
        assert_eq!(edited(32, &1_u32.to_be_bytes()).code, "qcow2-encrypted");
        assert_eq!(edited(72, &1_u64.to_be_bytes()).code, "qcow2-dirty");
        assert_eq!(edited(72, &4_u64.to_be_bytes()).code, "qcow2-data-file");
        assert_eq!(edited(72, &256_u64.to_be_bytes()).code, "qcow2-features");
        let l1 = usize::try_from(long(&clean, 40).unwrap()).unwrap();
        let beyond = edited(l1, &(1_u64 << 40).to_be_bytes());
        assert_eq!(
            (beyond.code.as_str(), beyond.offset),
            ("qcow2", Some(1 << 40))
        );
        let refcounts = usize::try_from(long(&clean, 48).unwrap()).unwrap();
        let block = usize::try_from(long(&clean, refcounts).unwrap()).unwrap();
        let free = edited(block + 2 * 5, &[0, 0]);
        assert!(free.message.contains("counts as free"), "{free}");
        let l2 = usize::try_from(long(&clean, l1).unwrap() & PLACE).unwrap();
        let twice = edited(l2, &clean[l2 + 8..l2 + 16]);
        assert!(twice.message.contains("used twice"), "{twice}");
        for cut in [60, 100, 70_000, clean.len() - 200_000] {
            assert!(checked(clean[..cut].to_vec()).is_err(), "{cut}");
        }
    }
}
