// SPDX-License-Identifier: Apache-2.0
//! Which accelerator runs the guest: KVM where it really works, else emulation.
//!
//! `/dev/kvm` may open, create a VM and still never run a kernel (nested hosts that emulate real
//! mode and stop at long mode do so), so the probe runs a ROM that enters 64-bit mode and says so.

use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::machine::Arch;
use super::qemu;

/// How long the probe may take. With a working KVM it takes a tenth of a second.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// QEMU's exit status when the ROM wrote `0x2a` to isa-debug-exit: `(value << 1) | 1`.
const PROBE_STATUS: i32 = 0x55;

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// The processor.
    Kvm,
    /// QEMU's emulation, slower by a factor of ten or more.
    Tcg,
}

impl Accel {
    /// QEMU's arguments for it.
    pub(super) fn args(self, arch: Arch) -> [&'static str; 4] {
        match (self, arch) {
            (Self::Kvm, _) => ["-accel", "kvm", "-cpu", "host"],
            // Five-level paging is off: emulated kernels have crashed with it.
            (Self::Tcg, Arch::X86_64) => ["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"],
            (Self::Tcg, Arch::Aarch64) => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

/// The best accelerator for a guest of that architecture. Probed once per process, in at most
/// three seconds.
pub fn best(arch: Arch) -> Accel {
    static KVM: OnceLock<bool> = OnceLock::new();
    // There is no probe ROM for other architectures yet: emulation is always right.
    let probed = arch == Arch::X86_64 && cfg!(target_arch = "x86_64");
    if probed && *KVM.get_or_init(|| runs_long_mode(Accel::Kvm)) {
        Accel::Kvm
    } else {
        Accel::Tcg
    }
}

/// True when the accelerator executes 64-bit kernel code within [`PROBE_LIMIT`].
fn runs_long_mode(accel: Accel) -> bool {
    if accel == Accel::Kvm
        && std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
    {
        return false;
    }
    let Ok(program) = qemu::find(Arch::X86_64) else {
        return false;
    };
    let Ok(dir) = tempfile::tempdir() else {
        return false;
    };
    let rom = dir.path().join("probe.rom");
    if std::fs::write(&rom, probe_rom()).is_err() {
        return false;
    }
    let mut command = Command::new(program);
    command
        .args(accel.args(Arch::X86_64))
        .args([
            "-machine",
            "q35",
            "-m",
            "16",
            "-nodefaults",
            "-no-user-config",
        ])
        .args(["-no-reboot", "-display", "none"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-bios"])
        .arg(&rom)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    exit_status_within(&mut command, PROBE_LIMIT) == Some(PROBE_STATUS)
}

/// Runs a command; `None` when it cannot start, is ended by a signal or takes longer than `limit`
/// (it is killed then).
fn exit_status_within(command: &mut Command, limit: Duration) -> Option<i32> {
    let mut child = command.spawn().ok()?;
    let started = Instant::now();
    while started.elapsed() < limit {
        if let Ok(Some(status)) = child.try_wait() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// A 64 KiB system ROM: real mode, then long mode with an identity-mapped page, a loop of 16
/// million rounds, and `0x2a` to port 0xf4.
///
/// The page tables are built in RAM: a page walk counts as a write to its tables in nested paging,
/// which a ROM does not allow.
fn probe_rom() -> Vec<u8> {
    let mut rom = vec![0_u8; 0x1_0000];
    // The processor starts at ffff:fff0: jmp f000:0000
    for (at, bytes) in [(0, LONG_MODE), (0xfff0, &[0xea, 0, 0, 0, 0xf0][..])] {
        for (to, from) in rom.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }
    rom
}

#[rustfmt::skip]
const LONG_MODE: &[u8] = &[
    0xfa,                                                 // cli
    0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0xfc,             // ds = es = 0
    0xbf, 0x00, 0x10, 0xb9, 0x00, 0x0c,                   // three pages from 0x1000 ...
    0x66, 0x31, 0xc0, 0x66, 0xf3, 0xab,                   // ... zeroed
    0x66, 0xc7, 0x06, 0x00, 0x10, 0x03, 0x20, 0, 0,       // [0x1000] = 0x2003
    0x66, 0xc7, 0x06, 0x00, 0x20, 0x03, 0x30, 0, 0,       // [0x2000] = 0x3003
    0x66, 0xc7, 0x06, 0x00, 0x30, 0x83, 0x00, 0, 0,       // [0x3000] = 2 MiB page at 0
    0x66, 0xb8, 0x00, 0x10, 0, 0, 0x0f, 0x22, 0xd8,       // cr3 = 0x1000
    0x66, 0xb8, 0x20, 0, 0, 0, 0x0f, 0x22, 0xe0,          // cr4 = PAE
    0x66, 0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32,             // rdmsr EFER
    0x66, 0x0d, 0x00, 0x01, 0, 0, 0x0f, 0x30,             // EFER |= LME
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x98, 0x00,             // lgdt cs:[0x98]
    0x0f, 0x20, 0xc0, 0x66, 0x0d, 0x01, 0, 0, 0x80,       // cr0 |= PG | PE
    0x66, 0x25, 0xff, 0xff, 0xff, 0x9f, 0x0f, 0x22, 0xc0, // cr0 &= ~(CD | NW)
    0x66, 0xea, 0x72, 0x00, 0x0f, 0x00, 0x08, 0x00,       // jmp 8:000f0072
    0x31, 0xc0, 0x0f, 0xa2,                               // cpuid (64-bit from here)
    0xb9, 0, 0, 0, 0x01, 0xff, 0xc9, 0x75, 0xfc,          // 16 million rounds
    0xb0, 0x2a, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd,             // out 0xf4, 0x2a; halt
    0x66, 0x90,                                           // (alignment)
    0, 0, 0, 0, 0, 0, 0, 0,                               // 0x88: the descriptor table
    0, 0, 0, 0, 0, 0x9b, 0x20, 0,                         //       64-bit code
    0x0f, 0x00, 0x88, 0x00, 0x0f, 0x00,                   // 0x98: its limit and address
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rom_jumps_to_its_64_bit_code_and_its_descriptor_table() {
        assert_eq!(LONG_MODE.len(), 0x9e);
        assert_eq!(LONG_MODE[0x72..0x76], [0x31, 0xc0, 0x0f, 0xa2]);
        assert_eq!(LONG_MODE[0x95], 0x9b, "code descriptor");
        let rom = probe_rom();
        assert_eq!(rom.len(), 0x1_0000);
        assert_eq!(rom[0xfff0], 0xea);
    }

    #[test]
    fn emulation_passes_the_probe_that_a_broken_kvm_fails() {
        if qemu::find(Arch::X86_64).is_err() {
            return;
        }
        assert!(runs_long_mode(Accel::Tcg), "the ROM itself is broken");
    }

    #[test]
    fn the_choice_is_made_quickly_and_only_once() {
        let started = Instant::now();
        let first = best(Arch::X86_64);
        assert!(started.elapsed() < PROBE_LIMIT + Duration::from_secs(2));
        let again = Instant::now();
        assert_eq!(best(Arch::X86_64), first);
        assert!(again.elapsed() < Duration::from_millis(10));
    }

    #[test]
    fn a_program_that_hangs_is_killed_at_the_limit() {
        let started = Instant::now();
        let limit = Duration::from_millis(100);
        assert_eq!(
            exit_status_within(Command::new("sleep").arg("60"), limit),
            None
        );
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
