// SPDX-License-Identifier: Apache-2.0
//! Control groups (version 2) for process trees, where this machine has them.

use std::path::{Path, PathBuf};

use crate::api::profile::Limits;

/// Our own group, in which groups for guests can be made.
#[derive(Debug, Clone)]
pub struct Groups(PathBuf);

impl Groups {
    /// Prepares our own group; none where that cannot be done, with the reason in the log.
    pub fn prepare() -> Option<Self> {
        match Self::try_prepare(Path::new("/sys/fs/cgroup")) {
            Ok(groups) => Some(groups),
            Err(error) => {
                tracing::warn!(%error, "no control groups: guests are limited by process");
                None
            }
        }
    }

    fn try_prepare(top: &Path) -> std::io::Result<Self> {
        let own = std::fs::read_to_string("/proc/self/cgroup")?;
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .unwrap_or_default();
        let group = top.join(own.trim_start_matches('/'));
        let has = std::fs::read_to_string(group.join("cgroup.controllers"))?;
        if !has.split_whitespace().any(|c| c == "memory") {
            return Err(std::io::Error::other("the memory controller is not ours"));
        }
        // Processes and groups do not go together in one group: ours move into one of their own.
        let leaf = group.join("agent");
        std::fs::create_dir_all(&leaf)?;
        for pid in std::fs::read_to_string(group.join("cgroup.procs"))?.lines() {
            // One that has ended meanwhile need not be moved.
            let _ = std::fs::write(leaf.join("cgroup.procs"), pid);
        }
        std::fs::write(group.join("cgroup.subtree_control"), "+memory +cpu +pids")?;
        Ok(Self(group))
    }

    /// Makes a guest's group.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn make(&self, uid: &str, limits: &Limits) -> std::io::Result<Group> {
        let group = Group(self.0.join(format!("guest-{uid}")));
        std::fs::create_dir_all(&group.0)?;
        let memory = limits.memory_mib.saturating_mul(1 << 20);
        std::fs::write(group.0.join("memory.max"), memory.to_string())?;
        let quota = limits.cpu_milli.saturating_mul(100);
        std::fs::write(group.0.join("cpu.max"), format!("{quota} 100000"))?;
        std::fs::write(group.0.join("pids.max"), "4096")?;
        Ok(group)
    }
}

/// One guest's group; whatever is left in it ends with the value.
#[derive(Debug)]
pub struct Group(PathBuf);

impl Group {
    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        for _ in 0..20 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
