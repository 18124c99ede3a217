// SPDX-License-Identifier: Apache-2.0
//! Red Hat's mkinitrd, up to release 5: mkinitrd(8). It takes along what `modprobe.conf` calls an
//! adapter of SCSI disks, whatever the hardware of the moment is.

use super::{Call, Keep, Order, Tool, lacking};
use crate::inspect::Facts;
use crate::linux::text;

const PROGRAM: &str = "/sbin/mkinitrd";
/// modprobe.conf(5).
const CONFIG: &str = "/etc/modprobe.conf";
const ALIAS: &str = "scsi_hostadapter";

/// This generator.
pub const TOOL: Tool = Tool {
    name: "mkinitrd",
    programs: &[PROGRAM],
    configuration: &[CONFIG, "/etc/sysconfig/mkinitrd"],
    marks: &[PROGRAM],
    is_used: |facts| {
        let others = [super::dracut::TOOL.is_used, super::suse::TOOL.is_used];
        let others = others.iter().any(|is_used| is_used(facts));
        facts.sources.has(PROGRAM) && !facts.sources.has("/lib/mkinitrd") && !others
    },
    keep,
    rebuild,
};

fn keep(facts: &Facts, drivers: &[&str]) -> Keep {
    let old = facts.sources.bytes(CONFIG).unwrap_or_default();
    let aliases = aliases(old);
    // The driver of disks comes along by itself, and is no adapter.
    let wanted: Vec<&str> = drivers
        .iter()
        .filter(|name| **name != "sd_mod")
        .copied()
        .collect();
    let have: Vec<String> = aliases.iter().map(|(_, module)| module.clone()).collect();
    let mut content = old.to_vec();
    let end = text::line_end(old);
    let free = aliases.iter().map(|(number, _)| *number).max();
    let first = free.map_or(0, |number| number.saturating_add(1));
    for (number, module) in (first..).zip(lacking(&wanted, &have)) {
        if !content.is_empty() && !content.ends_with(b"\n") {
            content.extend(end.bytes());
        }
        let suffix = if number == 0 {
            String::new()
        } else {
            number.to_string()
        };
        content.extend(format!("alias {ALIAS}{suffix} {module}{end}").bytes());
    }
    Keep::file(CONFIG, content)
}

/// The adapters: number (0 for none) and module.
fn aliases(bytes: &[u8]) -> Vec<(u32, String)> {
    let lines = text::lines(bytes);
    let aliases = lines.iter().filter_map(|line| {
        let line = line.text();
        let mut words = line.split_whitespace();
        let (command, name, module) = (words.next()?, words.next()?, words.next()?);
        let number = name.strip_prefix(ALIAS).filter(|_| command == "alias")?;
        let number = if number.is_empty() {
            0
        } else {
            number.parse().ok()?
        };
        Some((number, module.to_owned()))
    });
    aliases.collect()
}

/// `--with` for each driver. A root on logical volumes is not seen in the sandbox, so it is told.
fn rebuild(order: &Order<'_>) -> Call {
    let old = order.facts.sources.listings.get(&order.initramfs.path);
    let lvm = old.is_some_and(|old| old.programs.contains("lvm"));
    let mut argv = Vec::new();
    if lvm {
        argv.extend(["/bin/env", "root_lvm=1"].map(str::to_owned));
    }
    argv.extend([order.program, "-f"].map(str::to_owned));
    argv.extend(
        order
            .drivers
            .iter()
            .map(|driver| format!("--with={driver}")),
    );
    argv.extend([order.product, &order.kernel.version].map(str::to_owned));
    Call {
        argv,
        scratch: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{facts_with, kept};
    use super::*;

    #[test]
    fn adapters_are_added_behind_those_there_are() {
        let program = (PROGRAM, "#!/bin/bash\n");
        for (old, want) in [
            (
                "alias eth0 vmxnet\nalias scsi_hostadapter mptbase\nalias scsi_hostadapter1 mptspi",
                "alias eth0 vmxnet\nalias scsi_hostadapter mptbase\nalias scsi_hostadapter1 mptspi\nalias scsi_hostadapter2 virtio_pci\nalias scsi_hostadapter3 virtio_blk\n",
            ),
            (
                "",
                "alias scsi_hostadapter virtio_pci\nalias scsi_hostadapter1 virtio_blk\n",
            ),
        ] {
            assert_eq!(kept(&TOOL, &[(CONFIG, old), program], CONFIG), want);
        }
    }

    #[test]
    fn a_wrapper_around_dracut_is_not_it() {
        let facts = facts_with(&[(PROGRAM, "exec dracut\n"), ("/usr/share/dracut/x", "")]);
        assert!(!(TOOL.is_used)(&facts));
    }
}
