// SPDX-License-Identifier: Apache-2.0
//! System call filters. What is not allowed fails with an error and kills nobody by surprise.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

use super::seccomp_32;
use crate::error::{Error, Result};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What a worker does: memory, threads, time, and I/O on descriptors that it was given.
const WORKER: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_sync_file_range,
    libc::SYS_write,
    libc::SYS_writev,
];

#[cfg(target_arch = "x86_64")]
const WORKER_OLD: &[c_long] = &[
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_poll,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const WORKER_OLD: &[c_long] = &[];

/// What no guest program may do, whatever else it may.
const GUEST_DENIED: &[c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// What a guest's program is told to be done without it being done. It writes to an overlay that is
/// thrown away where anything fails, and the mounter calls `syncfs` at the end, once and checked:
/// package tools ask for it at every step, which was a third of the time of `dpkg --purge`.
const GUEST_SYNC: &[c_long] = &[
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    libc::SYS_sync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
];

#[cfg(target_arch = "x86_64")]
const GUEST_DENIED_OLD: &[c_long] = &[
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_modify_ldt,
    libc::SYS__sysctl,
    libc::SYS_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const GUEST_DENIED_OLD: &[c_long] = &[];

/// Every way to make a namespace with `clone`.
pub(super) const NAMESPACES: &[libc::c_int] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// The only address families of a guest's program.
pub(super) const FAMILIES: &[libc::c_int] = &[
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];

/// `ioctl` requests that type into a terminal.
pub(super) const TERMINAL: &[libc::c_int] = &[0x5412, 0x541c];

/// `prctl` options that only concern the calling thread's name and its memory.
const WORKER_PRCTL: &[libc::c_int] = &[libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA];

/// Restricts this thread, and all that it starts, to what a worker does.
pub(crate) fn install_worker() -> Result<()> {
    let mut rules: Rules = WORKER
        .iter()
        .chain(WORKER_OLD)
        .map(|call| (*call, Vec::new()))
        .collect();
    rules.insert(
        libc::SYS_clone,
        vec![all_of(&[has(0, libc::CLONE_THREAD)?])?],
    );
    let mut prctl = Vec::new();
    for option in WORKER_PRCTL {
        prctl.push(all_of(&[equals(0, *option)?])?);
    }
    rules.insert(libc::SYS_prctl, prctl);
    // Only to itself: abort() and thread cancellation.
    let me = libc::c_int::try_from(std::process::id()).unwrap_or(0);
    rules.insert(libc::SYS_tgkill, vec![all_of(&[equals(0, me)?])?]);
    rules.insert(libc::SYS_kill, vec![all_of(&[equals(0, me)?])?]);
    no_clone3()?;
    apply(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno(libc::EPERM)),
    )
}

/// Restricts this thread, and all that it starts, to what a guest's package tool may do.
pub(crate) fn install_guest() -> Result<()> {
    let mut rules: Rules = GUEST_DENIED
        .iter()
        .chain(GUEST_DENIED_OLD)
        .map(|call| (*call, Vec::new()))
        .collect();
    let mut clone = Vec::new();
    for flag in NAMESPACES {
        clone.push(all_of(&[has(0, *flag)?])?);
    }
    rules.insert(libc::SYS_clone, clone);
    let family = |family: libc::c_int| condition(0, SeccompCmpOp::Ne, family);
    // Among the others are vsock and alg, which no network namespace confines.
    let mut others = Vec::new();
    for allowed in FAMILIES {
        others.push(family(*allowed)?);
    }
    let other = all_of(&others)?;
    rules.insert(libc::SYS_socket, vec![other.clone()]);
    rules.insert(libc::SYS_socketpair, vec![other]);
    let mut terminal = Vec::new();
    for request in TERMINAL {
        terminal.push(all_of(&[equals(1, *request)?])?);
    }
    rules.insert(libc::SYS_ioctl, terminal);
    no_x32()?;
    let eperm = SeccompAction::Errno(errno(libc::EPERM));
    let filters = [
        program(
            no_clone3_rules(),
            SeccompAction::Errno(errno(libc::ENOSYS)),
            SeccompAction::Allow,
        )?,
        program(rules, eperm, SeccompAction::Allow)?,
        program(
            no_sync_rules(),
            SeccompAction::Errno(0),
            SeccompAction::Allow,
        )?,
    ];
    for native in filters {
        seccompiler::apply_filter(&seccomp_32::beside(native)).map_err(failed)?;
    }
    Ok(())
}

/// `clone3` passes its flags in memory, where no filter sees them; "no such call" makes every C
/// library fall back to `clone`.
fn no_clone3() -> Result<()> {
    apply(
        no_clone3_rules(),
        SeccompAction::Errno(errno(libc::ENOSYS)),
        SeccompAction::Allow,
    )
}

fn no_clone3_rules() -> Rules {
    Rules::from([(libc::SYS_clone3, Vec::new())])
}

fn no_sync_rules() -> Rules {
    GUEST_SYNC.iter().map(|call| (*call, Vec::new())).collect()
}

/// The x32 ABI numbers the same calls from 2^30 on, past every list of numbers.
#[cfg(target_arch = "x86_64")]
fn no_x32() -> Result<()> {
    let mut is_x32 = stmt(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1 << 30);
    is_x32.jf = 1;
    let program = vec![
        stmt(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        is_x32,
        stmt(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | errno(libc::ENOSYS),
        ),
        stmt(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    seccompiler::apply_filter(&program).map_err(failed)
}
#[cfg(not(target_arch = "x86_64"))]
fn no_x32() -> Result<()> {
    Ok(())
}

/// An instruction of the filter's machine, without jumps.
pub(super) fn stmt(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt: 0,
        jf: 0,
        k,
    }
}

fn apply(rules: Rules, on_match: SeccompAction, otherwise: SeccompAction) -> Result<()> {
    let program = program(rules, on_match, otherwise)?;
    seccompiler::apply_filter(&program).map_err(failed)
}

fn program(rules: Rules, on_match: SeccompAction, otherwise: SeccompAction) -> Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into().map_err(failed)?;
    let filter = SeccompFilter::new(rules, otherwise, on_match, arch).map_err(failed)?;
    filter.try_into().map_err(failed)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: libc::c_int) -> Result<SeccompCondition> {
    let value = u64::from(value.cast_unsigned());
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).map_err(failed)
}

fn equals(argument: u8, value: libc::c_int) -> Result<SeccompCondition> {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn has(argument: u8, flag: libc::c_int) -> Result<SeccompCondition> {
    let mask = u64::from(flag.cast_unsigned());
    condition(argument, SeccompCmpOp::MaskedEq(mask), flag)
}

fn all_of(conditions: &[SeccompCondition]) -> Result<SeccompRule> {
    SeccompRule::new(conditions.to_vec()).map_err(failed)
}

pub(super) fn errno(errno: libc::c_int) -> u32 {
    errno.cast_unsigned()
}

fn failed(e: impl std::fmt::Display) -> Error {
    Error::host("no-seccomp", "installing a system call filter")
        .because(e)
        .hint("the kernel must be built with CONFIG_SECCOMP_FILTER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_program_waits_for_no_disk() {
        // A filter stays with its thread.
        let told = std::thread::spawn(|| {
            // What cannot be synced at all.
            let file = std::fs::File::open("/dev/null").unwrap();
            let before = file.sync_all().is_ok();
            install_guest().unwrap();
            let after = [file.sync_all().is_ok(), file.sync_data().is_ok()];
            (before, after)
        });
        assert_eq!(told.join().unwrap(), (false, [true, true]));
    }
}
