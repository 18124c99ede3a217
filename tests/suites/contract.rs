// SPDX-License-Identifier: Apache-2.0
//! The CLI contract that scripts rely on: exit codes, documents, and generated files that are
//! committed.

use std::path::Path;
use std::process::{Command, Output};

fn guestfix(args: &[&str]) -> Output {
    Command::new(tests::cli::binary())
        .args(args)
        .output()
        .unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("no JSON document ({e}): {text:?}"))
}

#[test]
fn what_is_generated_from_the_code_is_what_is_committed() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for (what, dir) in [
        ("man", "man"),
        ("completions", "completions"),
        ("schemas", "schema"),
    ] {
        let fresh = tempfile::tempdir().unwrap();
        let output = guestfix(&["generate", what, fresh.path().to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        let list = |dir: &Path| {
            let mut names: Vec<_> = std::fs::read_dir(dir)
                .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            names
        };
        let committed = docs.join(dir);
        assert_eq!(list(fresh.path()), list(&committed), "files of {what}");
        for name in list(fresh.path()) {
            let new = std::fs::read_to_string(fresh.path().join(&name)).unwrap();
            let old = std::fs::read_to_string(committed.join(&name)).unwrap();
            assert!(
                new == old,
                "docs/{dir}/{} is out of date: run guestfix generate {what} docs/{dir}",
                name.display()
            );
        }
    }
}

#[test]
fn a_wrong_command_line_exits_2_and_is_a_document_in_json() {
    let output = guestfix(&["convert"]);
    assert_eq!(output.status.code(), Some(2));
    let output = guestfix(&["convert", "--format", "json"]);
    assert_eq!(output.status.code(), Some(2));
    let error = json(&output);
    assert_eq!(error["schema"], "guestfix.io/error/v1");
    assert_eq!(error["kind"], "usage");
    assert!(error["hint"].is_string());
}

#[test]
fn help_and_version_exit_0() {
    assert!(guestfix(&["--help"]).status.success());
    let version = guestfix(&["--version"]);
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("guestfix 0."));
}

#[test]
fn the_checks_are_listed_by_the_tool_itself() {
    let output = guestfix(&["checks", "--format", "json"]);
    assert!(output.status.success());
    let document = json(&output);
    assert_eq!(document["schema"], "guestfix.io/checks/v1");
    let checks = document["checks"].as_array().unwrap();
    assert!(checks.len() >= 8, "only {} checks", checks.len());
    let mut names: Vec<_> = checks.iter().map(|c| c["name"].as_str().unwrap()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a check's name is used twice");
}

#[test]
fn the_host_describes_itself() {
    let output = guestfix(&["host", "--format", "json"]);
    assert!(output.status.success());
    assert_eq!(json(&output)["schema"], "guestfix.io/host/v1");
}

#[test]
fn an_absent_disk_is_a_clear_error() {
    let output = guestfix(&["inspect", "/nonexistent/disk.img", "--format", "json"]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let error = json(&output);
    assert_eq!(error["disk"], "/nonexistent/disk.img");
    assert!(error["hint"].is_string());
}

#[test]
fn one_disk_given_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk.img");
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let link = dir.path().join("same.img");
    std::os::unix::fs::symlink(&disk, &link).unwrap();
    let output = guestfix(&[
        "inspect",
        disk.to_str().unwrap(),
        link.to_str().unwrap(),
        "--format",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(json(&output)["code"], "same-disk-twice");
}
