// SPDX-License-Identifier: Apache-2.0
//! Configuration that names VMware's devices: lists of modules, X drivers, udev rules, and clocks.

use super::super::gather::Gatherer;
use super::super::text::{self, Edits};
use super::TOPIC;
use crate::error::Result;
use crate::inspect::facts::{Concern, Sources};
use crate::plan::{Action, Change, Proposal};

const MODULES: &str = "/etc/modules";
const MODULE_DIRS: [&str; 2] = ["/etc/modules-load.d", "/etc/modprobe.d"];
const RULES: &str = "/etc/udev/rules.d";
const XORG: [&str; 2] = ["/etc/X11/xorg.conf", "/etc/X11/XF86Config"];
const XORG_DIR: &str = "/etc/X11/xorg.conf.d";
/// X's driver for whatever the kernel shows, where X has it.
const MODESETTING: [&str; 3] = [
    "/usr/lib64/xorg/modules/drivers/modesetting_drv.so",
    "/usr/lib/xorg/modules/drivers/modesetting_drv.so",
    "/usr/lib/x86_64-linux-gnu/xorg/modules/drivers/modesetting_drv.so",
];
const CHRONY: [&str; 2] = ["/etc/chrony.conf", "/etc/chrony/chrony.conf"];
const CHRONY_DIRS: [&str; 3] = [
    "/etc/chrony.d",
    "/etc/chrony/conf.d",
    "/etc/chrony/sources.d",
];
/// What disabled lines begin with.
const MARK: &str = "#guestfix: ";

/// Modules that drive what only VMware has. Its disk controller's is left: nothing loads it by
/// name alone, and an initramfs that lists it shall not fail for want of it.
const USELESS: [&str; 10] = [
    "vmwgfx",
    "vmxnet",
    "vmxnet3",
    "vmhgfs",
    "vmblock",
    "vmci",
    "vmsync",
    "vmmemctl",
    "vsock_vmci_transport",
    "ptp_vmw",
];

/// Reads all of them.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub(super) fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    gather.file(MODULES)?;
    gather.files_in(MODULE_DIRS[0], |name| name.ends_with(".conf"))?;
    gather.files_in(MODULE_DIRS[1], is_vmwares)?;
    gather.files_in(RULES, is_vmwares)?;
    for path in XORG {
        gather.file(path)?;
    }
    let x = gather.files_in(XORG_DIR, |name| name.ends_with(".conf"))?;
    if !x.is_empty() || XORG.iter().any(|path| gather.sources.has(path)) {
        for path in MODESETTING {
            gather.presence(path)?;
        }
    }
    for path in CHRONY {
        gather.file(path)?;
    }
    for dir in CHRONY_DIRS {
        gather.files_in(dir, |name| {
            name.ends_with(".conf") || name.ends_with(".sources")
        })?;
    }
    Ok(())
}

fn is_vmwares(name: &str) -> bool {
    name.to_ascii_lowercase().contains("vmware") || name.contains("open-vm-tools")
}

/// What is to be changed in them.
pub(super) fn propose(sources: &Sources) -> Proposal {
    let mut out = Proposal::default();
    let mut edit = |path: &str, why: &str, content: Vec<u8>| {
        let change = Change::edit(TOPIC, why, sources, path, content);
        out.changes.extend(change);
    };
    let modesetting = MODESETTING.iter().any(|path| sources.has(path));
    for (path, file) in &sources.files {
        let bytes = file.content.as_slice();
        if text::is_binary(bytes) {
            continue;
        }
        if path == MODULES || is_in(path, MODULE_DIRS[0]) {
            let why = "these modules drive devices that only VMware has";
            edit(path, why, marked(bytes, names_useless));
        } else if is_in(path, MODULE_DIRS[1]) && is_vmwares(path) {
            let why = "these options are for modules that only VMware needs";
            edit(path, why, marked(bytes, is_active));
        } else if XORG.contains(&path.as_str()) || is_in(path, XORG_DIR) {
            let why = "this driver shows nothing on another display than VMware's";
            edit(path, why, with_x_drivers(bytes, modesetting));
        } else if is_chrony(path) {
            let why = "the host's clock is not there any more, and chronyd ends without it";
            edit(path, why, marked(bytes, is_host_clock));
        }
    }
    for path in sources.files.keys() {
        if is_in(path, RULES) && path.rsplit('/').next().is_some_and(is_vmwares) {
            let action = Action::RemoveFile {
                path: path.as_str().into(),
            };
            let why = "these rules are for VMware's disks";
            out.changes
                .push(Change::new(TOPIC, why, action, None).optional());
        }
    }
    out.concerns.extend(no_time(sources));
    out
}

fn is_in(path: &str, dir: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(above, _)| above == dir)
}

fn is_chrony(path: &str) -> bool {
    CHRONY.contains(&path) || CHRONY_DIRS.iter().any(|dir| is_in(path, dir))
}

/// Marks as comments the lines that `wanted` takes.
fn marked(bytes: &[u8], wanted: fn(&str) -> bool) -> Vec<u8> {
    let mut edits = Edits::new();
    for line in text::lines(bytes) {
        if wanted(line.text().trim()) {
            edits.insert(line.start, MARK);
        }
    }
    edits.apply(bytes)
}

fn is_active(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

fn names_useless(line: &str) -> bool {
    let module = line.split_whitespace().next().unwrap_or_default();
    USELESS.contains(&module.replace('-', "_").as_str())
}

/// A clock of a device (`refclock` of chrony.conf(5)): of the host's, in a virtual machine.
fn is_host_clock(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("refclock")
        && words
            .next()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("phc"))
}

/// chronyd has only clocks that are gone.
fn no_time(sources: &Sources) -> Option<Concern> {
    let files = || sources.files.iter().filter(|(path, _)| is_chrony(path));
    let any = |wanted: fn(&str) -> bool| {
        files().any(|(_, file)| {
            let lines = text::lines(&file.content);
            lines.iter().any(|line| wanted(line.text().trim()))
        })
    };
    let other = |line: &str| {
        let word = line.split_whitespace().next().unwrap_or_default();
        matches!(word, "server" | "pool" | "peer" | "sourcedir")
            || (word == "refclock" && !is_host_clock(line))
    };
    let was_host = |line: &str| is_host_clock(line.strip_prefix(MARK).unwrap_or(line));
    (any(was_host) && !any(other)).then(|| {
        Concern::warning(
            "no-time-source",
            "chronyd took its time from VMware's host clock only: name a server or pool in chrony's configuration",
        )
    })
}

/// `Driver "vmware"` and `Driver "vmmouse"` of xorg.conf(5).
fn with_x_drivers(bytes: &[u8], modesetting: bool) -> Vec<u8> {
    let mut edits = Edits::new();
    for line in text::lines(bytes) {
        let text = line.text().to_ascii_lowercase();
        let mut words = text.split_whitespace();
        if words.next() != Some("driver") {
            continue;
        }
        let new = match words.next() {
            Some("\"vmware\"") if modesetting => "modesetting",
            Some("\"vmware\"") => "vesa",
            Some("\"vmmouse\"") => "mouse",
            _ => continue,
        };
        let quote = |from: usize| {
            let rest = line.bytes.get(from..)?;
            let at = rest.iter().position(|byte| *byte == b'"')?;
            from.checked_add(at)?.checked_add(1)
        };
        if let Some((open, close)) = quote(0).and_then(|open| Some((open, quote(open)?))) {
            let start = line.start.saturating_add(open);
            let end = line.start.saturating_add(close).saturating_sub(1);
            edits.replace(start..end, new);
        }
    }
    edits.apply(bytes)
}
