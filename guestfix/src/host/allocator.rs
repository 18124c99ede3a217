// SPDX-License-Identifier: Apache-2.0
//! What glibc's allocator keeps of freed memory.
#![allow(unsafe_code)]

/// Blocks of this size and more are given back to the kernel as soon as they are freed.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 1 << 20;
/// What is kept at the heap's end for the next buffers; those of messages between our processes
/// are smaller, and asking the kernel for their pages again and again took a tenth of the time.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 2 << 20;

/// Fixes both limits. Left alone, glibc raises them as soon as one large block is freed, and keeps
/// tens of megabytes then. To be called first thing by a process, before any thread exists.
pub fn fix_limits() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two numbers, and there is one thread yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}
