// SPDX-License-Identifier: Apache-2.0
//! What the fstab topic promises.

use super::super::fixture::{self, ROOT_UUID, SWAP_UUID};
use super::*;
use crate::fs::MemoryFs;
use crate::verify::Outcome;

fn facts(fstab: impl Into<Vec<u8>>) -> Facts {
    fixture::gathered(MemoryFs::new().file(PATH, fstab))
}

fn proposed(facts: &Facts) -> (Option<String>, Vec<String>) {
    let out = propose(facts, &fixture::target(), &Policy::default());
    let ids = out.concerns.iter().map(|c| c.id.clone()).collect();
    (fixture::written(&out.changes, PATH), ids)
}

#[test]
fn device_names_become_uuids_and_nothing_else_moves() {
    let facts = facts(
        "# /etc/fstab\n/dev/sda1\t/   ext4 errors=remount-ro 0 1\n/dev/sda5 none swap sw 0 0\n/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\ntmpfs /tmp tmpfs defaults 0 0\n",
    );
    let (text, concerns) = proposed(&facts);
    assert_eq!(
        text.unwrap(),
        format!(
            "# /etc/fstab\nUUID={ROOT_UUID}\t/   ext4 errors=remount-ro 0 1\nUUID={SWAP_UUID} none swap sw 0 0\n/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\ntmpfs /tmp tmpfs defaults 0 0\n"
        )
    );
    assert!(concerns.is_empty(), "{concerns:?}");
}

#[test]
fn what_cannot_exist_is_disabled_with_the_reason() {
    let facts = facts(
        ".host:/ /mnt/hgfs fuse.vmhgfs-fuse allow_other 0 0\r\n/dev/fd0 /media/floppy0 auto rw,user,noauto 0 0\r\n/dev/cdrom /cd iso9660 ro 0 0",
    );
    let (text, _) = proposed(&facts);
    assert_eq!(
        text.unwrap(),
        "# guestfix: disabled, VMware shared folders do not exist on KubeVirt\r\n#.host:/ /mnt/hgfs fuse.vmhgfs-fuse allow_other 0 0\r\n# guestfix: disabled, there is no floppy drive on KubeVirt\r\n#/dev/fd0 /media/floppy0 auto rw,user,noauto 0 0\r\n# guestfix: disabled, the old machine's CD drive is not there on KubeVirt\r\n#/dev/cdrom /cd iso9660 ro 0 0"
    );
}

#[test]
fn a_second_run_changes_nothing() {
    let first = facts("/dev/sda1 / ext4 defaults 0 1\n/dev/fd0 /f auto noauto 0 0\n");
    let (text, _) = proposed(&first);
    assert_eq!(proposed(&facts(text.unwrap())).0, None);
}

#[test]
fn odd_lines_and_odd_bytes_survive() {
    let mut bytes = b"garbage\n/dev/sda1 /data\\040dir\xff ext4 defaults".to_vec();
    let facts = facts(bytes.clone());
    let out = propose(&facts, &fixture::target(), &Policy::default());
    let Some(crate::plan::Action::WriteFile { content, .. }) = &out.changes[0].action else {
        panic!("no write")
    };
    let at = bytes.windows(9).position(|w| w == b"/dev/sda1").unwrap();
    bytes.splice(at..at + 9, format!("UUID={ROOT_UUID}").into_bytes());
    assert_eq!(content, &bytes);
    assert_eq!(out.concerns[0].id, "odd-line");
    assert!(parse(&bytes).entries[0].mount.starts_with("/data dir"));
}

#[test]
fn a_binary_file_is_left_alone() {
    assert_eq!(
        proposed(&facts("/dev/sda1 / ext4\0\n")),
        (None, vec!["unparsable-file".to_owned()])
    );
}

#[test]
fn an_unknown_device_is_a_warning_and_fails_the_check() {
    let facts = facts(format!(
        "UUID={ROOT_UUID} / ext4 defaults 0 1\n/dev/sdc1 /srv ext4 defaults 0 2\n"
    ));
    assert_eq!(proposed(&facts), (None, vec!["unknown-device".to_owned()]));
    let finding = (CHECKS[0].run)(&facts, &fixture::target());
    assert_eq!(finding.result, Outcome::Fail);
    assert!(finding.detail.contains("/dev/sdc1"), "{}", finding.detail);
}

