// SPDX-License-Identifier: Apache-2.0
//! Windows guests on a cluster: where their drivers come from, and what stops them.

use super::conversion::{
    at_work, condition, ends_ready, finished, has_strategy, make_machine, only,
};
use serde_json::{Value, json};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tests::cluster::Cluster;
use tests::cluster::import::Import;
use tests::digest::content_digest;
use tests::virtio_win::{Infs, Names, iso, tree};
use tests::windows::{Windows, named};

const DRIVER_IMAGE: &str = "registry.test/virtio-container-disk:1";

/// Profiles `host-path` and `image`, with drivers of the same bundle, and `lacking`, with none for disks.
fn profiles(cluster: &Cluster) {
    static ONE: OnceLock<()> = OnceLock::new();
    ONE.get_or_init(|| {
        let bundle = tree(Infs::Own);
        let image = made(cluster, "image");
        // For nobody but KubeVirt's own user, as its documentation makes them.
        let disk = made(cluster, "image/disk").join("virtio-win.iso");
        iso(&bundle, Names::Both, &disk);
        std::fs::set_permissions(&disk, PermissionsExt::from_mode(0o440)).unwrap();
        chown(&disk, Some(107), Some(107)).unwrap();
        cluster.kubelets().add_image(DRIVER_IMAGE, &image);
        cluster.kubelets().add_image("guestfix-agent:test", &image);
        let lacking = made(cluster, "lacking");
        let (from, to) = (bundle.join("NetKVM"), lacking.join("NetKVM"));
        tests::tool::run("cp", &[Path::new("-r"), &from, &to]);
        for (name, drivers) in [
            ("lacking", json!({"hostPath": lacking})),
            ("host-path", json!({"hostPath": bundle})),
            ("image", json!({"image": DRIVER_IMAGE})),
        ] {
            let profile = json!({"metadata": {"name": name},
                "apiVersion": "guestfix.io/v1alpha1", "kind": "GuestConversionProfile",
                "spec": {"drivers": drivers, "allowUnsignedDrivers": true}});
            let path = "/apis/guestfix.io/v1alpha1/guestconversionprofiles";
            cluster.admin().create(path, &profile).unwrap();
        }
    });
}

fn made(cluster: &Cluster, name: &str) -> PathBuf {
    let dir = cluster.dir().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A halted machine whose disk is a copy of `image`, and its conversion by `profile`.
fn begin<'a>(
    cluster: &'a Cluster,
    space: &str,
    image: &Path,
    profile: &str,
) -> (String, Import<'a>) {
    let import = cluster.import(space, "root", &json!({}));
    import.succeed(image);
    let vm = make_machine(cluster, space, "win", &["root"]);
    let more = json!({"virtualMachineRef": {"name": "win"}, "profileRef": {"name": profile}});
    cluster.conversion(space, "run", &["root"], more);
    (vm, import)
}

fn ready_with(profile: &str) {
    let cluster = at_work();
    profiles(cluster);
    let dir = tempfile::tempdir().unwrap();
    let image = Windows::efi(named("2k19/amd64")).build(dir.path(), |_| {});
    let space = cluster.namespace("windows");
    let (vm, import) = begin(cluster, &space, &image, profile);
    let done = ends_ready(cluster, &space);
    assert!(
        done["status"]["guest"]["name"].to_string().contains("2019"),
        "{done:#}"
    );
    assert_ne!(content_digest(&import.disk()), content_digest(&image));
    has_strategy(cluster, &vm, "Always");
}

#[test]
fn a_windows_guest_is_ready_with_drivers_from_its_node() {
    ready_with("host-path");
}

#[test]
fn a_windows_guest_is_ready_with_drivers_from_a_container_image() {
    ready_with("image");
}

/// It ends with this reason, the disk as it was, and the machine is not started.
fn stays(image: &Path, profile: &str, expected: &str) -> Value {
    let cluster = at_work();
    profiles(cluster);
    let space = cluster.namespace("stays");
    let (vm, import) = begin(cluster, &space, image, profile);
    let done = only(cluster, &space, finished);
    assert_eq!(
        condition(&done, "Ready"),
        Some(("False", expected)),
        "{done:#}"
    );
    assert_eq!(content_digest(&import.disk()), content_digest(image));
    let machine = cluster.admin().get(&vm).unwrap();
    assert_eq!(machine["spec"]["runStrategy"], "Halted", "{machine:#}");
    done
}

#[test]
fn without_drivers_for_the_release_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let image = Windows::bios(named("2k19/amd64")).build(dir.path(), |_| {});
    stays(&image, "default", "NoDriverBundle");
    stays(&image, "lacking", "NoDriverBundle");
}

#[test]
fn a_hibernated_guest_is_named_so_and_its_machine_is_not_started() {
    let dir = tempfile::tempdir().unwrap();
    let image = Windows::bios(named("2k19/amd64")).build(dir.path(), |top| {
        let mut suspended = vec![0; 8192];
        suspended[..4].copy_from_slice(b"HIBR");
        std::fs::write(top.join("hiberfil.sys"), suspended).unwrap();
    });
    stays(&image, "host-path", "Hibernated");
}
