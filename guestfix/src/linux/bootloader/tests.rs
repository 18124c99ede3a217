// SPDX-License-Identifier: Apache-2.0
use super::super::fixture::{self, ROOT_UUID};
use super::*;
use crate::fs::MemoryFs;
use crate::verify::Outcome;

const MENU: &str = "set default=\"${saved_entry}\"\nmenuentry a --id a {\n linux /vmlinuz root=/dev/sda1\n initrd /initrd.img\n}\nmenuentry b --id b {\n linux /vmlinuz-6.1.0-1 root=/dev/sda1\n initrd /i\n}\n";

fn env(entry: &str) -> Vec<u8> {
    let mut block = format!("# GRUB Environment Block\nsaved_entry={entry}\n").into_bytes();
    block.resize(grubenv::LEN, b'#');
    block
}

fn facts(fs: MemoryFs) -> Facts {
    let mut facts = fixture::gathered(fs);
    facts.guest.arch = "x86_64".to_owned();
    facts.kernels = ["6.1.0-1", "6.1.0-2", "6.1.0-3"]
        .map(fixture::kernel)
        .to_vec();
    facts
}

#[test]
fn kernels_are_marked_through_links_and_a_separate_boot() {
    let fs = MemoryFs::new()
        .file("/boot/grub/grub.cfg", MENU)
        .file("/boot/grub/grubenv", env("a"))
        .symlink("/boot/vmlinuz", "vmlinuz-6.1.0-2");
    let mut facts = facts(fs);
    mark_kernels(&mut facts);
    let marks: Vec<_> = facts
        .kernels
        .iter()
        .map(|k| (k.version.as_str(), k.default, k.in_boot_menu))
        .collect();
    assert_eq!(
        marks,
        [
            ("6.1.0-2", true, true),
            ("6.1.0-1", false, true),
            ("6.1.0-3", false, false)
        ]
    );
}

#[test]
fn without_a_menu_every_kernel_counts() {
    let mut facts = facts(MemoryFs::new());
    mark_kernels(&mut facts);
    assert!(facts.kernels.iter().all(|k| k.in_boot_menu && !k.default));
    assert_eq!(
        entries_stable(&facts, &fixture::target()).result,
        Outcome::Fail
    );
}

#[test]
fn the_checks_fail_before_and_pass_after() {
    let fs = MemoryFs::new().file("/boot/grub/grub.cfg", MENU);
    let before = facts(fs.clone());
    let out = propose(&before, &fixture::target(), &Policy::default());
    let after = facts(fixture::applied(fs, &out.changes));
    for check in CHECKS.iter().filter(|c| c.name != "boot-defaults-stable") {
        let run = |facts| (check.run)(facts, &fixture::target()).result;
        assert_eq!(
            (run(&before), run(&after)),
            (Outcome::Fail, Outcome::Pass),
            "{}",
            check.name
        );
    }
    let text = fixture::written(&out.changes, "/boot/grub/grub.cfg").unwrap();
    assert!(text.contains(&format!("root=UUID={ROOT_UUID} console=tty0")));
}

#[test]
fn a_broken_menu_is_left_alone_and_fails_the_check() {
    let facts = facts(MemoryFs::new().file("/boot/grub/grub.cfg", "menuentry 'x {\n"));
    let out = propose(&facts, &fixture::target(), &Policy::default());
    assert!(out.changes.is_empty());
    assert_eq!(out.concerns[0].id, "unparsable-file");
    assert_eq!(
        entries_stable(&facts, &fixture::target()).result,
        Outcome::Fail
    );
}

#[test]
fn a_remembered_install_device_is_told() {
    let fs = MemoryFs::new().file(
        DEBCONF,
        "Name: grub-pc/install_devices\nTemplate: x\nValue: /dev/disk/by-id/ata-VMware_1\n\nName: other\nValue: /dev/sda\n",
    );
    let ids: Vec<_> = facts(fs).concerns.into_iter().map(|c| c.id).collect();
    assert_eq!(
        ids.iter().filter(|id| *id == "grub-install-device").count(),
        1
    );
}

#[test]
fn entries_of_the_administrators_own_are_edited_where_they_are_copied_from() {
    let text = "#!/bin/sh\nexec tail -n +3 $0\n# mine\nmenuentry 'x' {\n linux /vmlinuz root=/dev/sda1\n initrd /i\n}\n";
    let fs = MemoryFs::new().file(CUSTOM[0], text);
    let out = propose(&facts(fs), &fixture::target(), &Policy::default());
    let new = fixture::written(&out.changes, CUSTOM[0]).unwrap();
    assert!(
        new.contains(&format!("root=UUID={ROOT_UUID} console=tty0")),
        "{new}"
    );
    let other = MemoryFs::new().file(CUSTOM[0], text.replace("exec tail", "cat"));
    let out = propose(&facts(other), &fixture::target(), &Policy::default());
    assert!(out.changes.is_empty());
}

#[test]
fn crlf_and_odd_bytes_survive_in_every_file() {
    let files: [(&str, &[u8]); 4] = [
        (
            "/boot/grub/menu.lst",
            b"title caf\xe9\r\nkernel /vmlinuz root=/dev/sda1 \xff\r\ninitrd /i\r\n",
        ),
        (
            "/boot/loader/entries/a.conf",
            b"title caf\xe9\r\nlinux /v\r\ninitrd /i\r\noptions root=/dev/sda1 \xff\r\n",
        ),
        (
            "/boot/extlinux/extlinux.conf",
            b"label caf\xe9\r\nlinux /vmlinuz\r\ninitrd /i\r\nappend root=/dev/sda1 \xff\r\n",
        ),
        ("/etc/kernel/cmdline", b"root=/dev/sda1 \xff\r\n"),
    ];
    for (path, bytes) in files {
        let out = propose(
            &facts(MemoryFs::new().file(path, bytes)),
            &fixture::target(),
            &Policy::default(),
        );
        let written = out.changes.iter().find_map(|change| match &change.action {
            Some(crate::plan::Action::WriteFile { content, .. }) => Some(content.clone()),
            _ => None,
        });
        let old = String::from_utf8_lossy(bytes).into_owned();
        let console = "console=tty0 console=ttyS0,115200n8";
        let want = old
            .replace("/dev/sda1", &format!("UUID={ROOT_UUID}"))
            .replace(
                "\u{fffd}\r\ninitrd",
                &format!("\u{fffd} {console}\r\ninitrd"),
            );
        let want = match path.ends_with("menu.lst") {
            true => want,
            false => want.trim_end().to_owned() + &format!(" {console}\r\n"),
        };
        let new = written.unwrap_or_else(|| panic!("{path} was not edited"));
        assert_eq!(String::from_utf8_lossy(&new), want, "{path}");
        assert!(new.contains(&0xff), "{path}");
    }
}
