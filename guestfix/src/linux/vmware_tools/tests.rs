// SPDX-License-Identifier: Apache-2.0
use super::super::fixture;
use super::*;
use crate::fs::MemoryFs;
use crate::verify::Outcome;

fn debian() -> MemoryFs {
    MemoryFs::new()
        .file("/var/lib/dpkg/status", "Package: open-vm-tools\nStatus: install ok installed\n\nPackage: open-vm-tools-desktop\nStatus: install ok installed\n")
        .file("/lib/systemd/system/open-vm-tools.service", "")
        .file("/lib/systemd/system/vgauth.service", "")
        .symlink("/etc/systemd/system/vmtoolsd.service", "/lib/systemd/system/open-vm-tools.service")
        .file("/etc/modules", "# list\r\nloop\r\nvmw_pvscsi\r\nvmwgfx x=1")
}

/// A database that the real rpm wrote: see testdata/INDEX.md.
fn database(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/rpm");
    zstd::decode_all(std::fs::File::open(format!("{dir}/{name}.zst")).unwrap()).unwrap()
}

fn run(fs: MemoryFs, no_guest_code: bool) -> Proposal {
    let policy = Policy {
        no_guest_code,
        ..Policy::default()
    };
    propose(&fixture::gathered(fs), &fixture::target(), &policy)
}

#[test]
fn packages_are_purged_and_units_masked_where_that_fails() {
    let out = run(debian(), false);
    let what: Vec<_> = out
        .changes
        .iter()
        .map(|c| (c.kind.as_str(), c.path.as_str(), c.optional, c.fallback))
        .collect();
    assert_eq!(
        what,
        [
            ("run-guest-program", "/usr/bin/dpkg", true, false),
            (
                "symlink",
                "/etc/systemd/system/open-vm-tools.service",
                true,
                true
            ),
            ("symlink", "/etc/systemd/system/vgauth.service", true, true),
            ("write-file", "/etc/modules", false, false),
        ]
    );
    assert_eq!(
        out.changes[0].diff.as_deref(),
        Some("$ /usr/bin/dpkg --purge open-vm-tools open-vm-tools-desktop\n")
    );
    assert_eq!(
        fixture::written(&out.changes, "/etc/modules").unwrap(),
        "# list\r\nloop\r\nvmw_pvscsi\r\n#guestfix: vmwgfx x=1"
    );
}

#[test]
fn without_guest_code_they_are_disabled_and_the_command_is_told() {
    let out = run(debian(), true);
    assert!(out.changes.iter().all(|c| c.kind != "run-guest-program"));
    assert!(
        out.concerns[0]
            .message
            .ends_with("apt-get purge open-vm-tools open-vm-tools-desktop")
    );
    let after = fixture::applied(debian(), &out.changes);
    assert!(run(after, true).changes.is_empty());
}

#[test]
fn the_check_sees_what_is_left() {
    let facts = fixture::gathered(debian());
    assert_eq!(check(&facts, &fixture::target()).result, Outcome::Fail);
    let clean = fixture::gathered(MemoryFs::new());
    assert_eq!(check(&clean, &fixture::target()).result, Outcome::Pass);
}

