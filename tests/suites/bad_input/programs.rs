// SPDX-License-Identifier: Apache-2.0
//! A guest whose own tool misbehaves while it makes an initramfs.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;
use tests::case::{Case, changes, processes};
use tests::planted::{copy_program, set_tool};
use tests::small::{Filesystem, Small};

/// Ends as a tool that has done its work.
const WORK: &str = "while [ $# -gt 1 ]; do if [ \"$1\" = -o ]; then out=$2; fi; shift; done\n\
    cp /usr/share/generic.img \"$out\"\n";

fn guest(script: &str) -> Case {
    Case::small(Small::on(Filesystem::Ext4), |tree| set_tool(tree, script)).0
}

/// A rebuild that must fail by the tool's fault.
fn fails(script: &str, seconds: u32) -> Value {
    let case = guest(script);
    let cli = case.verb("convert").args(["--initramfs", "rebuild"]);
    let cli = cli.env("GUESTFIX_PROGRAM_TIMEOUT_S", seconds.to_string());
    let error = case.unharmed_by(cli, 4);
    assert_eq!(error["code"], "guest-program-failed", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("rebuild-initramfs /boot/"), "{message}");
    assert!(error["hint"].is_string(), "{error}");
    // The guest can still be converted without its tool.
    case.converted(&["--initramfs", "splice"]);
    error
}

fn runs(command: &str) -> bool {
    processes().iter().any(|(_, line)| line.contains(command))
}

#[test]
fn a_tool_that_fails_is_quoted() {
    let error = fails("echo no such luck >&2\nexit 3\n", 60);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("exit 3"), "{message}");
    assert!(message.contains("no such luck"), "{message}");
}

#[test]
fn a_tool_that_says_it_worked_and_made_nothing_is_not_believed() {
    fails("exit 0\n", 60);
}

#[test]
fn a_tool_that_hangs_is_ended() {
    let error = fails("sleep 7654\n", 2);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("still running after 2 s"), "{message}");
    assert!(!runs("sleep 7654"));
}

#[test]
fn a_tool_that_hangs_and_shields_itself_is_ended() {
    let script = "trap '' TERM INT HUP\nsetsid sh -c 'trap \"\" TERM; sleep 7655; sleep 7655' &\nsleep 7655\n";
    fails(script, 2);
    assert!(!runs("sleep 7655"));
}

#[test]
fn a_daemon_that_a_tool_leaves_behind_ends_with_it() {
    let script =
        format!("setsid sleep 7656 &\nsetsid sleep 7656 </dev/null >/dev/null 2>&1 &\n{WORK}");
    let case = guest(&script);
    let original = case.sha256();
    let report = case.converted(&["--initramfs", "rebuild"]);
    assert!(changes(&report, "Changed").contains(&"rebuild-initramfs"));
    assert!(!runs("sleep 7656"));
    case.undone_to(&original);
}

#[test]
fn a_tool_that_fills_the_disk_harms_nobody() {
    let error = fails("dd if=/dev/zero of=/var/filler bs=64k\n", 120);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("No space left"), "{message}");
    // It does not care that the disk is full: its product has no room, or is all that is missing.
    let case = guest(&format!(
        "dd if=/dev/zero of=/boot/filler bs=64k || true\n{WORK}"
    ));
    let error = case.unharmed("convert", &["--initramfs", "rebuild"], 3);
    assert_eq!(error["code"], "boot-full", "{error}");
}

#[test]
fn what_a_tool_touches_beside_is_told_and_undone() {
    let case = guest(&format!("touch /etc/left-by-the-tool\n{WORK}"));
    let original = case.sha256();
    let report = case.converted(&["--initramfs", "rebuild"]);
    let changes = report["changes"].as_array().unwrap().iter();
    let touched: Vec<&str> = changes
        .filter(|change| change["kind"] == "touched")
        .map(|change| change["path"].as_str().unwrap())
        .collect();
    assert_eq!(touched, ["/etc/left-by-the-tool"]);
    case.undone_to(&original);
}

#[test]
fn a_tool_reaches_no_network_and_nothing_of_the_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "for way in tcp/127.0.0.1/{port} udp/192.0.2.1/53 tcp/192.0.2.1/80; do\n\
         if bash -c \"echo out >/dev/$way\" 2>/dev/null; then echo \"reached $way\"; exit 9; fi\ndone\n\
         for path in /sys/block /proc/1/root/etc/hostname /dev/mem /dev/loop0 /dev/kmsg; do\n\
         if [ -e $path ]; then echo \"sees $path\"; exit 9; fi\ndone\n{WORK}"
    );
    let small = Small::on(Filesystem::Ext4);
    let (case, _) = Case::small(small, |tree| {
        set_tool(tree, &script);
        copy_program("bash", tree);
    });
    case.converted(&["--initramfs", "rebuild"]);
    std::thread::sleep(Duration::from_millis(100));
    assert!(listener.accept().is_err(), "somebody called");
}
