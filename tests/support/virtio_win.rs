// SPDX-License-Identifier: Apache-2.0
//! Driver bundles, laid out as virtio-win's: made once by testdata/bundles/make.py, then cached.
//!
//! Their images are stubs that no Windows runs, and a test publisher signed their catalogues. The
//! INFs are this project's own, or, where `GUESTFIX_INX` names a checkout of
//! kvm-guest-drivers-windows, those that its build makes.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// Where the INFs of a bundle come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Infs {
    /// This project's own words: always there.
    Own,
    /// The templates that `GUESTFIX_INX` names.
    Real,
}

/// Every source of INFs that this machine has; what it lacks is said aloud.
pub fn sources() -> Vec<Infs> {
    if templates().is_some() {
        return vec![Infs::Own, Infs::Real];
    }
    println!("GUESTFIX_INX is unset: only INFs of this project's own words are read");
    vec![Infs::Own]
}

fn templates() -> Option<PathBuf> {
    let named = std::env::var_os("GUESTFIX_INX").filter(|name| !name.is_empty());
    named.map(PathBuf::from)
}

/// The bundle: `<driver>/<release>/<arch>/` for releases from XP to 2025, and `guest-agent/`. It is
/// the cache's: copy it before changing it.
pub fn tree(infs: Infs) -> PathBuf {
    let script = crate::workspace().join("testdata/bundles/make.py");
    let mut hash = Sha256::new_with_prefix(std::fs::read(&script).unwrap());
    let templates = templates().filter(|_| infs == Infs::Real);
    if let Some(folder) = &templates {
        hash.update(folder.as_os_str().as_encoded_bytes());
    }
    let name = guestfix::digest::hex(&hash.finalize()[..8]);
    let cache = crate::guest::cache_dir().with_file_name("bundles");
    std::fs::create_dir_all(&cache).unwrap();
    let lock = std::fs::File::create(cache.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let (tree, done) = (cache.join(&name), cache.join(format!("{name}.done")));
    if !done.exists() {
        let _ = std::fs::remove_dir_all(&tree);
        let mut command = Command::new("python3");
        command.arg(&script).arg("tree").arg(&tree).args(templates);
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}: {stderr}; does `tests/setup` pass?",
            script.display()
        );
        std::fs::write(done, "").unwrap();
    }
    tree
}

/// A copy of a bundle, or of a part of it, that a test may change.
pub fn copy(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let source = format!("{}/.", from.display());
    crate::tool::run("cp", &["-r", &source, dir.path().to_str().unwrap()]);
    dir
}

/// How an image names its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// ISO 9660 only.
    Plain,
    /// Joliet beside it.
    Joliet,
    /// Rock Ridge beside it.
    RockRidge,
    /// Both, as virtio-win's image has them.
    Both,
}

/// An ISO image of a folder, made by genisoimage.
pub fn iso(folder: &Path, names: Names, out: &Path) {
    let mut args = vec!["-quiet", "-V", "virtio-win"];
    args.extend(match names {
        Names::Plain => &["-iso-level", "1"][..],
        Names::Joliet => &["-J", "-joliet-long"],
        Names::RockRidge => &["-R"],
        Names::Both => &["-R", "-J", "-joliet-long"],
    });
    let (out, folder) = (out.to_str().unwrap(), folder.to_str().unwrap());
    args.extend(["-o", out, folder]);
    crate::tool::run("genisoimage", &args);
}
