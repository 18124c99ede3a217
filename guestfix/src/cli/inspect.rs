// SPDX-License-Identifier: Apache-2.0
//! `guestfix inspect`.

use std::fmt::Write as _;

use super::args::{Common, InspectArgs};
use super::output::Output;
use super::progress;
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::{DriverAt, KernelFacts};
use crate::pipeline::{self, Context};
use crate::report::text;

pub(super) fn run(common: &Common, args: &InspectArgs, output: &Output) -> Result<u8> {
    let listener = progress::listener(common.progress);
    let context = Context {
        state_dir: &common.state_dir,
        progress: listener.as_ref(),
    };
    let facts = pipeline::inspect(&context, &args.disks.disks, args.root.as_deref())?;
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
    kernels(&mut out, &facts.kernels);
    network(&mut out, facts);
    vmware(&mut out, facts);
    text::concerns(&mut out, &facts.concerns);
    out
}

fn volumes(out: &mut String, facts: &Facts) {
    let _ = writeln!(out, "\nVolumes");
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
            let at = facts.mounts.iter().find(|m| m.volume == volume.name);
            let at = at.map_or(String::new(), |m| format!("  mounted at {}", m.at));
            let kind = &volume.content.kind;
            let uuid = volume.content.uuid.as_deref().unwrap_or("");
            let size = text::size(volume.size);
            let _ = writeln!(out, "    {:8} {size:>10}  {kind:6} {uuid}{at}", volume.name);
        }
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