#[test]
fn a_tarball_installation_is_removed_by_its_own_records() {
    let fs = MemoryFs::new()
        .file(
            tarball::DATABASE,
            "file /usr/bin/vmware-toolbox-cmd 1\ndirectory /usr/lib/vmware-tools\n",
        )
        .file("/usr/bin/vmware-toolbox-cmd", "")
        .dir("/usr/lib/vmware-tools")
        .file("/etc/init.d/vmware-tools", "#!/bin/sh\n")
        .symlink("/etc/rc.d/rc3.d/S03vmware-tools", "../init.d/vmware-tools")
        .symlink("/etc/rc.d/rc6.d/K08vmware-tools", "../init.d/vmware-tools")
        .symlink("/etc/rc3.d", "rc.d/rc3.d");
    let facts = fixture::gathered(fs.clone());
    assert_eq!(facts.vmware.units, ["/etc/init.d/vmware-tools"]);
    let out = run(fs.clone(), true);
    assert_eq!(
        out.changes[0].diff.as_deref(),
        Some(
            "- /usr/bin/vmware-toolbox-cmd\n- /etc/vmware-tools/locations\n- /usr/lib/vmware-tools/ (if empty)\n"
        )
    );
    let rest: Vec<_> = out.changes[1..].iter().map(|c| c.path.as_str()).collect();
    assert_eq!(rest, ["/etc/rc.d/rc3.d/S03vmware-tools"]);
    assert!(out.changes.iter().all(|c| !c.fallback));
    assert!(out.concerns.is_empty());
    // Under systemd the script is masked as the unit that systemd makes of it.
    let out = run(fs.file("/usr/lib/systemd/systemd", ""), true);
    assert_eq!(
        out.changes[1].path,
        "/etc/systemd/system/vmware-tools.service"
    );
}

#[test]
fn every_format_has_its_own_command_and_without_a_program_it_is_told() {
    let apk = MemoryFs::new()
        .file("/etc/os-release", "ID=alpine\nVERSION_ID=3.20\n")
        .file(
            "/lib/apk/db/installed",
            "P:open-vm-tools\nV:1\n\nP:open-vm-tools-openrc\nV:1\n",
        )
        .file("/etc/init.d/open-vm-tools", "#!/sbin/openrc-run\n")
        .symlink(
            "/etc/runlevels/boot/open-vm-tools",
            "/etc/init.d/open-vm-tools",
        );
    let out = run(apk.clone().file("/sbin/apk", ""), false);
    let what: Vec<_> = out
        .changes
        .iter()
        .map(|c| (c.diff.clone().unwrap_or_default(), c.fallback))
        .collect();
    assert_eq!(
        what,
        [
            (
                "$ /sbin/apk --no-network del open-vm-tools open-vm-tools-openrc\n".to_owned(),
                false
            ),
            ("- /etc/runlevels/boot/open-vm-tools\n".to_owned(), true),
        ]
    );
    let out = run(apk, false);
    assert!(!out.changes[0].fallback);
    assert!(
        out.concerns[0]
            .message
            .ends_with("with: apk del open-vm-tools open-vm-tools-openrc")
    );
    let rpm = MemoryFs::new()
        .file("/usr/bin/rpm", "")
        .file("/var/lib/rpm/rpmdb.sqlite", database("rpmdb.sqlite"))
        .file("/usr/lib/systemd/system/vmtoolsd.service", "");
    let out = run(rpm, false);
    assert_eq!(
        out.changes[0].diff.as_deref(),
        Some(
            "$ /usr/bin/rpm --define '__transaction_unshare %{nil}' --define '__transaction_systemd_inhibit %{nil}' -e --allmatches open-vm-tools open-vm-tools-desktop\n"
        )
    );
    assert_eq!(out.changes[1].path, "/etc/systemd/system/vmtoolsd.service");
    assert!(out.changes[1].fallback);
    let arch = MemoryFs::new()
        .file("/etc/os-release", "ID=arch\n")
        .file("/usr/bin/pacman", "")
        .file("/var/lib/pacman/local/open-vm-tools-6:12.4.5-1/desc", "");
    let out = run(arch, false);
    assert_eq!(
        out.changes[0].diff.as_deref(),
        Some("$ /usr/bin/pacman -Rn --noconfirm open-vm-tools\n")
    );
}

#[test]
fn upstart_jobs_are_overridden() {
    let fs = MemoryFs::new().file("/etc/init/vmware-tools.conf", "start on started\n");
    let out = run(fs.clone(), true);
    assert_eq!(out.changes[0].path, "/etc/init/vmware-tools.override");
    assert!(
        run(fixture::applied(fs, &out.changes), true)
            .changes
            .is_empty()
    );
}

