// SPDX-License-Identifier: Apache-2.0
use super::super::super::fixture;
use super::*;
use crate::fs::MemoryFs;
use crate::inspect::facts::VolumeFacts;
use crate::volume::Content;

const SHIM: &str = "sbat,1,x\nshim,4,UEFI shim\n";
const GRUB: &str = "sbat,1,x\ngrub,4,GRUB\n";

fn facts(fs: MemoryFs) -> Facts {
    let mut facts = fixture::facts();
    facts.firmware = Firmware::Efi;
    facts.guest.arch = "x86_64".to_owned();
    facts.guest.distro = Some("debian".to_owned());
    facts.volumes.push(VolumeFacts {
        name: "disk0p9".to_owned(),
        offset: 0,
        size: 1 << 28,
        content: Content {
            kind: "vfat".to_owned(),
            uuid: Some("12AB-34CD".to_owned()),
            label: None,
        },
        part_uuid: None,
        part_type: Some(ESP[0].to_owned()),
        part_label: None,
        stack: crate::volume::Stack::default(),
    });
    facts.mounts.push(MountFacts {
        volume: "disk0p9".to_owned(),
        subvolume: None,
        at: "/boot/efi".to_owned(),
        free_bytes: 1 << 20,
        free_inodes: 100,
    });
    let tree = Tree::new(Box::new(fs));
    let mut gatherer = Gatherer::new(&tree);
    gather(&mut gatherer, &mut facts).unwrap();
    facts.sources.files.append(&mut gatherer.sources.files);
    mark_signed(&tree, &mut facts).unwrap();
    facts
}

fn debian() -> MemoryFs {
    let dir = "/boot/efi/EFI/debian";
    MemoryFs::new()
        .file(
            &format!("{dir}/shimx64.efi"),
            pe::sample(0x8664, true, SHIM),
        )
        .file(
            &format!("{dir}/grubx64.efi"),
            pe::sample(0x8664, true, GRUB),
        )
        .file(&format!("{dir}/mmx64.efi"), pe::sample(0x8664, true, SHIM))
        .file(&format!("{dir}/fbx64.efi"), pe::sample(0x8664, true, SHIM))
        .file(&format!("{dir}/grub.cfg"), "configfile x\n")
}

fn proposed(facts: &Facts) -> Vec<String> {
    let out = propose(facts, &fixture::target(), &Policy::default());
    let changes = out.changes.iter().map(|c| format!("{} {}", c.kind, c.path));
    let concerns = out.concerns.iter().map(|c| c.id.clone());
    changes.chain(concerns).collect()
}

fn result(facts: &Facts) -> crate::verify::Outcome {
    check(facts, &fixture::target()).result
}

#[test]
fn shim_goes_with_what_it_starts() {
    let facts = facts(debian());
    assert_eq!(result(&facts), crate::verify::Outcome::Fail);
    assert_eq!(
        proposed(&facts),
        [
            "copy-file /boot/efi/EFI/BOOT/BOOTX64.EFI",
            "copy-file /boot/efi/EFI/BOOT/grubx64.efi",
            "copy-file /boot/efi/EFI/BOOT/mmx64.efi",
            "write-file /boot/efi/EFI/BOOT/grub.cfg",
        ]
    );
    let out = propose(&facts, &fixture::target(), &Policy::default());
    assert_eq!(
        fixture::written(&out.changes, "/boot/efi/EFI/BOOT/grub.cfg").unwrap(),
        "# Written by guestfix: leads to the menu of the guest's own loader.\n\
         search --no-floppy --fs-uuid --set=root 12AB-34CD\n\
         set prefix=($root)/EFI/debian\n\
         configfile ($root)/EFI/debian/grub.cfg\n"
    );
}

#[test]
fn a_guest_with_a_whole_fallback_is_left_alone() {
    let fs = debian()
        .file(
            "/boot/efi/EFI/Boot/bootx64.efi",
            pe::sample(0x8664, true, SHIM),
        )
        .file(
            "/boot/efi/EFI/Boot/fbx64.efi",
            pe::sample(0x8664, true, SHIM),
        );
    let unlisted = facts(fs.clone());
    assert_eq!(result(&unlisted), crate::verify::Outcome::Fail);
    assert_eq!(
        proposed(&unlisted)[..2],
        [
            "remove-file /boot/efi/EFI/Boot/fbx64.efi",
            "copy-file /boot/efi/EFI/BOOT/grubx64.efi",
        ]
    );
    let facts = facts(fs.file("/boot/efi/EFI/debian/BOOTX64.CSV", b"s\0h\0".to_vec()));
    assert_eq!(result(&facts), crate::verify::Outcome::Pass);
    assert!(proposed(&facts).is_empty());
}

#[test]
fn shims_certificates_and_revocations_go_with_it() {
    let dir = "/boot/efi/EFI/debian";
    let mut fs = debian();
    for name in ["shim_certificate_0.efi", "revocations_sbat.efi"] {
        fs = fs.file(&format!("{dir}/{name}"), pe::sample(0x8664, true, ""));
    }
    let facts = facts(fs);
    let boot = "copy-file /boot/efi/EFI/BOOT";
    assert_eq!(
        proposed(&facts)[..5],
        [
            "BOOTX64.EFI",
            "grubx64.efi",
            "mmx64.efi",
            "revocations_sbat.efi",
            "shim_certificate_0.efi"
        ]
        .map(|name| format!("{boot}/{name}"))
    );
}

