// SPDX-License-Identifier: Apache-2.0
//! Literal console transcripts, and what they prove.

use proptest::prelude::*;

use super::*;
use crate::boot::console::Console;

const LOGIN: &str = "\
Loading Linux 6.1.0-18-amd64 ...\r\nLoading initial ramdisk ...\r\n\
[    0.000000] Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)\r\n\
Begin: Waiting for suspend/resume device ... done.\r\n\
Gave up waiting for suspend/resume device\r\n\
[    5.310912] systemd[1]: Set hostname to <debian>.\r\n\
[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mlocal-fs.target\x1b[0m - Local File Systems.\r\n\
\r\nDebian GNU/Linux 12 debian ttyS0\r\n\r\ndebian login: ";

const MULTI_USER: &str = "\
[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m - Multi-User System.\r\n";

const ALERT: &str = "\
Begin: Running /scripts/local-block ... done.\r\n\
done.\r\nGave up waiting for root file system device.  Common problems:\r\n\
 - Boot args (cat /proc/cmdline)\r\n   - Check rootdelay= (did the system wait long enough?)\r\n\
ALERT!  UUID=3b9c5f0c-55f1-4d73-a32a-97a5f22a25b4 does not exist.  Dropping to a shell!\r\n\
\r\n\r\nBusyBox v1.35.0 (Debian 1:1.35.0-4+b3) built-in shell (ash)\r\n(initramfs) ";

const PANIC: &str = "\
[    2.123456] Run /init as init process\r\n\
[    2.234567] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00007f00\r\n\
[    2.234890] CPU: 0 PID: 1 Comm: init Not tainted 6.1.0-18-amd64 #1\r\n";

const VFS_PANIC: &str = "\
[    1.900000] VFS: Cannot open root device \"sda1\" or unknown-block(0,0): error -6\r\n\
[    1.900100] Please append a correct \"root=\" boot option; here are the available partitions:\r\n\
[    1.900200] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n";

const OLD_PANIC: &str = "\
mount: could not find filesystem '/dev/root'\r\nsetuproot: moving /dev failed: No such file\r\n\
Kernel panic - not syncing: Attempted to kill init!\r\n";

const DRACUT: &str = "\
[  130.5] dracut-initqueue[291]: Warning: dracut-initqueue timeout - starting timeout scripts\r\n\
[  131.0] dracut-initqueue[291]: Warning: /dev/disk/by-uuid/6f1c does not exist\r\n\
Generating \"/run/initramfs/rdsosreport.txt\"\r\n\r\n\
Entering emergency mode. Exit the shell to continue.\r\n\
Type \"journalctl\" to view system logs.\r\n\r\n:/# ";

const FSTAB: &str = "\
[\x1b[0;1;31m TIME \x1b[0m] Timed out waiting for device /dev/sdb1.\r\n\
[\x1b[0;1;38;5;185mDEPEND\x1b[0m] Dependency failed for /data.\r\n\
[\x1b[0;1;38;5;185mDEPEND\x1b[0m] Dependency failed for Local File Systems.\r\n\
You are in emergency mode. After logging in, type \"journalctl -xb\" to view\r\n\
Press Enter for maintenance\r\n";

const RESCUE: &str = "\
\x1b[?25lWelcome to GRUB!\r\n\r\nerror: no such device: 3b9c5f0c-55f1-4d73-a32a-97a5f22a25b4.\r\n\
Entering rescue mode...\r\ngrub rescue> ";

const GRUB_SHELL: &str = "\x1b[2J\x1b[1;1H                       GNU GRUB  version 2.06\r\n\
 Minimal BASH-like line editing is supported.  For the first word, TAB\r\n\r\ngrub> ";

const SEABIOS: &str = "\r\nBooting from Hard Disk...\r\n\
Boot failed: not a bootable disk\r\n\r\nNo bootable device.\r\n";

const OVMF: &str = "\x1b[2J\x1b[01;01HBdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from \
PciRoot(0x0)/Pci(0x2,0x0): Not Found\r\n\
BdsDxe: No bootable option or device was found.\r\nBdsDxe: Press any key to enter the Boot Manager Menu.\r\n";

fn judge(chunks: &[&[u8]]) -> Evidence {
    let (mut console, mut evidence) = (Console::new(), Evidence::new());
    for chunk in chunks {
        console.feed(chunk, |piece| evidence.see(&piece));
    }
    evidence
}

fn concluded(transcript: &str) -> (Option<Reason>, String) {
    let evidence = judge(&[transcript.as_bytes()]);
    let finding = evidence.conclusion().expect("no conclusion");
    (finding.failure, finding.line.clone())
}

#[test]
fn every_pattern_compiles() {
    assert_eq!(PROMPTS.len(), PROMPT_ROWS.len());
    assert_eq!(CONCLUSIVE.len(), CONCLUSIVE_ROWS.len());
    assert_eq!(HINTS.len(), HINT_ROWS.len());
    assert!(BOOTED.is_some());
}

#[test]
fn a_login_prompt_or_the_multi_user_target_is_a_boot() {
    assert_eq!(concluded(LOGIN), (None, "debian login:".into()));
    assert_eq!(concluded("(none) login: ").0, None);
    assert_eq!(concluded("\r\nlocalhost.localdomain login: ").0, None);
    let (failure, line) = concluded(MULTI_USER);
    assert_eq!(failure, None);
    assert!(
        line.starts_with("[  OK  ] Reached target multi-user"),
        "{line}"
    );
}

