// SPDX-License-Identifier: Apache-2.0
//! What a guest's program can and cannot do.

use std::time::Instant;

use guestfix::host::sandbox::End;

use crate::fixtures::{scratch, two_volumes};
use crate::guest::{Guest, is_root};

fn guest(dir: &std::path::Path) -> Guest {
    let guest = Guest::new(two_volumes(), dir);
    guest.mount(1, "/").unwrap();
    guest.mount(2, "/boot").unwrap();
    guest
}

#[test]
fn a_program_sees_the_guest_and_next_to_nothing_of_the_machine() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = guest(dir.path());
    assert_eq!(
        guest.shell("ls /sys /run /tmp /dev/shm"),
        "/dev/shm:\n\n/run:\n\n/sys:\n\n/tmp:\n"
    );
    assert_eq!(
        guest.shell("cat /proc/cmdline /proc/modules /proc/partitions 2>/dev/null || :"),
        ""
    );
    // Only its standard descriptors and the two pipes to the outside.
    assert_eq!(guest.shell("ls /proc/1/fd").lines().count(), 4);
    assert_eq!(
        guest.shell("ls /dev"),
        "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n"
    );
    assert_eq!(guest.shell("echo /proc/[0-9]*"), "/proc/1 /proc/2\n");
    assert_eq!(guest.shell("ls /proc/self/fd"), "0\n1\n2\n3\n");
    let environment = guest.shell("env");
    assert!(environment.contains("LC_ALL=C\n") && !environment.contains("ROLE"));
    let mounts = guest.shell("cat /proc/self/mountinfo");
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let ours = ["/dev", "/proc", "/sys", "/run", "/tmp", "/boot"];
    for point in points.filter(|point| *point != "/") {
        assert!(ours.iter().any(|at| point.starts_with(at)), "{point}");
        assert!(!point.contains(".tmp"), "{point}");
    }
    assert!(!mounts.contains("fuse"), "{mounts}");
    // One line, so that only the loopback device is there, and that is down.
    assert!(
        !guest
            .shell("cat /proc/net/route; cat /proc/net/dev")
            .contains("eth")
    );
    guest.shell("echo x > /dev/null; head -c 10 /dev/urandom > /tmp/x; echo y > /boot/y");
    guest.finish();
}

#[test]
fn a_program_cannot_reach_the_machine() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = guest(dir.path());
    for script in [
        "mount -t tmpfs none /tmp",
        "mount -t proc proc /boot",
        "mknod /dev/sda b 8 0",
        "mknod /x c 1 3 && echo y > /x",
        "mknod /tmp/x b 7 0 && cat /tmp/x",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger && cat /proc/kcore",
        "ls /proc/1/root",
        "readlink /proc/1/fd/0",
        "cat /proc/1/environ",
        "ln /proc/1/fd/0 /x",
        "cat /proc/1/mem",
        "echo x > /sys/x",
        ": < /dev/sda",
    ] {
        let exit = guest.run(&["/bin/sh", "-c", script], 20);
        let output = String::from_utf8_lossy(&exit.output);
        assert!(
            !exit.success() || script.contains("kcore") && exit.output.is_empty(),
            "{script}: {output}"
        );
    }
    guest.finish();
}

#[test]
fn a_program_keeps_few_capabilities_and_gains_none() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = guest(dir.path());
    let status = guest.shell("cat /proc/self/status");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, sys_chroot, mknod, setfcap
    let few = "00000000880400fb";
    assert_eq!(
        (field("CapPrm:"), field("CapBnd:")),
        (few.into(), few.into())
    );
    assert_eq!(
        (field("NoNewPrivs:"), field("Seccomp:")),
        ("1".into(), "2".into())
    );
    assert_eq!(field("CapInh:"), "0000000000000000");
}

#[test]
fn a_program_ends_with_all_that_it_started() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = guest(dir.path());
    assert_eq!(
        guest.run(&["/bin/sh", "-c", "exit 7"], 20).end,
        End::Code(7)
    );
    assert_eq!(
        guest.run(&["/bin/sh", "-c", "kill -9 $$"], 20).end,
        End::Signal(9)
    );
    let absent = guest.run(&["/bin/absent"], 20);
    assert_eq!(absent.end, End::Code(127));
    assert!(String::from_utf8_lossy(&absent.output).contains("cannot run /bin/absent"));
    let start = Instant::now();
    assert_eq!(guest.run(&["/bin/sleep", "100"], 1).end, End::TimedOut);
    // A daemon that holds the output open, and one that ignores signals.
    guest.shell("sleep 100 & (trap '' TERM HUP; sleep 100) > /boot/held & echo started");
    assert!(start.elapsed().as_secs() < 20);
    guest.finish();
}

#[test]
fn a_flood_of_output_blocks_nobody_and_its_end_is_kept() {
    if !is_root() {
        return;
    }
    let (dir, _lock) = scratch();
    let guest = guest(dir.path());
    let exit = guest.run(
        &[
            "/bin/sh",
            "-c",
            "head -c 20000000 /dev/zero; echo the end >&2",
        ],
        60,
    );
    assert!(exit.success());
    assert_eq!(exit.output.len() as u64 + exit.dropped, 20_000_008);
    assert_eq!(exit.output.len(), 64 << 10);
    assert!(exit.output.ends_with(b"\0the end\n"));
}
