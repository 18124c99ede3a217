// SPDX-License-Identifier: Apache-2.0
//! The guest's filter for 32-bit programs, which a 64-bit x86 kernel runs with system call numbers
//! of their own: a 32-bit guest can be worked on, and nobody gets round [`super::seccomp`].
//!
//! Numbers: the kernel's `arch/x86/entry/syscalls/syscall_32.tbl`. How a filter sees a call:
//! `struct seccomp_data` of seccomp(2).
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

use seccompiler::{BpfProgram, sock_filter};

use super::seccomp::{FAMILIES, NAMESPACES, TERMINAL, errno, stmt};

/// `AUDIT_ARCH_I386` of the kernel's `include/uapi/linux/audit.h`.
const I386: u32 = 0x4000_0003;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: [u32; 2] = [16, 24];

/// As `GUEST_DENIED` and `GUEST_DENIED_OLD` of [`super::seccomp`], with what only the 32-bit table
/// has beside them: older forms, and those with 64-bit times.
const DENIED: &[(u32, &str)] = &[
    (51, "acct"),
    (286, "add_key"),
    (124, "adjtimex"),
    (357, "bpf"),
    (343, "clock_adjtime"),
    (405, "clock_adjtime64"),
    (264, "clock_settime"),
    (404, "clock_settime64"),
    (127, "create_module"),
    (129, "delete_module"),
    (338, "fanotify_init"),
    (350, "finit_module"),
    (431, "fsconfig"),
    (432, "fsmount"),
    (430, "fsopen"),
    (433, "fspick"),
    (128, "init_module"),
    (426, "io_uring_enter"),
    (427, "io_uring_register"),
    (425, "io_uring_setup"),
    (101, "ioperm"),
    (110, "iopl"),
    (349, "kcmp"),
    (283, "kexec_load"),
    (288, "keyctl"),
    (253, "lookup_dcookie"),
    (123, "modify_ldt"),
    (21, "mount"),
    (442, "mount_setattr"),
    (429, "move_mount"),
    (341, "name_to_handle_at"),
    (169, "nfsservctl"),
    (342, "open_by_handle_at"),
    (428, "open_tree"),
    (336, "perf_event_open"),
    (217, "pivot_root"),
    (347, "process_vm_readv"),
    (348, "process_vm_writev"),
    (26, "ptrace"),
    (131, "quotactl"),
    (88, "reboot"),
    (287, "request_key"),
    (121, "setdomainname"),
    (74, "sethostname"),
    (346, "setns"),
    (79, "settimeofday"),
    (25, "stime"),
    (115, "swapoff"),
    (87, "swapon"),
    (149, "_sysctl"),
    (103, "syslog"),
    (22, "umount"),
    (52, "umount2"),
    (310, "unshare"),
    (86, "uselib"),
    (374, "userfaultfd"),
    (111, "vhangup"),
    (166, "vm86"),
    (113, "vm86old"),
];
const CLONE: u32 = 120;
const CLONE3: u32 = 435;
const IOCTL: u32 = 54;
const SOCKET: u32 = 359;
const SOCKETPAIR: u32 = 360;
/// All of the old socket calls in one; the arguments are in memory, where no filter sees them.
const SOCKETCALL: u32 = 102;
/// Its first argument for `socket` and `socketpair`.
const SOCKETCALL_MAKES: &[libc::c_int] = &[1, 8];

/// The filter that rules 64-bit programs by `native` and 32-bit ones by the list above.
#[cfg(target_arch = "x86_64")]
pub(super) fn beside(native: BpfProgram) -> BpfProgram {
    let mut program = vec![
        load(ARCH),
        jump(libc::BPF_JEQ, I386, 0, 1),
        // Jumps that depend on something reach 255 instructions only.
        stmt(
            libc::BPF_JMP | libc::BPF_JA,
            u32::try_from(native.len()).unwrap_or(u32::MAX),
        ),
    ];
    program.extend(native);
    program.extend(filter());
    program
}
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn beside(native: BpfProgram) -> BpfProgram {
    native
}

