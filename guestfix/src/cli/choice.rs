// SPDX-License-Identifier: Apache-2.0
//! Files of this machine that options name: read when the command line is, so that what is wrong
//! with them is told before any disk is opened.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::plan::policy::{AgentPackages, FirstbootScript};

/// A script longer than this is a mistake.
const MAX_SCRIPT: u64 = 1 << 20;
/// Files of a directory of packages.
const MAX_FILES: usize = 10_000;

/// `--firstboot SCRIPT`.
pub(super) fn firstboot(text: &str) -> Result<FirstbootScript, String> {
    let path = Path::new(text);
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| format!("{text:?} is no file"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .take(100)
        .collect();
    let meta = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if !meta.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let mut part = file.take(MAX_SCRIPT.saturating_add(1));
    part.read_to_end(&mut content).map_err(|e| e.to_string())?;
    if content.len() as u64 > MAX_SCRIPT {
        return Err(format!("larger than {MAX_SCRIPT} bytes"));
    }
    let program = content.starts_with(b"#!") || content.starts_with(b"\x7fELF");
    if !program {
        return Err("a script begins with #! and its interpreter, such as #!/bin/sh".to_owned());
    }
    if content
        .split(|byte| *byte == b'\n')
        .next()
        .is_some_and(|line| line.ends_with(b"\r"))
    {
        return Err("its lines end with CR LF, which no interpreter is found by".to_owned());
    }
    Ok(FirstbootScript { name, content })
}

/// `--guest-agent-packages DIR`.
pub(super) fn packages(text: &str) -> Result<AgentPackages, String> {
    let dir = PathBuf::from(text);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&dir)
        .map_err(|e| e.to_string())?
        .take(MAX_FILES)
    {
        let entry = entry.map_err(|e| e.to_string())?;
        files.extend(entry.file_name().into_string());
    }
    files.sort();
    Ok(AgentPackages { dir, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_needs_an_interpreter_and_gets_a_plain_name() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let good = firstboot(&write("my script.sh", b"#!/bin/sh\ntrue\n")).unwrap();
        assert_eq!(good.name, "my_script.sh");
        for bad in [
            &b"echo\n"[..],
            b"",
            b"#!/bin/sh\r\n",
            &[b'#'; (1 << 20) + 1],
        ] {
            assert!(firstboot(&write("bad", bad)).is_err());
        }
        assert!(firstboot(dir.path().to_str().unwrap()).is_err());
        assert!(firstboot("/nowhere/x").is_err());
    }

    #[test]
    fn a_directory_of_packages_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("b.deb"), "").unwrap();
        std::fs::write(dir.path().join("a.rpm"), "").unwrap();
        let got = packages(dir.path().to_str().unwrap()).unwrap();
        assert_eq!(got.files, ["a.rpm", "b.deb"]);
        assert!(packages("/nowhere").is_err());
    }
}