#[test]
fn each_failure_has_its_word_and_its_line() {
    for (transcript, reason, line) in [
        (
            ALERT,
            Reason::NoRoot,
            "ALERT!  UUID=3b9c5f0c-55f1-4d73-a32a-97a5f22a25b4 does not exist.",
        ),
        (PANIC, Reason::Panic, "Attempted to kill init!"),
        (VFS_PANIC, Reason::NoRoot, "Unable to mount root fs"),
        (OLD_PANIC, Reason::NoRoot, "could not find filesystem"),
        (
            DRACUT,
            Reason::NoRoot,
            "/dev/disk/by-uuid/6f1c does not exist",
        ),
        (FSTAB, Reason::EmergencyShell, "You are in emergency mode"),
        (RESCUE, Reason::NoBootloader, "Entering rescue mode"),
        (GRUB_SHELL, Reason::NoBootloader, "Minimal BASH-like"),
        (SEABIOS, Reason::NoBootloader, "No bootable device."),
        (OVMF, Reason::NoBootloader, "BdsDxe: No bootable option"),
        ("x\r\n(initramfs) ", Reason::EmergencyShell, "(initramfs)"),
        (
            "\r\nUEFI Interactive Shell v2.2\r\n",
            Reason::NoBootloader,
            "UEFI Interactive",
        ),
    ] {
        let (failure, seen) = concluded(transcript);
        assert_eq!(failure, Some(reason), "{transcript}");
        assert!(seen.contains(line), "{seen:?} lacks {line:?}");
    }
}

#[test]
fn what_may_be_seen_on_the_way_to_a_good_boot_concludes_nothing() {
    for harmless in [
        "Gave up waiting for suspend/resume device\r\n",
        "error: no such device: 3b9c5f0c.\r\n",
        "Boot failed: could not read the boot disk\r\n",
        "dracut-initqueue[291]: Warning: dracut-initqueue timeout - starting timeout scripts\r\n",
        "[    0.0] Kernel command line: root=/dev/sda1 panic=1 login: emergency\r\n",
        "[    4.2] systemd-logind[311]: New seat seat0.\r\n",
        "[  OK  ] Reached target getty.target - Login Prompts.\r\n",
        "[  OK  ] Stopped target multi-user.target - Multi-User System.\r\n",
        "EFI stub: Loaded initrd from command line option\r\n",
    ] {
        assert_eq!(
            judge(&[harmless.as_bytes()]).conclusion(),
            None,
            "{harmless}"
        );
    }
    let stumbled = format!("error: no such device: 3b9c.\r\n{LOGIN}");
    assert_eq!(concluded(&stumbled).0, None);
}

#[test]
fn a_missing_root_explains_the_reboot_that_follows_it() {
    let gave_up = "Gave up waiting for root file system device.  Common problems:\r\n";
    let reboot = format!("{gave_up}Rebooting automatically due to panic= boot argument\r\n");
    assert_eq!(concluded(&reboot).0, Some(Reason::NoRoot));
    let mut evidence = judge(&[gave_up.as_bytes()]);
    assert_eq!(evidence.conclusion(), None);
    evidence.failed_by(Reason::ResetLoop, "three resets");
    assert_eq!(
        evidence.conclusion().and_then(|c| c.failure),
        Some(Reason::NoRoot)
    );
}

#[test]
fn the_first_conclusion_stands() {
    assert_eq!(concluded(&format!("{PANIC}{LOGIN}")).0, Some(Reason::Panic));
    assert_eq!(concluded(&format!("{LOGIN}\r\n{PANIC}")).0, None);
}

#[test]
fn a_hint_is_kept_when_nothing_concludes() {
    let evidence = judge(&[b"error: no such device: 3b9c.\r\n"]);
    assert_eq!(
        evidence.hint().map(|hint| hint.line.as_str()),
        Some("error: no such device: 3b9c.")
    );
}

proptest! {
    #[test]
    fn how_the_stream_is_cut_does_not_matter(
        which in 0_usize..8,
        cuts in proptest::collection::vec(1_usize..40, 1..200),
    ) {
        let transcript = [LOGIN, ALERT, PANIC, VFS_PANIC, DRACUT, FSTAB, RESCUE, OVMF][which];
        let (mut chunks, mut rest) = (Vec::new(), transcript.as_bytes());
        for cut in cuts {
            let (chunk, next) = rest.split_at(cut.min(rest.len()));
            chunks.push(chunk);
            rest = next;
        }
        chunks.push(rest);
        prop_assert_eq!(
            judge(&chunks).conclusion().cloned(),
            judge(&[transcript.as_bytes()]).conclusion().cloned()
        );
    }
}

#[test]
fn a_question_for_a_passphrase_is_told_once_and_proves_nothing() {
    for (console, question) in [
        (
            "Begin: Running /scripts/local-top ...\r\nPlease unlock disk sda2_crypt: ",
            "Please unlock disk sda2_crypt:",
        ),
        (
            "\u{1f510} Please enter passphrase for disk QEMU_HARDDISK (luks-6f1c): (press TAB for no echo) ",
            "\u{1f510} Please enter passphrase for disk QEMU_HARDDISK (luks-6f1c):",
        ),
        (
            "Enter passphrase for /dev/sda2: ",
            "Enter passphrase for /dev/sda2:",
        ),
    ] {
        let mut evidence = Evidence::new();
        Console::new().feed(console.as_bytes(), |piece| evidence.see(&piece));
        assert_eq!(evidence.take_question().as_deref(), Some(question));
        assert_eq!(evidence.take_question(), None);
        assert!(evidence.conclusion().is_none());
    }
    let mut evidence = Evidence::new();
    Console::new().feed(LOGIN.as_bytes(), |piece| evidence.see(&piece));
    assert_eq!(evidence.take_question(), None);
}
