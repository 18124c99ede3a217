// SPDX-License-Identifier: Apache-2.0
//! Registry hives: where to get some, and what we and other readers see in them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use guestfix::digest::hex;
use guestfix::hive::{Dirty, Hive, Key};
use sha2::{Digest, Sha256};

/// The readers from PyPI, pinned: the cache below is named after them.
const PACKAGES: &str = "dissect.regf==3.14 regipy==6.5.0";

/// Another program that reads hives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// libhivex, by its binding: what hivexsh and hivexml read with.
    Hivex,
    /// dissect.regf.
    Dissect,
    /// regipy.
    Regipy,
}

impl Reader {
    /// What it sees: see readers.py. The error is the last line that it printed.
    ///
    /// # Errors
    /// When it refuses the hive.
    pub fn dump(self, hive: &Path) -> Result<String, String> {
        let (python, name) = match self {
            Self::Hivex => (PathBuf::from("/usr/bin/python3"), "hivex"),
            Self::Dissect => (venv(), "dissect"),
            Self::Regipy => (venv(), "regipy"),
        };
        let script = crate::workspace().join("tests/support/readers.py");
        let output = Command::new(&python)
            .arg(script)
            .args([name.as_ref(), hive.as_os_str()])
            .output()
            .unwrap_or_else(|e| panic!("{}: {e}; does `tests/setup` pass?", python.display()));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !stderr.contains("ModuleNotFoundError"),
            "{stderr}; does `tests/setup` pass?"
        );
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout).unwrap());
        }
        Err(stderr.lines().last().unwrap_or_default().to_owned())
    }

    /// Whether it tells classes and security descriptors.
    fn tells_all(self) -> bool {
        self == Self::Dissect
    }
}

/// The Python that has the readers from PyPI: made once, kept in the cache.
pub fn venv() -> PathBuf {
    let name = digest(PACKAGES.as_bytes());
    let cache = crate::guest::cache_dir().with_file_name("venv");
    std::fs::create_dir_all(&cache).unwrap();
    let lock = std::fs::File::create(cache.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let (dir, done) = (cache.join(&name), cache.join(format!("{name}.done")));
    let python = dir.join("bin/python");
    if !done.exists() {
        let dir = dir.to_str().unwrap();
        crate::tool::run("/usr/bin/python3", &["-m", "venv", "--clear", dir]);
        let mut install = vec!["-m", "pip", "install", "--quiet"];
        install.extend(PACKAGES.split(' '));
        crate::tool::run(python.to_str().unwrap(), &install);
        std::fs::write(done, PACKAGES).unwrap();
    }
    python
}

/// What we see, in the form of readers.py, with the columns that `reader` fills.
pub fn dump(hive: &Hive, reader: Reader) -> String {
    let mut out = String::new();
    dump_key(hive.root().unwrap(), 0, reader, &mut out);
    out
}

fn dump_key(key: Key<'_>, depth: usize, reader: Reader, out: &mut String) {
    let (mut class, mut security) = ("-".to_owned(), "-".to_owned());
    if reader.tells_all() {
        if let Some(bytes) = key.class_bytes().unwrap() {
            class = hex(bytes);
        }
        if let Some(bytes) = key.security().unwrap() {
            security = digest(bytes);
        }
    }
    let (name, written) = (wide(&key.name_units().unwrap()), key.timestamp().unwrap());
    writeln!(out, "K\t{depth}\t{name}\t{written}\t{class}\t{security}").unwrap();
    for value in key.values().unwrap() {
        let value = value.unwrap();
        let (kind, data) = (value.kind().unwrap().0, value.data().unwrap());
        let (name, digest) = (wide(&value.name_units().unwrap()), digest(&data));
        writeln!(out, "V\t{name}\t{kind}\t{}\t{digest}", data.len()).unwrap();
    }
    for sub in key.subkeys().unwrap() {
        dump_key(sub.unwrap(), depth + 1, reader, out);
    }
}

fn wide(units: &[u16]) -> String {
    let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    hex(&bytes)
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..8])
}

/// Fails with the first line that differs.
pub fn assert_same(ours: &str, theirs: &str, what: &str) {
    for (number, (a, b)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert_eq!(a, b, "{what}, line {}", number + 1);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count(), "{what}");
}