fn load(offset: u32) -> sock_filter {
    stmt(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn jump(test: u32, k: u32, yes: u8, no: u8) -> sock_filter {
    let mut jump = stmt(libc::BPF_JMP | test | libc::BPF_K, k);
    (jump.jt, jump.jf) = (yes, no);
    jump
}

fn fail(why: libc::c_int) -> sock_filter {
    stmt(
        libc::BPF_RET | libc::BPF_K,
        libc::SECCOMP_RET_ERRNO | errno(why),
    )
}

fn allow() -> sock_filter {
    stmt(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW)
}

/// Whether what is tested denies or allows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Denied,
    Allowed,
}

fn filter() -> Vec<sock_filter> {
    let mut out = vec![load(NUMBER)];
    for (number, _) in DENIED {
        out.extend([jump(libc::BPF_JEQ, *number, 0, 1), fail(libc::EPERM)]);
    }
    out.extend([jump(libc::BPF_JEQ, CLONE3, 0, 1), fail(libc::ENOSYS)]);
    let flags = NAMESPACES.iter().fold(0, |all, flag| all | flag);
    let by_flag = (libc::BPF_JSET, Listed::Denied);
    let by_value = (libc::BPF_JEQ, Listed::Denied);
    let families = (libc::BPF_JEQ, Listed::Allowed);
    out.extend(by_argument(CLONE, 0, by_flag, &[flags]));
    out.extend(by_argument(IOCTL, 1, by_value, TERMINAL));
    out.extend(by_argument(SOCKET, 0, families, FAMILIES));
    out.extend(by_argument(SOCKETPAIR, 0, families, FAMILIES));
    out.extend(by_argument(SOCKETCALL, 0, by_value, SOCKETCALL_MAKES));
    out.push(allow());
    out
}

/// A call that one of its first arguments decides about; ends the filter for that call.
fn by_argument(
    number: u32,
    argument: usize,
    (test, listed): (u32, Listed),
    values: &[libc::c_int],
) -> Vec<sock_filter> {
    let offset = ARGUMENTS.get(argument).copied().unwrap_or_default();
    let mut body = vec![load(offset)];
    for value in values {
        let hit = match listed {
            Listed::Denied => fail(libc::EPERM),
            Listed::Allowed => allow(),
        };
        body.extend([jump(test, value.cast_unsigned(), 0, 1), hit]);
    }
    body.push(match listed {
        Listed::Denied => allow(),
        Listed::Allowed => fail(libc::EPERM),
    });
    let skip = u8::try_from(body.len()).unwrap_or(u8::MAX);
    body.insert(0, jump(libc::BPF_JEQ, number, 0, skip));
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel would, on `seccomp_data` of a 32-bit call.
    fn verdict(program: &[sock_filter], number: u32, arguments: [u32; 2]) -> u32 {
        let (mut at, mut accumulator) = (0_usize, 0_u32);
        loop {
            let op = &program[at];
            at += 1;
            let code = u32::from(op.code);
            match code & 0x07 {
                0x00 => {
                    accumulator = match op.k {
                        NUMBER => number,
                        ARCH => I386,
                        16 => arguments[0],
                        24 => arguments[1],
                        other => panic!("loads {other}"),
                    }
                }
                0x05 if code & 0xf0 == libc::BPF_JA => at += usize::try_from(op.k).unwrap(),
                0x05 => {
                    let holds = match code & 0xf0 {
                        libc::BPF_JEQ => accumulator == op.k,
                        libc::BPF_JSET => accumulator & op.k != 0,
                        other => panic!("jump {other:#x}"),
                    };
                    at += usize::from(if holds { op.jt } else { op.jf });
                }
                0x06 => return op.k,
                other => panic!("class {other}"),
            }
        }
    }

    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | 38;

    #[test]
    fn a_32_bit_program_is_held_as_a_64_bit_one() {
        let program = beside(vec![fail(libc::EIO); 300]);
        let newuser = libc::CLONE_NEWUSER.cast_unsigned();
        for (number, arguments, want) in [
            (4, [1, 0], libc::SECCOMP_RET_ALLOW),
            (21, [0, 0], EPERM),
            (113, [0, 0], EPERM),
            (120, [17, 0], libc::SECCOMP_RET_ALLOW),
            (120, [newuser | 17, 0], EPERM),
            (435, [0, 0], ENOSYS),
            (54, [0, 0x5401], libc::SECCOMP_RET_ALLOW),
            (54, [0, 0x5412], EPERM),
            (359, [1, 0], libc::SECCOMP_RET_ALLOW),
            (359, [38, 0], EPERM),
            (360, [40, 0], EPERM),
            (102, [1, 0], EPERM),
            (102, [3, 0], libc::SECCOMP_RET_ALLOW),
        ] {
            assert_eq!(
                verdict(&program, number, arguments),
                want,
                "{number} {arguments:x?}"
            );
        }
    }

    #[test]
    fn no_number_stands_twice() {
        let numbers: std::collections::BTreeSet<u32> = DENIED.iter().map(|(n, _)| *n).collect();
        assert_eq!(numbers.len(), DENIED.len());
    }
}
