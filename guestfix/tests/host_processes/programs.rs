// SPDX-License-Identifier: Apache-2.0
//! Programs of a guest that misbehave, and programs that make something for us.

use std::fs;
use std::path::Path;
use std::process::Command;

use guestfix::host::mounter::{MountReply, MountRequest, Product};
use guestfix::host::sandbox::End;
use guestfix::host::scratch::ScratchFile;
use serde_bytes::ByteBuf;

use crate::fixtures::{ext4, guest_tree, scratch, two_volumes, volume};
use crate::guest::{Guest, is_root};

fn guest(dir: &Path) -> Guest {
    let guest = Guest::new(two_volumes(), dir);
    guest.mount(1, "/").unwrap();
    guest.mount(2, "/boot").unwrap();
    guest
}

/// A request that runs `script` as `/tmp/guestfix/make` and puts `/tmp/made` in `to`'s place.
fn making(script: &str, to: &str) -> MountRequest {
    MountRequest::Run {
        argv: ["/bin/sh", "/tmp/guestfix/make"].map(str::to_owned).into(),
        timeout_s: 60,
        scratch: vec![ScratchFile {
            name: "make".into(),
            content: ByteBuf::from(script.as_bytes()),
        }],
        product: Some(Product {
            from: "/tmp/made".into(),
            to: to.into(),
        }),
    }
}

#[test]
fn what_a_program_makes_takes_a_files_place_and_leaves_no_trace_of_its_making() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = guest(dir.path());
    guest.shell("echo old > /boot/image; chmod 600 /boot/image; chown 7:8 /boot/image");
    let script = "echo new > /tmp/made; echo work > /tmp/work; echo said";
    match guest.ask(making(script, "/boot/image")).unwrap() {
        MountReply::Ran { exit, touched } => {
            assert_eq!(exit.end, End::Code(0));
            assert_eq!(exit.output.as_slice(), b"said\n");
            assert_eq!(touched.paths, []);
            assert_eq!(touched.unseen, [""; 0]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(guest.read("/boot/image").unwrap(), b"new\n");
    assert_eq!(
        guest
            .shell("ls /tmp; ls -ln /boot/image")
            .split_whitespace()
            .take(4)
            .collect::<Vec<_>>(),
        ["-rw-------", "1", "7", "8"]
    );
    guest.finish();
}

#[test]
fn what_is_not_whole_takes_no_files_place() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = guest(dir.path());
    guest.shell("echo old > /boot/image");
    // It fails behind what it made.
    let reply = guest.ask(making("echo new > /tmp/made; exit 3", "/boot/image"));
    assert!(matches!(reply, Ok(MountReply::Ran { exit, .. }) if exit.end == End::Code(3)));
    // It makes nothing, nothing that is a file, or a way out of /tmp.
    for script in [
        ":",
        "mkdir /tmp/made",
        "ln -s /etc/motd /tmp/made",
        ": > /tmp/made",
    ] {
        let error = guest.ask(making(script, "/boot/image")).unwrap_err();
        assert_eq!(error.code, "guest-program-failed", "{script}");
    }
    // More than fits: said before the old one is touched.
    let script = "head -c 9000000 /dev/zero > /tmp/made";
    let error = guest.ask(making(script, "/boot/image")).unwrap_err();
    assert_eq!(error.code, "boot-full", "{error}");
    assert!(
        error.message.contains("9814 KiB more are needed"),
        "{error}"
    );
    assert_eq!(guest.read("/boot/image").unwrap(), b"old\n");
    guest.finish();
}

#[test]
fn a_program_that_fills_the_guest_fails_and_harms_nothing_else() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = guest(dir.path());
    let exit = guest.run(&["/bin/dd", "if=/dev/zero", "of=/boot/big", "bs=64k"], 60);
    assert_eq!(exit.end, End::Code(1));
    let output = String::from_utf8_lossy(&exit.output).into_owned();
    assert!(output.contains("No space left"), "{output}");
    // Nor is there room without end in what is in memory.
    let exit = guest.run(&["/bin/dd", "if=/dev/zero", "of=/tmp/big", "bs=1M"], 60);
    assert_eq!(exit.end, End::Code(1));
    guest.shell("rm /boot/big; echo fits > /boot/small");
    guest.finish();
}