/// Keys and values that hivexml prints; `None` where it fails.
pub fn hivexml_counts(hive: &Path) -> Option<(usize, usize)> {
    let output = Command::new("hivexml").arg(hive).output();
    let output = output.unwrap_or_else(|e| panic!("hivexml: {e}; does `tests/setup` pass?"));
    let text = String::from_utf8_lossy(&output.stdout);
    let ended = output.status.success();
    ended.then(|| {
        (
            text.matches("<node ").count(),
            text.matches("<value ").count(),
        )
    })
}

/// Depth and name of every key but the root, as Samba's regtree prints them; `None` where it
/// fails, which it does with lists of more than one leaf and with several types of values.
pub fn regtree_keys(hive: &Path) -> Option<Vec<(usize, String)>> {
    let mut command = Command::new("regtree");
    command.args(["--configfile=/dev/null", "-F"]);
    let output = command.arg(hive).output();
    let output = output.unwrap_or_else(|e| panic!("regtree: {e}; does `tests/setup` pass?"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let keys = text
        .lines()
        .filter(|line| !line.is_empty() && !line.contains("= REG_"));
    let keys = keys.map(|line| {
        let name = line.trim_start_matches(' ');
        (line.len() - name.len(), name.to_owned())
    });
    output.status.success().then(|| keys.collect())
}

/// What [`regtree_keys`] should say; `None` where a name is not
/// printable ASCII, which it prints otherwise.
pub fn our_keys(hive: &Hive) -> Option<Vec<(usize, String)>> {
    fn below(key: Key<'_>, depth: usize, out: &mut Vec<(usize, String)>) {
        for sub in key.subkeys().unwrap() {
            let sub = sub.unwrap();
            out.push((depth, sub.name().unwrap()));
            below(sub, depth + 1, out);
        }
    }
    let mut out = Vec::new();
    below(hive.root().unwrap(), 1, &mut out);
    let plain = |name: &str| name.bytes().all(|byte| (b' '..0x7F).contains(&byte));
    out.iter().all(|(_, name)| plain(name)).then_some(out)
}

/// A hive file with its logs.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// The hive.
    pub bytes: Vec<u8>,
    /// Its logs.
    pub logs: Vec<Vec<u8>>,
}

impl Sample {
    /// Opens it, with its logs or, by policy, without what they hold.
    pub fn open(&self, dirty: Dirty) -> guestfix::Result<Hive> {
        let logs: Vec<&[u8]> = self.logs.iter().map(Vec::as_slice).collect();
        Hive::open(self.bytes.clone(), &logs, dirty)
    }
}

/// Every hive below the folder that `GUESTFIX_HIVES` names, by its path there; `.xz` is unpacked.
/// Empty, and said aloud, where the variable is unset.
pub fn given() -> BTreeMap<String, Sample> {
    let mut out = BTreeMap::new();
    let named = std::env::var_os("GUESTFIX_HIVES").filter(|name| !name.is_empty());
    let Some(folder) = named.map(PathBuf::from) else {
        println!("GUESTFIX_HIVES is unset: only hives that are made here are read");
        return out;
    };
    let mut files = Vec::new();
    collect(&folder, &mut files);
    let mut logs = Vec::new();
    for path in files {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
        let name = name.trim_end_matches(".xz").to_owned();
        if is_log(&name) {
            logs.push((name, path));
        } else if let bytes = unpacked(&path)
            && (bytes.starts_with(b"regf") || bytes.get(4096..4100) == Some(b"hbin"))
        {
            let logs = Vec::new();
            out.insert(name, Sample { bytes, logs });
        }
    }
    for (name, path) in logs {
        let stem = name[..name.rfind('.').unwrap()].to_ascii_lowercase();
        for (owner, sample) in &mut out {
            if owner.to_ascii_lowercase() == stem {
                sample.logs.push(unpacked(&path));
            }
        }
    }
    assert!(!out.is_empty(), "no hive in {}", folder.display());
    out
}

fn is_log(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".log", ".log1", ".log2"]
        .iter()
        .any(|end| name.ends_with(end))
}

fn collect(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, out);
        } else {
            out.push(path);
        }
    }
    out.sort();
}

fn unpacked(path: &Path) -> Vec<u8> {
    if path.extension().is_none_or(|end| end != "xz") {
        return std::fs::read(path).unwrap();
    }
    let output = Command::new("xz").arg("-dc").arg(path).output().unwrap();
    assert!(output.status.success(), "{}", path.display());
    output.stdout
}
