// SPDX-License-Identifier: Apache-2.0
//! Giving up capabilities for good.

use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{Error, Result};

/// Keeps at most `keep`, in every set, for this thread and all that it starts. The bounding set
/// can only be cut while the thread still has `CAP_SETPCAP`; without it there is nothing to cut
/// for, since [`super::seccomp`] sets `no_new_privs`.
pub(crate) fn keep_only(keep: CapabilitySet) -> Result<()> {
    for bit in 0..64_u32 {
        let Some(one) = CapabilitySet::from_bits(1 << bit) else {
            continue;
        };
        if keep.contains(one) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {}
            Err(e) => return Err(Error::io("cutting the capability bounding set", e)),
        }
    }
    let _ = rustix::thread::clear_ambient_capability_set();
    let now =
        rustix::thread::capabilities(None).map_err(|e| Error::io("reading capabilities", e))?;
    let left = now.permitted & keep;
    let sets = CapabilitySets {
        effective: left,
        permitted: left,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).map_err(|e| Error::io("dropping capabilities", e))
}
