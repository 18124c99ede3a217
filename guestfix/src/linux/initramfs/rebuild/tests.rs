// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::inspect::facts::SourceFile;
use crate::linux::initramfs::propose;
use crate::linux::kernel::tests::{V, gathered, vmware_only};
use crate::plan::{Bus, Change, InitramfsMode, Policy, Proposal, Target};

fn proposed(facts: &Facts, initramfs: InitramfsMode, no_guest_code: bool) -> Proposal {
    let policy = Policy {
        initramfs,
        no_guest_code,
        ..Policy::default()
    };
    propose(facts, &Target::recommend(facts, Bus::Virtio), &policy)
}

fn with(mut facts: Facts, files: &[(&str, &str)]) -> Facts {
    for (path, text) in files {
        let file = SourceFile {
            real: GuestPath::new(path),
            meta: crate::fs::Metadata {
                file_type: crate::fs::FileType::File,
                len: 0,
                mode: 0o755,
                uid: 0,
                gid: 0,
            },
            world_readable: true,
            content: text.as_bytes().to_vec(),
        };
        facts.sources.files.insert((*path).to_owned(), file);
    }
    facts
}

fn argv(change: &Change) -> String {
    match &change.action {
        Some(Action::RebuildInitramfs { argv, .. }) => argv.join("|"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn mkinitramfs_is_called_with_a_configuration_of_its_own_and_after_the_drop_in() {
    let facts = with(gathered(vmware_only()).1, &[("/usr/sbin/mkinitramfs", "")]);
    let plan = proposed(&facts, InitramfsMode::Rebuild, false);
    assert_eq!(plan.concerns, []);
    let kinds: Vec<&str> = plan
        .changes
        .iter()
        .map(|change| change.kind.as_str())
        .collect();
    assert_eq!(kinds, ["write-file", "rebuild-initramfs"]);
    let change = &plan.changes[1];
    assert!(
        change.opaque && change.path == format!("/boot/initrd.img-{V}"),
        "{change:?}"
    );
    assert!(
        change.why.contains("lacks virtio, virtio_blk"),
        "{}",
        change.why
    );
    assert_eq!(
        argv(change),
        format!(
            "/bin/sh|/tmp/guestfix/rebuild|/usr/sbin/mkinitramfs|{V}|/tmp/guestfix/initramfs|ext4"
        )
    );
    let diff = change.diff.as_ref().unwrap();
    assert!(
        diff.starts_with("$ /bin/sh /tmp/guestfix/rebuild"),
        "{diff}"
    );
    assert!(diff.contains("MODULES=most"), "{diff}");
}

#[test]
fn dracut_is_asked_for_any_machine_and_for_the_stack_of_the_old_one() {
    let mut facts = with(
        gathered(vmware_only()).1,
        &[
            ("/usr/bin/dracut", ""),
            (dracut::VERSION, "#!/bin/sh\nDRACUT_VERSION=106-6\n"),
        ],
    );
    facts.kernels[0].initramfs.as_mut().unwrap().generator = "dracut".to_owned();
    let modules = ["90lvm", "90crypt", "99base"].map(str::to_owned).to_vec();
    facts
        .sources
        .dirs
        .insert(dracut::MODULES[0].to_owned(), modules);
    let listing = facts.sources.listings.values_mut().next().unwrap();
    listing
        .dracut
        .extend(["base", "lvm", "mdraid"].map(str::to_owned));
    let plan = proposed(&facts, InitramfsMode::Rebuild, false);
    let change = plan.changes.last().unwrap();
    assert_eq!(
        argv(change),
        format!(
            "/usr/bin/dracut|--force|--no-hostonly|--no-hostonly-cmdline|\
             --no-hostonly-default-device|--add-drivers|sd_mod virtio_blk virtio_pci virtio_scsi|\
             --add|lvm|--tmpdir|/tmp|--kver|{V}|/tmp/guestfix/initramfs"
        )
    );
    assert!(change.diff.as_ref().unwrap().contains("'sd_mod virtio_blk"));
}

#[test]
fn what_cannot_be_made_anew_is_said() {
    let tool = [("/usr/sbin/mkinitramfs", "")];
    let plain = gathered(vmware_only()).1;
    let mut hostile = with(plain.clone(), &tool);
    hostile.kernels[0].version = "6.1 -o/etc/x".to_owned();
    for (facts, no_guest_code, want) in [
        (plain.clone(), false, "none of the programs"),
        (with(plain.clone(), &tool), true, "no program of the guest"),
        (hostile, false, "no plain name"),
    ] {
        let plan = proposed(&facts, InitramfsMode::Rebuild, no_guest_code);
        assert_eq!(plan.concerns[0].id, "rebuild-not-possible");
        assert!(
            plan.concerns[0].message.contains(want),
            "{:?}",
            plan.concerns
        );
        assert!(!plan.changes.iter().any(|change| change.opaque));
    }
}

#[test]
fn auto_rebuilds_only_what_cannot_be_spliced() {
    let tool = [("/usr/sbin/mkinitramfs", "")];
    let facts = with(gathered(vmware_only()).1, &tool);
    let spliced = proposed(&facts, InitramfsMode::Auto, false);
    assert_eq!(spliced.changes[0].kind, "append-initramfs");

    let image = vmware_only();
    let cut = with(gathered(image[..900].to_vec()).1, &tool);
    let plan = proposed(&cut, InitramfsMode::Auto, false);
    assert_eq!(plan.concerns, []);
    assert_eq!(plan.changes.last().unwrap().kind, "rebuild-initramfs");
    let kept = proposed(&cut, InitramfsMode::Auto, true);
    assert_eq!(kept.concerns[0].id, "initramfs-damaged");
    let kept = proposed(&cut, InitramfsMode::Splice, false);
    assert_eq!(kept.concerns[0].id, "initramfs-damaged");

    let mut blocked = facts;
    for source in blocked.sources.splices.values_mut() {
        source.blocked = Some("of a fixed list".to_owned());
    }
    let plan = proposed(&blocked, InitramfsMode::Auto, false);
    assert!(plan.changes.last().unwrap().why.contains("of a fixed list"));
}