#[test]
fn a_program_reaches_no_network() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let images = with_program("reach", REACH, &["-static"]);
    let guest = Guest::new(images, dir.path());
    guest.mount(1, "/").unwrap();
    // ENETUNREACH, and EPERM for the families that no network namespace confines.
    assert_eq!(guest.run(&["/bin/reach"], 20).end, End::Code(0));
    guest.finish();
}

/// Ends with 0 when no packet can leave, with the number of the step that went wrong else.
const REACH: &str = r#"
#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
int main(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
    inet_pton(AF_INET, "192.0.2.1", &to.sin_addr);
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    if (connect(udp, (void *)&to, sizeof to) == 0 || errno != ENETUNREACH) return 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&to, sizeof to) == 0) return 2;
    if (socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0) return 3;
    if (socket(AF_VSOCK, SOCK_STREAM, 0) >= 0 || errno != EPERM) return 4;
    if (socket(AF_PACKET, SOCK_RAW, 0) >= 0) return 5;
    return 0;
}
"#;

#[test]
fn a_program_that_takes_all_memory_is_ended_and_the_rest_lives() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let images = with_program("eat", EAT, &["-static"]);
    let guest = Guest::new(images, dir.path());
    guest.mount(1, "/").unwrap();
    let exit = guest.run(&["/bin/eat"], 120);
    assert!(
        matches!(exit.end, End::OutOfMemory(_)),
        "{exit:?}; without a memory controller this machine cannot tell"
    );
    assert_eq!(guest.run(&["/bin/true"], 20).end, End::Code(0));
    guest.finish();
    let left = Command::new("find")
        .args(["/sys/fs/cgroup", "-name", "guestfix-*", "-type", "d"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

/// Several processes that take 1 GiB each, less than any of them may have alone.
const EAT: &str = r"
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    for (int n = 0; n < 6; n++)
        if (fork() == 0) {
            volatile char *all = malloc(1 << 30);
            for (long at = 0; at < 1 << 30; at += 4096) all[at] = 1;
            sleep(100);
            _exit(0);
        }
    int status;
    wait(&status);
    return 1;
}
";

#[test]
fn a_32_bit_program_runs_under_the_same_rules() {
    if !is_root() || !cfg!(target_arch = "x86_64") {
        return;
    }
    let (dir, _lock) = scratch();
    let options = [
        "-m32",
        "-static",
        "-nostdlib",
        "-ffreestanding",
        "-fno-pie",
        "-no-pie",
    ];
    let images = with_program("old", OLD, &options);
    let guest = Guest::new(images, dir.path());
    guest.mount(1, "/").unwrap();
    let exit = guest.run(&["/bin/old"], 20);
    assert_eq!(exit.output.as_slice(), b"hello\n", "{exit:?}");
    assert_eq!(exit.end, End::Code(0), "the step that went wrong");
    guest.finish();
}

/// Says hello, then tries what is forbidden: `mount`, `unshare`, `socket` in both ways, `clone3`.
const OLD: &str = r#"
static int call(int number, int a, int b, int c) {
    int out;
    __asm__ volatile("int $0x80" : "=a"(out) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return out;
}
void _start(void) {
    int step = 0;
    int vsock[] = {40, 1, 0};
    call(4, 1, (int)"hello\n", 6);
    if (call(21, (int)"none", (int)"/", (int)"tmpfs") != -1) step = 1;
    if (call(310, 0x20000, 0, 0) != -1) step = 2;
    if (call(359, 40, 1, 0) != -1) step = 3;
    if (call(102, 1, (int)vsock, 0) != -1) step = 4;
    if (call(435, 0, 0, 0) != -38) step = 5;
    if (call(359, 1, 1, 0) < 0) step = 6;
    call(1, step, 0, 0);
}
"#;

/// A root with the compiled program in `/bin`.
fn with_program(name: &str, source: &str, options: &[&str]) -> Vec<(String, ByteBuf)> {
    let tree = tempfile::tempdir().unwrap();
    guest_tree(tree.path());
    let file = tree.path().join("source.c");
    fs::write(&file, source).unwrap();
    let compiled = Command::new("gcc")
        .args(options)
        .args(["-O1", "-w", "-o"])
        .arg(tree.path().join("bin").join(name))
        .arg(&file)
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{compiled:?}");
    vec![(volume(1), ext4(48, Some(tree.path())))]
}