#[test]
fn what_names_vmwares_devices_is_disabled_and_only_that() {
    let fs = MemoryFs::new()
        .file("/etc/modprobe.d/vmware-tools.conf", "# x\nblacklist pcnet32\n\n")
        .file("/etc/modprobe.d/other.conf", "alias eth0 vmxnet3\n")
        .file("/etc/udev/rules.d/99-vmware-scsi-udev.rules", "x")
        .file("/etc/udev/rules.d/70-mine.rules", "vmware")
        .file("/etc/X11/xorg.conf", "Section \"Device\"\r\n\tDriver      \"vmware\" # \"x\"\r\n\t#Driver \"vmware\"\r\nEndSection\r\n\tDriver \"vmmouse\"\n\tDriver \"nv\"\n")
        .file("/etc/chrony.conf", "refclock PHC /dev/ptp0 poll 3\nmakestep 1 3\n");
    let out = run(fs.clone(), false);
    let text = |path| fixture::written(&out.changes, path);
    assert_eq!(
        text("/etc/modprobe.d/vmware-tools.conf").unwrap(),
        "# x\n#guestfix: blacklist pcnet32\n\n"
    );
    assert_eq!(text("/etc/modprobe.d/other.conf"), None);
    assert_eq!(
        text("/etc/X11/xorg.conf").unwrap(),
        "Section \"Device\"\r\n\tDriver      \"vesa\" # \"x\"\r\n\t#Driver \"vmware\"\r\nEndSection\r\n\tDriver \"mouse\"\n\tDriver \"nv\"\n"
    );
    assert_eq!(
        text("/etc/chrony.conf").unwrap(),
        "#guestfix: refclock PHC /dev/ptp0 poll 3\nmakestep 1 3\n"
    );
    let removed: Vec<_> = out
        .changes
        .iter()
        .filter(|c| c.kind == "remove-file")
        .map(|c| c.path.as_str())
        .collect();
    assert_eq!(removed, ["/etc/udev/rules.d/99-vmware-scsi-udev.rules"]);
    assert_eq!(out.concerns[0].id, "no-time-source");
    // Still true of the guest afterwards, and nothing is left to change but the rule's removal.
    let after = run(fixture::applied(fs, &out.changes), false);
    assert_eq!(after.changes.len(), 1);
    assert_eq!(after.concerns[0].id, "no-time-source");
}

#[test]
fn a_list_of_modules_that_is_no_text_or_too_large_is_left_alone() {
    let fs = MemoryFs::new()
        .file("/etc/modules", b"vmwgfx\n\0\xff".to_vec())
        .file("/etc/modules-load.d/big.conf", vec![b'v'; 5 << 20])
        .file(
            "/etc/modules-load.d/latin.conf",
            b"# \xe9t\xe9\r\nvmxnet\r\n".to_vec(),
        );
    let facts = fixture::gathered(fs.clone());
    assert!(facts.concerns.iter().any(|c| c.id == "unreadable-file"));
    let out = run(fs, false);
    assert_eq!(out.changes.len(), 1);
    assert_eq!(out.changes[0].path, "/etc/modules-load.d/latin.conf");
    let Some(Action::WriteFile { content, .. }) = &out.changes[0].action else {
        panic!("{out:?}")
    };
    assert_eq!(content, b"# \xe9t\xe9\r\n#guestfix: vmxnet\r\n");
}

#[test]
fn a_hostile_package_name_reaches_no_command_line() {
    assert!(!is_tools("open-vm-tools-$(reboot)"));
    assert!(!is_tools("open-vm-tools --root=/"));
    assert!(!is_tools("--open-vm-tools"));
    assert!(!is_tools("open-vm-toolsmith"));
    assert!(is_tools("VMwareTools"));
    assert!(is_tools("vmware-tools-esx-nox"));
}
