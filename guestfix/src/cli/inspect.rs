// SPDX-License-Identifier: Apache-2.0
//! `guestfix inspect`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::args::{Common, InspectArgs};
use super::output::Output;
use super::progress;
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::{DriverAt, KernelFacts, VolumeFacts};
use crate::inspect::windows::WindowsFacts;
use crate::pipeline::{self, Context};
use crate::report::text;

pub(super) fn run(common: &Common, args: &InspectArgs, output: &Output) -> Result<u8> {
    let listener = progress::listener(common.progress);
    let opening = args.disks.opening();
    let context = Context {
        state_dir: &common.state_dir,
        progress: listener.as_ref(),
        opening: &opening,
    };
    let facts = pipeline::inspect(&context, &args.disks.paths()?, args.root.as_deref())?;
    drop(listener);
    output.result(&facts.document(), render);
    Ok(0)
}

fn render(facts: &Facts) -> String {
    let mut out = String::new();
    let guest = &facts.guest;
    let host = guest.hostname.as_deref().unwrap_or("no host name");
    let firmware = format!("{:?}", facts.firmware).to_uppercase();
    let _ = writeln!(
        out,
        "{} ({}, {firmware}, {host})",
        guest.pretty_name, guest.arch
    );
    volumes(&mut out, facts);
    match &facts.windows {
        Some(windows) => system(&mut out, windows),
        None => kernels(&mut out, &facts.kernels),
    }
    network(&mut out, facts);
    vmware(&mut out, facts);
    text::concerns(&mut out, &facts.concerns);
    out
}

/// Disks, their partitions, and below each volume what is made of it.
fn volumes(out: &mut String, facts: &Facts) {
    let _ = writeln!(out, "\nVolumes");
    let mut shown = BTreeSet::new();
    for disk in &facts.disks {
        let table = format!("{:?}", disk.table).to_lowercase();
        let size = text::size(disk.size);
        let _ = writeln!(
            out,
            "  {:10} {size:>10}  {table:6} {}",
            disk.name, disk.path
        );
        let mine = |name: &str| {
            name.strip_prefix(disk.name.as_str())
                .is_some_and(|rest| rest.starts_with('p'))
        };
        for volume in facts.volumes.iter().filter(|v| mine(&v.name)) {
            branch(out, facts, volume, 1, &mut shown);
        }
        made_of(out, facts, &disk.name, 1, &mut shown);
    }
}

/// A volume and, one step further in, what is made of it.
fn branch(
    out: &mut String,
    facts: &Facts,
    volume: &VolumeFacts,
    depth: usize,
    shown: &mut BTreeSet<String>,
) {
    let indent = "  ".repeat(depth.saturating_add(1));
    let at = facts.mounts.iter().find(|m| m.volume == volume.name);
    let at = at.map_or(String::new(), |m| format!("  mounted at {}", m.at));
    let kind = &volume.content.kind;
    let uuid = volume.content.uuid.as_deref().unwrap_or("");
    let size = text::size(volume.size);
    let by = match &volume.stack.made_by {
        Some(by) => format!("  ({by})"),
        None => String::new(),
    };
    let _ = writeln!(
        out,
        "{indent}{:8} {size:>10}  {kind:6} {uuid}{at}{by}",
        volume.name
    );
    made_of(out, facts, &volume.name, depth.saturating_add(1), shown);
}

/// What is made of a volume; what has several parts stands below the last of them.
fn made_of(
    out: &mut String,
    facts: &Facts,
    part: &str,
    depth: usize,
    shown: &mut BTreeSet<String>,
) {
    shown.insert(part.to_owned());
    for volume in &facts.volumes {
        let parts = &volume.stack.made_of;
        let complete = parts.iter().all(|name| shown.contains(name));
        if parts.iter().any(|name| name == part) && complete {
            branch(out, facts, volume, depth, shown);
        }
    }
}

fn system(out: &mut String, windows: &WindowsFacts) {
    let _ = writeln!(out, "\nWindows");
    let sets: Vec<String> = windows.control_set_keys().collect();
    let clock = match windows.clock_is_utc {
        true => "UTC",
        false => "local time",
    };
    let zone = windows.time_zone.as_deref().unwrap_or("unknown");
    for (what, value) in [
        (
            "version",
            format!(
                "{} build {}.{}",
                windows.nt_version, windows.build, windows.revision
            ),
        ),
        (
            "edition",
            format!("{} {}", windows.edition, windows.installation_type),
        ),
        (
            "directory",
            format!(
                "{}{}",
                windows.system_drive.as_deref().unwrap_or_default(),
                windows.system_root
            ),
        ),
        ("control sets", sets.join(", ")),
        ("clock", format!("{clock}, time zone {zone}")),
    ] {
        let _ = writeln!(out, "  {what:12} {}", value.trim());
    }
}

fn kernels(out: &mut String, kernels: &[KernelFacts]) {
    let _ = writeln!(out, "\nKernels");
    for kernel in kernels {
        let default = if kernel.default { " (default)" } else { "" };
        let _ = writeln!(out, "  {}{default}", kernel.version);
        match &kernel.initramfs {
            Some(initramfs) => {
                let archives = initramfs.archives.join("+");
                let size = text::size(initramfs.size);
                let by = &initramfs.generator;
                let _ = writeln!(
                    out,
                    "    initramfs {} ({size}, {archives}, {by})",
                    initramfs.path
                );
            }
            None => {
                let _ = writeln!(out, "    no initramfs");
            }
        }
        for (driver, at) in &kernel.drivers {
            let place = match at {
                DriverAt::BuiltIn => "built in",
                DriverAt::Initramfs => "in the initramfs",
                DriverAt::RootOnly => "on the root only: too late for the root disk",
                DriverAt::Missing => "missing",
            };
            let _ = writeln!(out, "    {driver:12} {place}");
        }
    }
}

fn network(out: &mut String, facts: &Facts) {
    let _ = writeln!(out, "\nNetwork");
    for nic in &facts.network {
        let mac = nic.mac.as_deref().unwrap_or("any MAC");
        let addresses = nic.addresses.join(" ");
        let _ = writeln!(
            out,
            "  {:10} {:8} {addresses} ({mac}, {})",
            nic.name, nic.method, nic.file
        );
    }
    if facts.network.is_empty() {
        let _ = writeln!(out, "  no interface is configured");
    }
}

fn vmware(out: &mut String, facts: &Facts) {
    let vmware = &facts.vmware;
    let mut traces = vmware.packages.clone();
    traces.extend(vmware.units.iter().cloned());
    if vmware.tarball {
        traces.push("a tarball installation of VMware Tools".to_owned());
    }
    let traces = if traces.is_empty() {
        "none".to_owned()
    } else {
        traces.join(", ")
    };
    let _ = writeln!(out, "\nTraces of VMware\n  {traces}");
}
