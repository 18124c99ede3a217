// SPDX-License-Identifier: Apache-2.0
//! VMware Tools' files.

use super::super::gather::Gatherer;
use super::names::{DRIVER_FILES, LIBRARIES, PROGRAM_FOLDERS};
use crate::error::Result;
use crate::fs::{FileType, GuestPath};
use crate::inspect::facts::Sources;
use crate::inspect::windows::WindowsFacts;

/// Levels of folders that are followed.
const DEEPEST: usize = 24;

/// Files that go and the directories that are empty then, those inside first.
pub(super) fn gone(sources: &Sources, windows: &WindowsFacts) -> (Vec<String>, Vec<String>) {
    let (mut files, mut dirs) = (Vec::new(), Vec::new());
    for folder in PROGRAM_FOLDERS {
        below(sources, &format!("/{folder}"), &mut files, &mut dirs);
    }
    // What held nothing else goes too.
    let parents = [
        "Program Files/VMware",
        "Program Files/Common Files/VMware",
        "Program Files (x86)/VMware",
        "ProgramData/VMware",
    ];
    let parents = parents.map(|parent| format!("/{parent}"));
    let within = |parent: &&String| {
        dirs.iter()
            .any(|dir| dir.starts_with(&format!("{parent}/")))
    };
    let parents: Vec<String> = parents.iter().filter(within).cloned().collect();
    dirs.extend(parents);
    files.extend(single(windows).into_iter().filter(|path| sources.has(path)));
    (files, dirs)
}

/// Single files in the system's directories.
fn single(windows: &WindowsFacts) -> Vec<String> {
    paths()
        .map(|below| windows.in_system_root(&below))
        .collect()
}

fn paths() -> impl Iterator<Item = String> {
    let drivers = DRIVER_FILES
        .iter()
        .map(|name| format!("System32/drivers/{name}.sys"));
    let libraries = LIBRARIES
        .iter()
        .flat_map(|name| ["System32", "SysWOW64"].map(|folder| format!("{folder}/{name}")));
    drivers.chain(libraries)
}

/// What was listed below a folder: its files, and its folders from the inside out.
pub(super) fn below(
    sources: &Sources,
    folder: &str,
    files: &mut Vec<String>,
    dirs: &mut Vec<String>,
) {
    let Some(names) = sources.dirs.get(folder) else {
        return;
    };
    for name in names {
        let path = format!("{folder}/{name}");
        match sources.dirs.contains_key(&path) {
            true => below(sources, &path, files, dirs),
            false => files.push(path),
        }
    }
    dirs.push(folder.to_owned());
}

/// Reads which of them there are.
pub(super) fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    for folder in PROGRAM_FOLDERS {
        gather_below(gather, &format!("/{folder}"))?;
    }
    for path in paths() {
        gather.presence(&gather.in_system_root(&path))?;
    }
    Ok(())
}

/// Lists a folder with all folders in it; links are not followed.
pub(super) fn gather_below(gather: &mut Gatherer<'_>, folder: &str) -> Result<()> {
    let mut todo = vec![(folder.to_owned(), 0_usize)];
    while let Some((folder, depth)) = todo.pop() {
        for name in gather.dir(&folder)? {
            let path = format!("{folder}/{name}");
            let meta = gather.tree().lstat(&GuestPath::new(&path))?;
            if meta.is_some_and(|meta| meta.file_type == FileType::Dir) && depth < DEEPEST {
                // An empty folder is recorded as one.
                gather.presence(&path)?;
                todo.push((path, depth.saturating_add(1)));
            }
        }
    }
    Ok(())
}
