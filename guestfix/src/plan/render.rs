// SPDX-License-Identifier: Apache-2.0
//! Changes as a person reads them.

use std::fmt::Write as _;

use super::change::{Action, Member, MemberKind};

/// What an action does, as a unified diff or a listing.
pub fn diff(action: &Action, before: Option<&[u8]>) -> Option<String> {
    match action {
        Action::WriteFile { path, content, .. } => {
            Some(content_diff(&path.display(), before, content))
        }
        Action::RemoveFile { path } => Some(format!("- {path}\n")),
        Action::RemoveFiles { files, dirs, .. } => {
            let files = files.iter().map(|path| format!("- {path}\n"));
            let dirs = dirs.iter().map(|path| format!("- {path}/ (if empty)\n"));
            Some(files.chain(dirs).collect())
        }
        Action::CopyFile { from, path, len } => {
            Some(format!("+ {path} ({len} bytes, a copy of {from})\n"))
        }
        Action::Symlink { path, target } => Some(format!("+ {path} -> {target}\n")),
        Action::AppendInitramfs { members, .. } => Some(listing(members)),
        Action::RebuildInitramfs { argv, scratch, .. } => Some(rebuild(argv, scratch)),
        Action::EditHive { hive, edits, .. } => Some(super::render_hive::script(hive, edits)),
        Action::PlaceFile {
            path, member, len, ..
        } => Some(format!(
            "+ {path} ({len} bytes, {member} of the driver bundle)\n"
        )),
        Action::RunGuest { argv, .. } | Action::InstallPackage { argv, .. } => Some(command(argv)),
    }
}

/// A command line as one would type it.
fn command(argv: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+~:=,@".contains(c);
    let quoted = argv.iter().map(|arg| match arg.chars().all(plain) {
        true if !arg.is_empty() => arg.clone(),
        _ => format!("'{}'", arg.replace('\'', "'\\''")),
    });
    format!("$ {}\n", quoted.collect::<Vec<_>>().join(" "))
}

fn rebuild(argv: &[String], scratch: &[(String, String)]) -> String {
    let mut out = command(argv);
    for (name, text) in scratch {
        let _ = writeln!(out, "with {}/{name}:", super::SCRATCH);
        for line in text.lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

fn content_diff(path: &str, before: Option<&[u8]>, after: &[u8]) -> String {
    let old = before.map_or(Ok(""), std::str::from_utf8);
    let (Ok(old), Ok(new)) = (old, std::str::from_utf8(after)) else {
        let old_len = before.map_or(0, <[u8]>::len);
        return format!("binary file, {old_len} -> {} bytes\n", after.len());
    };
    let from = if before.is_some() {
        format!("a{path}")
    } else {
        "/dev/null".to_owned()
    };
    similar::TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(2)
        .header(&from, &format!("b{path}"))
        .to_string()
}

fn listing(members: &[Member]) -> String {
    let mut out = String::new();
    for member in members {
        let _ = match &member.what {
            MemberKind::Dir => continue,
            MemberKind::Bytes(bytes) | MemberKind::Program(bytes) => {
                writeln!(out, "+ {} ({} bytes)", member.name, bytes.len())
            }
            MemberKind::Copy(from) => writeln!(out, "+ {} (copy of {from})", member.name),
            MemberKind::Unpack(from) => writeln!(out, "+ {} (unpacked {from})", member.name),
        };
    }
    out
}
