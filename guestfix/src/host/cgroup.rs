// SPDX-License-Identifier: Apache-2.0
//! A control group of the sandbox's own: how much memory and how many processes a guest's program
//! may have, all of it together. Removed when the guard goes, with everything in it killed.
//!
//! cgroup v1 and v2, <https://docs.kernel.org/admin-guide/cgroup-v2.html>. In v2 a group that has
//! processes cannot pass controllers on; where ours is such a one, the new group stands beside it
//! and not in it, below the same parent's limits. Where neither can be had there is none, and the
//! limits of each process stand alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::error::{Error, Result};

/// What all processes of a guest's program may use up together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes, files in memory included.
    pub(super) memory: u64,
    /// Processes and threads.
    pub(super) pids: u32,
}

/// A control group; in v1 one in each hierarchy.
#[derive(Debug)]
pub(super) struct Cgroup {
    dirs: Vec<PathBuf>,
}

/// One mounted hierarchy and our place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// Empty in v2.
    controllers: Vec<String>,
    /// Where the hierarchy begins for us.
    top: PathBuf,
    /// Our own group.
    own: PathBuf,
}

impl Cgroup {
    /// Makes a group, where this machine lets us.
    pub(super) fn create(limits: Limits) -> Option<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let places = places(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let me = fs::read_link("/proc/self").unwrap_or_default();
        let name = format!("guestfix-{}", me.display());
        let made = v1(&places, &name, limits).or_else(|| v2(&places, &name, limits));
        if made.is_none() {
            tracing::warn!("no control group for guest programs: only each process is limited");
        }
        made
    }

    /// Moves the calling process in.
    pub(super) fn enter(&self) -> Result<()> {
        let mut dirs = self.dirs.iter();
        dirs.try_for_each(|dir| fs::write(dir.join("cgroup.procs"), "0"))
            .map_err(|e| Error::io("entering a control group", e))
    }

    /// True when something in the group was killed because its memory was used up.
    pub(super) fn out_of_memory(&self) -> bool {
        let files = ["memory.events", "memory.oom_control"];
        let paths = self
            .dirs
            .iter()
            .flat_map(|dir| files.map(|file| dir.join(file)));
        paths
            .filter_map(|path| fs::read_to_string(path).ok())
            .any(|text| {
                let mut kills = text
                    .lines()
                    .filter_map(|line| line.strip_prefix("oom_kill "));
                kills.any(|count| count.trim() != "0")
            })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for dir in &self.dirs {
            // v2, from Linux 5.14 on. The sandbox's namespace has ended everything already.
            let _ = write(dir, "cgroup.kill", "1");
            // A dead process leaves its group a moment later.
            for _ in 0..200 {
                match fs::remove_dir(dir) {
                    Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
                        sleep(Duration::from_millis(5));
                    }
                    _ => break,
                }
            }
        }
    }
}

/// Where the mounted hierarchies are (`proc_pid_mountinfo(5)`, `cgroups(7)`), and we in them.
fn places(mountinfo: &str, own: &str) -> Vec<Place> {
    let mut out = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, fs)) = line.split_once(" - ") else {
            continue;
        };
        let mut mount = mount.split(' ').skip(3);
        let (Some(root), Some(at)) = (mount.next(), mount.next()) else {
            continue;
        };
        let mut fs = fs.split(' ');
        let kind = fs.next().unwrap_or_default();
        let options = fs.nth(1).unwrap_or_default();
        let options: Vec<&str> = options.split(',').collect();
        let found = own.lines().find_map(|line| {
            let (names, path) = line.split_once(':')?.1.split_once(':')?;
            let names: Vec<String> = match (kind, names) {
                ("cgroup2", "") => Vec::new(),
                ("cgroup", names) if names.split(',').all(|name| options.contains(&name)) => {
                    names.split(',').map(str::to_owned).collect()
                }
                _ => return None,
            };
            Some((names, Path::new(path).strip_prefix(root).ok()?.to_owned()))
        });
        if let Some((controllers, below)) = found {
            let top = PathBuf::from(at);
            let own = top.join(below);
            out.push(Place {
                controllers,
                top,
                own,
            });
        }
    }
    out
}

fn write(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    fs::write(dir.join(file), value)
}

