// SPDX-License-Identifier: Apache-2.0
//! `guestfix drivers`.

use std::process::{Command, Output};

use tests::virtio_win::{self as bundle, Infs};

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(tests::cli::binary());
    command.arg("drivers").args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_table_has_a_row_per_inf_and_the_picks_their_reasons() {
    let tree = bundle::tree(Infs::Own);
    let output = run(&[tree.to_str().unwrap(), "--for", "2k22/amd64"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = text(&output);
    let row = text
        .lines()
        .find(|l| l.starts_with("vioscsi.inf") && l.contains("2k16"))
        .unwrap();
    for word in [
        "scsi",
        "amd64",
        "100.95.104.14393",
        "guestfix test publisher (sha256)",
    ] {
        assert!(row.contains(word), "{row}");
    }
    assert!(text.contains("named, not trusted"));
    assert!(
        text.contains("for Windows Server 2022 (20348, amd64):"),
        "{text}"
    );
    assert!(text.contains("because it lies in the folder of Windows Server 2022"));
}

#[test]
fn the_document_follows_its_schema() {
    let tree = bundle::tree(Infs::Own);
    let output = run(&[
        tree.to_str().unwrap(),
        "--for",
        "w7/x86",
        "--format",
        "json",
    ]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let schema = tests::workspace().join("docs/schema/drivers.v1.json");
    let schema: serde_json::Value =
        serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    if let Err(error) = jsonschema::validate(&schema, &document) {
        panic!("{error}");
    }
    assert_eq!(document["schema"], "guestfix.io/drivers/v1");
    assert_eq!(document["picked"]["bootable"], true);
    let block = &document["picked"]["picks"][0];
    assert_eq!(block["files"][0]["goal"], "System32\\drivers\\viostor.sys");
}

#[test]
fn each_way_to_fail_has_its_exit_code() {
    let tree = bundle::tree(Infs::Own);
    let tree = tree.to_str().unwrap();
    let empty = tempfile::tempdir().unwrap();
    let image = empty.path().join("cut.iso");
    bundle::iso(std::path::Path::new(tree), bundle::Names::Both, &image);
    let file = std::fs::File::options().write(true).open(&image).unwrap();
    file.set_len(1 << 20).unwrap();
    let code = |args: &[&str]| run(args).status.code().unwrap();
    assert_eq!(code(&[tree, "--for", "xp/arm64"]), 1);
    assert_eq!(code(&[tree, "--for", "w10/mips"]), 2);
    assert_eq!(
        code(&[tests::workspace().join("docs").to_str().unwrap()]),
        4
    );
    assert_eq!(code(&[image.to_str().unwrap()]), 5);
    assert_eq!(code(&["/nonexistent"]), 6);
}