#[test]
fn the_check_lets_optional_entries_go() {
    let facts = facts(format!(
        "UUID={ROOT_UUID} / ext4 defaults 0 1\nUUID=gone /x ext4 nofail 0 2\n/dev/sdq1 /y ext4 noauto 0 0\n/swapfile none swap sw 0 0\n"
    ));
    assert_eq!(
        (CHECKS[0].run)(&facts, &fixture::target()).result,
        Outcome::Pass
    );
    assert_eq!(
        (CHECKS[1].run)(&facts, &fixture::target()).result,
        Outcome::Skip
    );
}

#[test]
fn clones_are_warned_about() {
    let mut facts = facts("/dev/sda1 / ext4 defaults 0 1\n");
    facts.volumes[1].content.uuid = Some(ROOT_UUID.to_owned());
    let (text, concerns) = proposed(&facts);
    assert_eq!(text.unwrap(), "PARTUUID=1c2d3e4f-01 / ext4 defaults 0 1\n");
    assert_eq!(concerns, ["duplicate-uuid"]);
}

#[test]
fn octal_escapes_are_resolved_and_broken_ones_kept() {
    for (word, want) in [
        ("a\\040b", "a b"),
        ("a\\04", "a\\04"),
        ("\\999", "\\999"),
        ("\\134", "\\"),
    ] {
        assert_eq!(unescape(word.as_bytes()), want);
    }
}

#[test]
fn quotes_escapes_and_multipath_names_are_understood() {
    let mut facts = facts(format!(
        "UUID=\"{ROOT_UUID}\" / ext4 defaults 0 1\r\n/dev/mapper/mpatha-part5 none swap sw 0 0\r\nLABEL=my\\040disk /d ext4 defaults 0 2\r\n"
    ));
    facts.volumes[0].content.label = Some("my disk".to_owned());
    let (text, concerns) = proposed(&facts);
    assert_eq!(
        text.unwrap(),
        format!(
            "UUID=\"{ROOT_UUID}\" / ext4 defaults 0 1\r\nUUID={SWAP_UUID} none swap sw 0 0\r\nLABEL=my\\040disk /d ext4 defaults 0 2\r\n"
        )
    );
    assert!(concerns.is_empty(), "{concerns:?}");
    assert_eq!(
        (CHECKS[0].run)(&facts, &fixture::target()).result,
        Outcome::Pass
    );
}

#[test]
fn every_spelling_of_vmware_s_own_entries_is_disabled() {
    for line in [
        ".host:/ /mnt/hgfs vmhgfs defaults 0 0",
        "vmhgfs-fuse /mnt/hgfs fuse allow_other,nofail 0 0",
        ".host:/a /a fuse./usr/bin/vmhgfs-fuse defaults 0 0",
        "/dev/fd0u1440 /f msdos noauto 0 0",
        "/dev/floppy /f auto noauto 0 0",
        "/dev/sr0 /cd iso9660 ro 0 0",
    ] {
        let (text, _) = proposed(&facts(line));
        assert!(
            text.is_some_and(|text| text.starts_with("# guestfix: disabled")),
            "{line}"
        );
    }
    assert_eq!(
        proposed(&facts("/dev/fdisk-lv /x ext4 defaults 0 0\n")).0,
        None
    );
}

#[test]
fn a_table_of_a_gigabyte_is_refused_and_not_read() {
    // The tree reads no more of a file than its limit: five megabytes stand for any number.
    let fs = MemoryFs::new()
        .file(PATH, vec![b'#'; 5 << 20])
        .dir("/usr/bin");
    let tree = crate::fs::Tree::new(Box::new(fs.clone()));
    let error = crate::inspect::Recognise::mount_table(&crate::linux::Linux, &tree).unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (crate::error::Kind::Unsupported, "file-too-large")
    );
    let facts = fixture::gathered(fs);
    let unread = facts.concerns.iter().find(|c| c.id == "unreadable-file");
    assert!(unread.is_some_and(|c| c.message.starts_with(PATH)));
    assert_eq!(proposed(&facts), (None, Vec::new()));
}

#[test]
fn words_that_run_on_are_no_entry() {
    let mut bytes = format!("UUID={ROOT_UUID} \\\n / ext4\n/dev/sda5\n").into_bytes();
    bytes.extend(b"\xff\xfe\n");
    let facts = facts(bytes);
    let out = propose(&facts, &fixture::target(), &Policy::default());
    assert!(out.changes.is_empty());
    assert!(out.concerns.iter().all(|c| c.id == "odd-line"));
}
