// SPDX-License-Identifier: Apache-2.0
//! Disks for unit tests: bytes in memory, and images made by the real tools.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::disk::Storage;
use crate::error::{Error, Result};

/// A disk in memory.
pub(crate) struct Bytes(Mutex<Vec<u8>>);

impl Bytes {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(bytes))
    }

    pub(crate) fn shared(bytes: Vec<u8>) -> Arc<dyn Storage> {
        Arc::new(Self::new(bytes))
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Storage for Bytes {
    fn len(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let bytes = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let from = bytes.get(start..start.saturating_add(buf.len()));
        buf.copy_from_slice(from.ok_or_else(|| Error::corrupt("out-of-range", "test"))?);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let to = bytes.get_mut(start..start.saturating_add(buf.len()));
        to.ok_or_else(|| Error::corrupt("out-of-range", "test"))?
            .copy_from_slice(buf);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// Runs a tool that the tests need; a missing tool is a failure, not a skip.
pub(crate) fn run(program: &str, args: &[&str], image: &Path) -> String {
    run_with_input(program, args, image, "")
}

/// The same with text on its standard input.
pub(crate) fn run_with_input(program: &str, args: &[&str], image: &Path, input: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new(program)
        .args(args)
        .arg(image)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed by this test: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {out:?}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// An image file of `mib` MiB made by `make`, as bytes.
pub(crate) fn image(mib: usize, make: impl FnOnce(&Path)) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    std::fs::File::create(&path)
        .unwrap()
        .set_len((mib << 20) as u64)
        .unwrap();
    make(&path);
    std::fs::read(&path).unwrap()
}

/// An image of `testdata/volumes`, unpacked.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    use std::io::Read as _;
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/volumes")
        .join(format!("{name}.img.xz"));
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut out = Vec::new();
    let mut reader = lzma_rust2::XzReader::new(std::io::BufReader::new(file), true);
    reader.read_to_end(&mut out).unwrap();
    out
}

/// What `testdata/volumes/pattern.py` writes: block `n` holds the name, `n` and zeros.
pub(crate) fn pattern(block: usize, name: &str, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len);
    for n in 0..len.checked_div(block).unwrap() {
        let mut head = format!("{name} {n:08}\n").into_bytes();
        head.resize(block, 0);
        out.extend(head);
    }
    out
}

/// Everything that the disks hold, assembled.
pub(crate) fn assembled(
    disks: &[Arc<dyn Storage>],
    opening: &crate::volume::Opening,
) -> Result<crate::volume::Assembled> {
    let mut volumes = Vec::new();
    for (index, disk) in disks.iter().enumerate() {
        volumes.extend(crate::volume::read_layout(index, Arc::clone(disk), 512)?.volumes);
    }
    crate::volume::assemble(volumes, opening)
}

/// All of a storage.
pub(crate) fn whole(storage: &dyn Storage) -> Vec<u8> {
    let mut out = vec![0; usize::try_from(storage.len()).unwrap()];
    storage.read_at(&mut out, 0).unwrap();
    out
}
