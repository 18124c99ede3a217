// SPDX-License-Identifier: Apache-2.0
//! Rebuilding: the guest's own tool makes the initramfs anew, for any machine and not for the one
//! that it sees. How each is called is its own to know ([`super::tools`]).

use super::tools::{Order, TOOLS, Tool, dracut};
use crate::fs::GuestPath;
use crate::inspect::Facts;
use crate::inspect::facts::{DriverAt, InitramfsFacts, KernelFacts};
use crate::linux::kernel;
use crate::plan::{Action, SCRATCH};

/// dracut's modules between a disk and its files.
pub const STACK: [&str; 11] = dracut::STACK;
/// Seconds that the tool may take. A generic initramfs takes it some ten.
const TIMEOUT: u32 = 900;

/// The tool that makes the image anew: the one that made it, else one that the guest uses.
fn tool(facts: &Facts, initramfs: &InitramfsFacts) -> Option<(Tool, &'static str)> {
    let installed = |tool: &Tool| Some((*tool, tool.program(facts)?));
    let made = TOOLS.iter().filter(|tool| tool.name == initramfs.generator);
    // An image that cannot be read to its end may not say who made it.
    let others = || TOOLS.iter().filter(|tool| (tool.is_used)(facts));
    made.into_iter()
        .find_map(installed)
        .or_else(|| others().find_map(installed))
}

/// How to make this kernel's initramfs anew.
///
/// # Errors
/// Why it cannot be; one clause.
pub fn action(
    facts: &Facts,
    kernel: &KernelFacts,
    initramfs: &InitramfsFacts,
) -> Result<Action, String> {
    if kernel.is_unified() {
        return Err("it is a part of a unified kernel image".to_owned());
    }
    let (tool, program) = tool(facts, initramfs)
        .ok_or("the guest has none of the programs that make one (mkinitramfs, dracut, mkinitcpio, booster, mkinitfs, mkinitrd)")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    if !kernel.version.chars().all(plain) || kernel.version.starts_with('-') {
        return Err("its kernel's version is no plain name".to_owned());
    }
    if kernel.modules_dir.is_none() {
        return Err(format!("the modules of kernel {} are gone", kernel.version));
    }
    if on_fat(facts, &initramfs.path) {
        return Err("it lies on a FAT volume, where only appending is done".to_owned());
    }
    let product = format!("{SCRATCH}/initramfs");
    let drivers = drivers(facts, kernel);
    let call = (tool.rebuild)(&Order {
        facts,
        kernel,
        initramfs,
        program,
        drivers: &drivers,
        product: &product,
    });
    Ok(Action::RebuildInitramfs {
        path: GuestPath::new(&initramfs.path),
        argv: call.argv,
        scratch: call.scratch,
        product,
        timeout_s: TIMEOUT,
    })
}

fn on_fat(facts: &Facts, path: &str) -> bool {
    let path = GuestPath::new(path);
    let holds = |at: &str| path.below(&GuestPath::new(at)).is_some();
    let mounts = facts.mounts.iter().filter(|mount| holds(&mount.at));
    let mount = mounts.max_by_key(|mount| mount.at.len());
    let volume = mount.and_then(|mount| facts.volume(&mount.volume));
    volume.is_some_and(|volume| volume.content.kind == "vfat")
}

fn drivers<'a>(facts: &Facts, kernel: &'a KernelFacts) -> Vec<&'a str> {
    let listed = facts
        .sources
        .splices
        .get(kernel.initramfs.as_ref().map_or("", |i| &i.path));
    let asked = |name: &String| {
        kernel::DRIVERS.contains(&name.as_str())
            || listed.is_some_and(|source| source.closures.contains_key(name))
    };
    let module = |at: &DriverAt| matches!(at, DriverAt::Initramfs | DriverAt::RootOnly);
    let drivers = kernel
        .drivers
        .iter()
        .filter(|(name, at)| asked(name) && module(at));
    drivers.map(|(name, _)| name.as_str()).collect()
}

#[cfg(test)]
mod tests;
