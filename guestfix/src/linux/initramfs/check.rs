// SPDX-License-Identifier: Apache-2.0
//! Asserts over re-read facts that every kernel reaches its root on the target's disk bus.

use crate::inspect::Facts;
use crate::inspect::facts::KernelFacts;
use crate::linux::kernel;
use crate::linux::storage::lvm;
use crate::plan::Target;
use crate::verify::{Check, Finding, Severity};

/// The checks of this topic.
pub const CHECKS: &[Check] = &[
    Check {
        name: "initramfs-readable",
        what: "every bootable kernel's initramfs unpacks to its end as the kernel would unpack it",
        severity: Severity::Required,
        run: readable,
    },
    Check {
        name: "initramfs-drivers",
        what: "the default kernel finds, built in or in its initramfs, what it needs to reach the root disk",
        severity: Severity::Required,
        run: drivers,
    },
    Check {
        name: "initramfs-drivers-all",
        what: "every other bootable kernel finds them too",
        severity: Severity::Advised,
        run: drivers_all,
    },
    Check {
        name: "initramfs-device-names",
        what: "no initramfs waits for a device name that the new machine does not have, or hides its disks",
        severity: Severity::Required,
        run: device_names,
    },
    Check {
        name: "initramfs-rebuild-keeps-virtio",
        what: "the guest's own next rebuild of its initramfs includes the drivers",
        severity: Severity::Advised,
        run: super::keep::check,
    },
];

const NO_KERNEL: &str = "no kernel was found";

fn readable(facts: &Facts, _: &Target) -> Finding {
    let mut read = Vec::new();
    for kernel in kernel::bootable(facts) {
        let Some(initramfs) = &kernel.initramfs else {
            continue;
        };
        if let Some(damage) = &initramfs.damage {
            return Finding::fail(format!("{}: {damage}", initramfs.path));
        }
        read.push(format!(
            "{} ({})",
            initramfs.path,
            initramfs.archives.join(" + ")
        ));
    }
    match read.is_empty() {
        true => Finding::skip("no kernel has an initramfs"),
        false => Finding::pass(read.join(", ")),
    }
}

fn of_kernel(facts: &Facts, kernel: &KernelFacts, target: &Target) -> Result<String, String> {
    let lacking = kernel::lacking(facts, kernel, target.disk_bus);
    if lacking.is_empty() {
        let names = kernel::drivers_of(target.disk_bus).join(", ");
        return Ok(format!("{} has {names}", kernel.version));
    }
    let lacking: Vec<String> = lacking
        .into_iter()
        .map(|(name, at)| match at {
            crate::inspect::facts::DriverAt::RootOnly => format!("{name} (on the root only)"),
            _ => format!("{name} (nowhere)"),
        })
        .collect();
    Err(format!("{} lacks {}", kernel.version, lacking.join(", ")))
}

fn drivers(facts: &Facts, target: &Target) -> Finding {
    let kernels = kernel::bootable(facts);
    match kernels
        .into_iter()
        .find(|kernel| kernel::is_default(facts, kernel))
    {
        None => Finding::fail(NO_KERNEL),
        Some(kernel) => of_kernel(facts, kernel, target).map_or_else(Finding::fail, Finding::pass),
    }
}

fn drivers_all(facts: &Facts, target: &Target) -> Finding {
    let others = kernel::bootable(facts).into_iter();
    let others = others.filter(|kernel| !kernel::is_default(facts, kernel));
    let results: Result<Vec<String>, String> = others
        .map(|kernel| of_kernel(facts, kernel, target))
        .collect();
    match results {
        Err(detail) => Finding::fail(detail),
        Ok(list) if list.is_empty() => Finding::skip("there is one bootable kernel only"),
        Ok(list) => Finding::pass(list.join("; ")),
    }
}

fn device_names(facts: &Facts, target: &Target) -> Finding {
    let mut found = Vec::new();
    for kernel in kernel::bootable(facts) {
        let Some(initramfs) = &kernel.initramfs else {
            continue;
        };
        for device in super::propose::vanishing(initramfs, target) {
            found.push(format!(
                "{} in {} of {}",
                device.device, device.file, initramfs.path
            ));
        }
        for filter in lvm::hiding(facts, initramfs) {
            found.push(format!(
                "the {} in {} of {} hides the disks",
                filter.key, filter.file, initramfs.path
            ));
        }
    }
    match found.is_empty() {
        true => Finding::pass("none is named"),
        false => Finding::fail(found.join(", ")),
    }
}
