// SPDX-License-Identifier: Apache-2.0
//! The image that is built without a container engine.

use guestfix::digest::sha256_hex;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use tests::cluster::install::manifests;
use tests::tool;

/// The blob that a descriptor names, after its size and digest were checked.
fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"]
        .as_str()
        .unwrap()
        .strip_prefix("sha256:")
        .unwrap();
    let path = layout.join("blobs/sha256").join(digest);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, descriptor["size"], "{descriptor}");
    assert_eq!(sha256_hex(&bytes), digest);
    path
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// One built from stand-ins of our programs and the least of Debian, unpacked.
fn built(dir: &Path) -> PathBuf {
    for name in ["guestfix", "guestfix-agent"] {
        let program = dir.join(name);
        tests::tool::script(&program, &format!("#!/bin/sh\necho {name}\n"));
    }
    let (archive, layout) = (dir.join("image.tar"), dir.join("layout"));
    let script = manifests().join("image/build");
    let args = [
        OsStr::new("--packages"),
        "e2fsprogs".as_ref(),
        "--binaries".as_ref(),
        dir.as_ref(),
        archive.as_ref(),
    ];
    tool::run(script.to_str().unwrap(), &args);
    std::fs::create_dir(&layout).unwrap();
    let args = [
        OsStr::new("-xf"),
        archive.as_ref(),
        "-C".as_ref(),
        layout.as_ref(),
    ];
    tool::run("tar", &args);
    layout
}

#[test]
fn the_image_is_a_valid_oci_layout_with_our_programs() {
    let dir = tempfile::tempdir().unwrap();
    let layout = built(dir.path());
    assert_eq!(
        json(&layout.join("oci-layout"))["imageLayoutVersion"],
        "1.0.0"
    );
    let index = json(&layout.join("index.json"));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    let manifest = json(&blob(&layout, &index["manifests"][0]));
    let config = json(&blob(&layout, &manifest["config"]));
    assert_eq!(config["config"]["User"], "65532:65532");

    let layers = manifest["layers"].as_array().unwrap();
    let diffs = config["rootfs"]["diff_ids"].as_array().unwrap();
    assert_eq!(layers.len(), diffs.len());
    let mut names = String::new();
    for (layer, diff) in layers.iter().zip(diffs) {
        let path = blob(&layout, layer);
        let tar = dir.path().join("layer.tar");
        let unpacked = std::process::Command::new("gzip")
            .arg("-dc")
            .arg(&path)
            .output()
            .unwrap();
        assert_eq!(
            format!("sha256:{}", sha256_hex(&unpacked.stdout)),
            diff.as_str().unwrap()
        );
        std::fs::write(&tar, unpacked.stdout).unwrap();
        names += &tool::run("tar", &[OsStr::new("-tf"), tar.as_ref()]);
    }
    let lines: Vec<&str> = names.lines().collect();
    for name in [
        "./usr/bin/guestfix",
        "./usr/bin/guestfix-agent",
        "./etc/debian_version",
    ] {
        assert!(lines.contains(&name), "{name} is missing");
    }
    // What a machine that builds it knows stays there.
    assert!(
        !lines
            .iter()
            .any(|line| line.starts_with("./etc/apt/sources.list"))
    );
    let blobs = std::fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .count();
    assert_eq!(blobs, layers.len() + 2, "a blob that nothing names");
}
