// SPDX-License-Identifier: Apache-2.0
//! Data flows one way: no room imports from a room downstream of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Who may import whom. A room may always import itself.
const STREAM: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("digest", &[]),
    ("disk", &["error", "digest"]),
    ("volume", &["error", "disk"]),
    ("fs", &["error", "disk", "volume"]),
    ("hive", &["error"]),
    ("host", &["error", "digest", "disk", "fs"]),
    (
        "inspect",
        &["error", "digest", "disk", "volume", "fs", "hive"],
    ),
    ("document", &["error"]),
    ("vm", &["error", "disk", "document", "inspect"]),
    ("plan", &["error", "digest", "fs", "hive", "inspect", "vm"]),
    ("verify", &["error", "inspect", "plan"]),
    (
        "linux",
        &[
            "error", "digest", "fs", "inspect", "plan", "verify", "volume", "document", "vm",
        ],
    ),
    (
        "windows",
        &[
            "error", "digest", "fs", "hive", "inspect", "plan", "verify", "volume", "document",
            "vm",
        ],
    ),
    ("apply", &["error", "fs", "hive", "inspect", "plan"]),
    ("report", &["error", "inspect", "plan", "apply", "verify"]),
    ("boot", &["error", "host", "inspect", "plan"]),
    (
        "pipeline",
        &[
            "error", "digest", "disk", "volume", "fs", "host", "inspect", "plan", "verify",
            "linux", "windows", "apply", "report", "boot", "hive", "vm",
        ],
    ),
    (
        "cli",
        &[
            "error", "disk", "hive", "host", "inspect", "plan", "verify", "apply", "report",
            "boot", "pipeline", "vm",
        ],
    ),
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// The rooms that a file's code names as `crate::<room>`, its tests left out.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .filter_map(|rest| {
            let room: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            rest[room.len()..].starts_with("::").then_some(room)
        })
        .collect()
}

#[test]
fn no_room_imports_against_the_stream() {
    let src = repository().join("guestfix/src");
    let allowed: BTreeMap<&str, &[&str]> = STREAM.iter().copied().collect();
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let relative = file
            .strip_prefix(&src)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let room = relative.split(['/', '.']).next().unwrap().to_owned();
        if matches!(room.as_str(), "lib" | "main") || relative.contains("tests") {
            continue;
        }
        let may = allowed
            .get(room.as_str())
            .unwrap_or_else(|| panic!("{room} is not in STREAM"));
        for import in imports(&std::fs::read_to_string(&file).unwrap()) {
            if import != room && !may.contains(&import.as_str()) {
                wrong.push(format!("{relative} imports {import}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "against the stream:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn unsafe_code_lives_in_the_host_room_only() {
    let src = repository().join("guestfix/src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let outside = !file.starts_with(src.join("host"));
        let uses = text
            .lines()
            .any(|l| !l.trim_start().starts_with("//") && l.contains("unsafe "));
        assert!(!(outside && uses), "{} has unsafe code", file.display());
    }
}

#[test]
fn the_top_level_is_the_frame_that_was_given() {
    const FRAME: &[&str] = &[
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "agent",
        "docs",
        "drivers",
        "guestfix",
        "target",
        "testdata",
        "tests",
    ];
    for entry in std::fs::read_dir(repository()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name.starts_with('.') || FRAME.contains(&name.as_str()),
            "{name} is not in it"
        );
    }
}

#[test]
fn every_source_file_is_short_and_licensed() {
    let mut files = Vec::new();
    for dir in ["guestfix/src", "agent/src", "drivers/src", "tests"] {
        rust_files(&repository().join(dir), &mut files);
    }
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.display();
        assert!(
            text.starts_with("// SPDX-License-Identifier: Apache-2.0\n"),
            "{name}: no SPDX"
        );
        let code = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap()
            .lines()
            .count();
        assert!(code <= 600, "{name}: {code} lines without tests");
    }
}
