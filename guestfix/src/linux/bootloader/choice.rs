// SPDX-License-Identifier: Apache-2.0
//! Which kernel starts by itself: where that one has no driver for the new machine's disks and
//! another entry's kernel has, that entry becomes the default, now and after the guest's next
//! regeneration of its menu.

use std::collections::BTreeMap;

use super::entry::{self, Entry, Loader, Menu};
use super::{defaults, environment_path, generators, grub2};
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, DriverAt, KernelFacts};
use crate::linux::kernel;
use crate::linux::shell;
use crate::plan::Bus;

/// A default that moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Release of the kernel that was the default.
    pub from: String,
    /// Release of the one that is to be.
    pub to: String,
    /// Image of that.
    pub image: String,
    /// What to write where: an entry's name by the file that chooses.
    pub steps: BTreeMap<String, String>,
}

/// The move that this guest needs; `None` where the default can stay, or nothing better is known.
pub fn needed(facts: &Facts, bus: Bus) -> Option<Move> {
    let old = facts.kernels.iter().find(|kernel| kernel.default)?;
    if !is_helpless(facts, old, bus) {
        return None;
    }
    let menus = entry::menus(facts);
    let starts_old = |menu: &&Menu| {
        let entry = menu.default.and_then(|index| menu.entries.get(index));
        let index = entry.and_then(|entry| entry::kernel(facts, menu, entry));
        index.and_then(|index| facts.kernels.get(index)) == Some(old)
    };
    let menu = menus.iter().find(starts_old)?;
    let others = kernel::bootable(facts).into_iter();
    others
        .filter(|kernel| kernel.image != old.image && can_start(facts, kernel, bus))
        .find_map(|new| {
            let starts = |entry: &&Entry| {
                let index = entry::kernel(facts, menu, entry);
                index.and_then(|index| facts.kernels.get(index)) == Some(new)
            };
            let entry = menu.entries.iter().find(starts)?;
            Some(Move {
                from: old.version.clone(),
                to: new.version.clone(),
                image: new.image.clone(),
                steps: steps(facts, menu, entry)?,
            })
        })
}

/// True for the kernel that starts by itself once the plan is done.
pub fn is_default_then(facts: &Facts, kernel: &KernelFacts, moved: Option<&Move>) -> bool {
    match moved {
        Some(moved) => kernel.image == moved.image,
        None => kernel::is_default(facts, kernel),
    }
}

/// What to say of a move.
pub fn concern(moved: &Move) -> Concern {
    Concern::warning(
        "default-kernel-moved",
        format!(
            "kernel {} has no driver for the new machine's disks, so the boot entry of kernel {} becomes the default",
            moved.from, moved.to
        ),
    )
}

/// No module file and nothing built in: neither keeping nor splicing nor rebuilding helps.
fn is_helpless(facts: &Facts, kernel: &KernelFacts, bus: Bus) -> bool {
    let lacking = kernel::lacking(facts, kernel, bus);
    let nowhere = lacking.iter().any(|(_, at)| *at == DriverAt::Missing);
    nowhere || (kernel.is_unified() && !lacking.is_empty())
}

fn can_start(facts: &Facts, kernel: &KernelFacts, bus: Bus) -> bool {
    let lacking = kernel::lacking(facts, kernel, bus);
    let fixable = kernel.initramfs.is_some() && !is_helpless(facts, kernel, bus);
    lacking.is_empty() || fixable
}

fn steps(facts: &Facts, menu: &Menu, entry: &Entry) -> Option<BTreeMap<String, String>> {
    let id = entry.id.clone();
    let mut steps = BTreeMap::new();
    match menu.loader {
        Loader::Grub2 => {
            let bytes = facts.sources.bytes(&menu.file)?;
            let parsed = grub2::parse(bytes).ok()?;
            if id.is_empty() || id.contains(['\'', '"', '\\', '$', '\n', '#']) {
                return None;
            }
            match parsed.is_saved() {
                true => {
                    let block = environment_path(&facts.sources, &menu.file)?;
                    steps.insert(block, id.clone());
                }
                false => {
                    parsed.fixed_default()?;
                    steps.insert(menu.file.clone(), id.clone());
                }
            }
            let chosen = facts.sources.bytes(defaults::MAIN).map(shell::assignments);
            let chosen = chosen
                .as_deref()
                .and_then(|all| shell::value(all, defaults::DEFAULT));
            if chosen.is_some_and(|value| value != "saved") {
                steps.insert(defaults::MAIN.to_owned(), id);
            }
        }
        Loader::GrubLegacy | Loader::Extlinux => {
            steps.insert(menu.file.clone(), id);
            let source = generators::UPDATE_EXTLINUX;
            if menu.loader == Loader::Extlinux && facts.sources.has(source) {
                steps.insert(source.to_owned(), entry.id.clone());
            }
        }
        Loader::SystemdBoot => {
            let file = match menu.file.is_empty() {
                true => format!("{}/loader/loader.conf", facts.efi.as_ref()?.at),
                false => menu.file.clone(),
            };
            let suffix = if entry.unified { "" } else { ".conf" };
            steps.insert(file, format!("{id}{suffix}"));
        }
    }
    Some(steps)
}
