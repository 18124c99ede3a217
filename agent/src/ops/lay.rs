// SPDX-License-Identifier: Apache-2.0
//! This very program in an image that has nothing of what it needs: laid beside it with its loader
//! and its libraries.

use std::path::{Path, PathBuf};

/// What the loader is called where it was laid.
const LOADER: &str = "loader";
/// What this program is called there.
const PROGRAM: &str = "guestfix-agent";

/// Copies this program into a directory, with all that it is loaded with.
///
/// # Errors
/// What could not be copied, in words.
pub fn lay(to: &Path) -> Result<(), String> {
    copy(Path::new("/proc/self/exe"), &to.join(PROGRAM))?;
    for library in libraries(&maps()?) {
        let name = match is_loader(&library) {
            true => Some(LOADER.as_ref()),
            false => library.file_name(),
        };
        if let Some(name) = name {
            copy(&library, &to.join(name))?;
        }
    }
    Ok(())
}

/// The command that starts it where it was laid by a program like this one.
pub fn command(at: &str) -> Vec<String> {
    let program = format!("{at}/{PROGRAM}");
    let loaded = maps().is_ok_and(|maps| libraries(&maps).iter().any(|path| is_loader(path)));
    if !loaded {
        // It is linked statically.
        return vec![program];
    }
    let loader = format!("{at}/{LOADER}");
    vec![loader, "--library-path".to_owned(), at.to_owned(), program]
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    std::fs::copy(from, to)
        .map(|_| ())
        .map_err(|e| format!("{} to {}: {e}", from.display(), to.display()))
}

fn maps() -> Result<String, String> {
    std::fs::read_to_string("/proc/self/maps").map_err(|e| format!("/proc/self/maps: {e}"))
}

/// The shared objects of a process, by its mappings (proc_pid_maps(5)).
fn libraries(maps: &str) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = maps
        .lines()
        .filter_map(|line| line.find('/').and_then(|at| line.get(at..)))
        .map(PathBuf::from)
        .filter(|path| name(path).contains(".so"))
        .collect();
    out.sort();
    out.dedup();
    out
}

fn is_loader(path: &Path) -> bool {
    name(path).starts_with("ld-")
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_objects_are_found_once() {
        let maps = "\
7f00-7f01 r--p 00000000 08:01 1 /usr/bin/guestfix-agent
7f02-7f03 r--p 00000000 08:01 2 /usr/lib/x86_64-linux-gnu/libc.so.6
7f03-7f04 r-xp 00001000 08:01 2 /usr/lib/x86_64-linux-gnu/libc.so.6
7f05-7f06 rw-p 00000000 00:00 0 [heap]
7f07-7f08 r--p 00000000 08:01 3 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
";
        let found = libraries(maps);
        let names: Vec<&str> = found.iter().map(|path| name(path)).collect();
        assert_eq!(names, ["ld-linux-x86-64.so.2", "libc.so.6"]);
        assert!(found.first().is_some_and(|path| is_loader(path)));
    }

    #[test]
    fn what_was_laid_starts() {
        let dir = std::env::temp_dir().join(format!("guestfix-lay-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        lay(&dir).unwrap();
        let command = command(dir.to_str().unwrap());
        let (program, args) = command.split_first().unwrap();
        // This very test, asked for its list.
        let ran = std::process::Command::new(program)
            .args(args)
            .arg("--list")
            .output();
        std::fs::remove_dir_all(&dir).unwrap();
        let ran = ran.unwrap();
        assert!(ran.status.success(), "{ran:?}");
        assert!(String::from_utf8_lossy(&ran.stdout).contains("what_was_laid_starts"));
    }
}
