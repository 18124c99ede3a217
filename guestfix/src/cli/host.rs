// SPDX-License-Identifier: Apache-2.0
//! `guestfix host`.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::output::Output;
use crate::boot::{Arch, accel};
use crate::error::Result;
use crate::host::probe::{self, Driver, Probe};

/// The document `guestfix.io/host/v1`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct HostDocument {
    /// Always `guestfix.io/host/v1`.
    pub schema: String,
    /// What the machine has.
    #[serde(flatten)]
    pub probe: Probe,
    /// What boots would run on: a KVM that opens need not run a guest, so one was tried.
    pub boots_with: accel::Accel,
}

pub(super) fn run(output: &Output) -> Result<u8> {
    let document = HostDocument {
        schema: "guestfix.io/host/v1".to_owned(),
        probe: probe::probe(),
        boots_with: accel::best(Arch::default()),
    };
    output.result(&document, render);
    Ok(0)
}

fn render(document: &HostDocument) -> String {
    let probe = &document.probe;
    let mut out = String::new();
    let yes = |have: bool| if have { "yes" } else { "no" };
    let _ = writeln!(out, "kernel          {} ({})", probe.kernel, probe.arch);
    let _ = writeln!(out, "root            {}", yes(probe.root));
    let _ = writeln!(out, "FUSE            {}", yes(probe.fuse));
    let _ = writeln!(out, "loop devices    {}", yes(probe.loop_control));
    let _ = writeln!(out, "seccomp         {}", yes(probe.seccomp));
    let _ = writeln!(out, "namespaces      {}", probe.namespaces.join(" "));
    for filesystem in &probe.filesystems {
        let driver = match filesystem.driver {
            Driver::Loaded => "can be mounted",
            Driver::Module => "can be mounted (module not loaded yet)",
            Driver::Unknown => "not known to this kernel; the node may still load it",
        };
        let _ = writeln!(out, "{:15} {driver}", filesystem.name);
    }
    let qemu: Vec<&str> = probe
        .qemu
        .iter()
        .map(|program| program.arch.as_str())
        .collect();
    let qemu = if qemu.is_empty() {
        "none: guestfix boot needs it".to_owned()
    } else {
        qemu.join(" ")
    };
    let _ = writeln!(out, "QEMU            {qemu}");
    let _ = writeln!(out, "boots run on    {:?}", document.boots_with);
    let ntfs = probe
        .ntfs_3g
        .as_ref()
        .map_or("no".to_owned(), |path| path.display().to_string());
    let _ = writeln!(out, "ntfs-3g         {ntfs}");
    out
}