#[test]
fn suses_names_without_a_machine_are_understood() {
    let dir = "/boot/efi/EFI/opensuse";
    let fs = MemoryFs::new()
        .file(&format!("{dir}/shim.efi"), pe::sample(0x8664, true, SHIM))
        .file(&format!("{dir}/grub.efi"), pe::sample(0x8664, true, GRUB))
        .file(
            &format!("{dir}/MokManager.efi"),
            pe::sample(0x8664, true, SHIM),
        )
        .file(
            &format!("{dir}/fallback.efi"),
            pe::sample(0x8664, true, SHIM),
        );
    assert_eq!(
        proposed(&facts(fs)),
        ["BOOTX64.EFI", "grub.efi", "MokManager.efi"]
            .map(|name| format!("copy-file /boot/efi/EFI/BOOT/{name}"))
    );
}

#[test]
fn other_machines_have_names_of_their_own() {
    for (arch, machine, short, upper) in [
        ("aarch64", 0xaa64, "aa64", "AA64"),
        ("i386", 0x14c, "ia32", "IA32"),
    ] {
        let dir = "/boot/efi/EFI/debian";
        let fs = MemoryFs::new()
            .file(
                &format!("{dir}/shim{short}.efi"),
                pe::sample(machine, true, SHIM),
            )
            .file(
                &format!("{dir}/grub{short}.efi"),
                pe::sample(machine, true, GRUB),
            )
            .file(
                &format!("{dir}/shimx64.efi"),
                pe::sample(0x8664, true, SHIM),
            );
        let mut facts = facts(fs);
        facts.guest.arch = arch.to_owned();
        let mut want = vec![
            format!("copy-file /boot/efi/EFI/BOOT/BOOT{upper}.EFI"),
            format!("copy-file /boot/efi/EFI/BOOT/grub{short}.efi"),
        ];
        want.extend((arch == "i386").then(|| "efi-32-bit".to_owned()));
        assert_eq!(proposed(&facts), want, "{arch}");
    }
}

#[test]
fn a_kernel_that_is_its_own_loader_serves_where_there_is_none() {
    let fs = MemoryFs::new().file(
        "/boot/efi/EFI/Linux/a.efi",
        pe::unified(0x8664, true, &[(".linux", b"MZ")]),
    );
    assert_eq!(
        proposed(&facts(fs)),
        [
            "copy-file /boot/efi/EFI/BOOT/BOOTX64.EFI",
            "efi-loader-is-kernel"
        ]
    );
}

#[test]
fn a_shim_alone_gets_its_second_stage_and_a_foreign_loader_is_replaced() {
    let alone = debian().file(
        "/boot/efi/EFI/BOOT/BOOTX64.EFI",
        pe::sample(0x8664, true, SHIM),
    );
    let facts_alone = facts(alone);
    assert_eq!(result(&facts_alone), crate::verify::Outcome::Fail);
    assert_eq!(
        proposed(&facts_alone)[0],
        "copy-file /boot/efi/EFI/BOOT/grubx64.efi"
    );
    let foreign = debian().file(
        "/boot/efi/EFI/BOOT/BOOTX64.EFI",
        pe::sample(0xaa64, true, ""),
    );
    assert_eq!(
        proposed(&facts(foreign))[..2],
        [
            "remove-file /boot/efi/EFI/BOOT/BOOTX64.EFI",
            "copy-file /boot/efi/EFI/BOOT/BOOTX64.EFI",
        ]
    );
}

#[test]
fn without_a_loader_for_the_machine_it_is_critical() {
    let fs = MemoryFs::new().file(
        "/boot/efi/EFI/debian/grubia32.efi",
        pe::sample(0x14c, false, GRUB),
    );
    assert_eq!(proposed(&facts(fs)), ["no-efi-loader"]);
    let alone = MemoryFs::new().file(
        "/boot/efi/EFI/arch/grubx64.efi",
        pe::sample(0x8664, false, GRUB),
    );
    assert_eq!(
        proposed(&facts(alone)),
        ["copy-file /boot/efi/EFI/BOOT/BOOTX64.EFI"]
    );
}

#[test]
fn the_chain_is_signed_only_with_a_signed_kernel() {
    let with = |signed| {
        let fs = debian().file("/boot/vmlinuz-1", pe::sample(0x8664, signed, ""));
        let mut facts = facts(fs.clone());
        facts.kernels = vec![fixture::kernel("1")];
        mark_signed(&Tree::new(Box::new(fs)), &mut facts).unwrap();
        facts.efi.unwrap().signed
    };
    assert!(with(true));
    assert!(!with(false));
}

#[test]
fn a_bios_guest_has_nothing_to_do() {
    let mut facts = facts(debian());
    facts.firmware = Firmware::Bios;
    assert!(proposed(&facts).is_empty());
    assert_eq!(result(&facts), crate::verify::Outcome::Skip);
}

#[test]
fn a_partition_without_room_for_the_loader_is_said_before_anything_is_done() {
    let mut facts = facts(debian());
    let mount = facts.mounts.last_mut().unwrap();
    mount.free_bytes = 100 << 10;
    let out = propose(&facts, &fixture::target(), &Policy::default());
    assert_eq!(out.changes.len(), 0);
    let told = &out.concerns[0];
    assert_eq!(told.id, "esp-full");
    assert_eq!(told.category, crate::inspect::Category::Critical);
    let numbers = "has 100 KiB free and 132 KiB are needed";
    assert!(told.message.contains(numbers), "{}", told.message);
}