/// A new group, after what an earlier one of a dead process has left is gone.
fn make(parent: &Path, name: &str) -> io::Result<PathBuf> {
    for entry in fs::read_dir(parent)?.flatten() {
        let old = entry.file_name();
        let pid = old.to_str().and_then(|old| old.strip_prefix("guestfix-"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
    let dir = parent.join(name);
    match fs::create_dir(&dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(dir),
    }
}

fn v1(places: &[Place], name: &str, limits: Limits) -> Option<Cgroup> {
    let place = |controller: &str| {
        let mut places = places.iter();
        places.find(|place| place.controllers.iter().any(|have| have == controller))
    };
    let mut group = Cgroup { dirs: Vec::new() };
    let memory = make(&place("memory")?.own, name).ok()?;
    group.dirs.push(memory.clone());
    let bytes = limits.memory.to_string();
    write(&memory, "memory.limit_in_bytes", &bytes).ok()?;
    // Only where the kernel counts swap.
    let _ = write(&memory, "memory.memsw.limit_in_bytes", &bytes);
    if let Some(pids) = place("pids").and_then(|place| make(&place.own, name).ok()) {
        let _ = write(&pids, "pids.max", &limits.pids.to_string());
        if !group.dirs.contains(&pids) {
            group.dirs.push(pids);
        }
    }
    Some(group)
}

fn v2(places: &[Place], name: &str, limits: Limits) -> Option<Cgroup> {
    let place = places.iter().find(|place| place.controllers.is_empty())?;
    let passes_on = |dir: &Path| {
        let passed = fs::read_to_string(dir.join("cgroup.subtree_control"));
        passed.is_ok_and(|list| list.split_whitespace().any(|name| name == "memory"))
    };
    if !passes_on(&place.own) {
        let _ = write(&place.own, "cgroup.subtree_control", "+memory +pids");
    }
    let beside = place.own.parent().filter(|_| place.own != place.top);
    let mut parents = std::iter::once(place.own.as_path()).chain(beside);
    let parent = parents.find(|dir| passes_on(dir))?;
    let group = Cgroup {
        dirs: vec![make(parent, name).ok()?],
    };
    let dir = group.dirs.first()?;
    write(dir, "memory.max", &limits.memory.to_string()).ok()?;
    let _ = write(dir, "memory.swap.max", "0");
    let _ = write(dir, "pids.max", &limits.pids.to_string());
    Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        memory: 5 << 20,
        pids: 7,
    };

    fn read(path: PathBuf) -> String {
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    #[test]
    fn our_place_is_found_in_a_hybrid_hierarchy_and_in_a_container() {
        let mountinfo = "\
30 24 0:26 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate
31 24 0:27 / /sys/fs/cgroup/memory rw shared:8 - cgroup cgroup rw,memory
32 24 0:28 /docker/1 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct
33 24 8:1 / /data rw - ext4 /dev/sda1 rw,memory
";
        let own = "4:memory:/a/b\n3:cpu,cpuacct:/docker/1\n0::/\n";
        let found: Vec<(usize, String)> = places(mountinfo, own)
            .into_iter()
            .map(|place| (place.controllers.len(), place.own.display().to_string()))
            .collect();
        let want = [
            (0, "/sys/fs/cgroup/unified/"),
            (1, "/sys/fs/cgroup/memory/a/b"),
            (2, "/sys/fs/cgroup/cpu,cpuacct/"),
        ];
        assert_eq!(found, want.map(|(count, path)| (count, path.to_owned())));
    }

    fn unified(own: &str) -> (tempfile::TempDir, Vec<Place>) {
        let top = tempfile::tempdir().unwrap();
        let own = top.path().join(own);
        fs::create_dir_all(&own).unwrap();
        let place = Place {
            controllers: Vec::new(),
            top: top.path().to_owned(),
            own,
        };
        (top, vec![place])
    }

    #[test]
    fn in_v2_the_group_is_made_in_our_own_where_that_passes_memory_on() {
        let (top, places) = unified("own");
        // A file that was written says what was asked for, as the kernel would after granting it.
        write(&places[0].own, "cgroup.subtree_control", "cpu memory pids").unwrap();
        let group = v2(&places, "guestfix-x", LIMITS).unwrap();
        let dir = top.path().join("own/guestfix-x");
        assert_eq!(group.dirs, std::slice::from_ref(&dir));
        assert_eq!(read(dir.join("memory.max")), "5242880");
        assert_eq!(read(dir.join("memory.swap.max")), "0");
        assert_eq!(read(dir.join("pids.max")), "7");
        group.enter().unwrap();
        assert_eq!(read(dir.join("cgroup.procs")), "0");
        assert!(!group.out_of_memory());
        write(&dir, "memory.events", "low 0\noom 1\noom_kill 2\n").unwrap();
        assert!(group.out_of_memory());
    }

    #[test]
    fn in_v2_a_group_with_processes_gets_a_sibling_and_the_topmost_gets_none() {
        let (top, places) = unified("slice/own");
        // The kernel refuses to let a group with processes pass controllers on: EBUSY.
        fs::create_dir(places[0].own.join("cgroup.subtree_control")).unwrap();
        let slice = top.path().join("slice");
        assert!(v2(&places, "guestfix-x", LIMITS).is_none());
        write(&slice, "cgroup.subtree_control", "memory").unwrap();
        let group = v2(&places, "guestfix-x", LIMITS).unwrap();
        assert_eq!(group.dirs, [slice.join("guestfix-x")]);
        let (_top, places) = unified("");
        fs::create_dir(places[0].own.join("cgroup.subtree_control")).unwrap();
        assert!(v2(&places, "guestfix-x", LIMITS).is_none());
    }

    #[test]
    fn in_v1_each_controller_has_its_own_tree() {
        let top = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let own = top.path().join(name);
            fs::create_dir_all(own.join("guestfix-0-dead")).unwrap();
            Place {
                controllers: vec![name.to_owned()],
                top: own.clone(),
                own,
            }
        };
        let group = v1(&[place("pids"), place("memory")], "guestfix-x", LIMITS).unwrap();
        let dir = |name: &str| top.path().join(name).join("guestfix-x");
        assert_eq!(group.dirs, [dir("memory"), dir("pids")]);
        assert_eq!(read(dir("memory").join("memory.limit_in_bytes")), "5242880");
        assert_eq!(read(dir("pids").join("pids.max")), "7");
        assert!(!top.path().join("pids/guestfix-0-dead").exists());
        fs::remove_dir_all(dir("pids")).unwrap();
        assert!(v1(&[place("pids")], "guestfix-x", LIMITS).is_none());
    }
}
