// SPDX-License-Identifier: Apache-2.0
//! GRUB 2's menu: which kernels it starts with which arguments, which entry is the default, and
//! edits of single arguments. The rest of `grub.cfg` survives byte for byte.

use std::ops::Range;

use super::cmdline::{self, Argument};
use super::script::{self, Step, Word};
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::linux::text::Edits;

/// A menu.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Menu {
    /// Entries and submenus in the order of the file.
    pub nodes: Vec<Node>,
    /// The kernels they start.
    pub linux: Vec<Linux>,
    /// Values given to `default`, in order.
    pub defaults: Vec<String>,
    /// It takes entries from `/loader/entries` (Boot Loader Specification).
    pub bls: bool,
}

/// An entry or submenu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Title.
    pub title: String,
    /// What `--id` says.
    pub id: Option<String>,
    /// The submenu that holds it.
    pub parent: Option<usize>,
}

/// A `linux` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linux {
    /// Index of its entry.
    pub node: Option<usize>,
    /// Path of the kernel image, as GRUB sees it, a device before it cut off.
    pub image: String,
    /// The kernel's arguments.
    pub args: Vec<Word>,
    /// Where further arguments go.
    pub end: usize,
    /// The initramfs images that follow, as GRUB sees them.
    pub initrd: Vec<String>,
}

impl Linux {
    /// False for other programs in the kernel's format, memtest86+ above all.
    pub fn is_kernel(&self) -> bool {
        let name = self.image.rsplit('/').next().unwrap_or_default();
        let named = ["vmlinu", "bzImage", "kernel", "Image", "linux"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        named || self.args.iter().any(|arg| arg.text.starts_with("root="))
    }

    fn texts(&self) -> Vec<&str> {
        self.args.iter().map(|arg| arg.text.as_str()).collect()
    }

    /// True when a serial console is among the arguments.
    pub fn has_serial(&self) -> bool {
        cmdline::has_serial(self.texts().into_iter())
    }
}

/// Reads a menu.
///
/// # Errors
/// `Corrupt`/`grub-syntax` when quotes or braces do not match.
pub fn parse(bytes: &[u8]) -> Result<Menu> {
    let mut menu = Menu::default();
    let mut stack: Vec<Option<usize>> = Vec::new();
    for step in script::steps(bytes)? {
        let inside = stack.iter().rev().find_map(|node| *node);
        match step {
            Step::Open(words) => stack.push(menu.open(&words, inside)),
            Step::Close => {
                stack.pop();
            }
            Step::Command(words) => menu.command(words, inside),
        }
    }
    Ok(menu)
}

/// The edited menu and what is to be said about it.
///
/// # Errors
/// As [`parse`].
pub fn edit(facts: &Facts, path: &str, bytes: &[u8]) -> Result<(Vec<u8>, Vec<Concern>)> {
    let menu = parse(bytes)?;
    let mut edits = Edits::new();
    let mut concerns = Vec::new();
    for linux in menu.linux.iter().filter(|linux| linux.is_kernel()) {
        for arg in &linux.args {
            let verdict = cmdline::judge(facts, &arg.text, !linux.initrd.is_empty());
            let concern = cmdline::concern(path, &verdict);
            concerns.extend(concern.filter(|c| !concerns.contains(c)));
            if let Argument::Rename { from, to, .. } = verdict {
                edits.replace(place_of(bytes, &arg.at, &from), to);
            }
        }
        // Arguments kept in a variable bring their own console.
        if linux
            .args
            .iter()
            .any(|arg| arg.text.starts_with("$kernelopts"))
        {
            continue;
        }
        for console in cmdline::missing_consoles(&facts.guest.arch, &linux.texts()) {
            edits.insert(linux.end, format!(" {console}"));
        }
    }
    Ok((edits.apply(bytes), concerns))
}

/// Where `device` stands within a word, so that quotes around it stay. A word that spells it in
/// another way (with backslashes) gets a range outside the file, which is no edit.
fn place_of(bytes: &[u8], word: &Range<usize>, device: &str) -> Range<usize> {
    let raw = bytes.get(word.clone()).unwrap_or_default();
    let found = raw
        .windows(device.len().max(1))
        .position(|window| window == device.as_bytes());
    match found {
        Some(at) => {
            let start = word.start.saturating_add(at);
            start..start.saturating_add(device.len())
        }
        None => usize::MAX..usize::MAX,
    }
}

impl Menu {
    fn open(&mut self, words: &[Word], parent: Option<usize>) -> Option<usize> {
        let (command, rest) = words.split_first()?;
        if !matches!(command.text.as_str(), "menuentry" | "submenu") {
            return None;
        }
        let texts = || rest.iter().map(|word| word.text.as_str());
        // Debian writes `$menuentry_id_option`, which GRUB sets to `--id`.
        let id = texts()
            .zip(texts().skip(1))
            .find(|(option, _)| matches!(*option, "--id" | "$menuentry_id_option"))
            .map(|(_, id)| id)
            .or_else(|| texts().find_map(|word| word.strip_prefix("--id=")));
        self.nodes.push(Node {
            title: rest
                .first()
                .map(|word| word.text.clone())
                .unwrap_or_default(),
            id: id.map(str::to_owned),
            parent,
        });
        self.nodes.len().checked_sub(1)
    }

    fn command(&mut self, words: Vec<Word>, node: Option<usize>) {
        let mut words = words.into_iter();
        let Some(command) = words.next() else {
            return;
        };
        match command.text.as_str() {
            "linux" | "linux16" | "linuxefi" => {
                let Some(image) = words.next() else {
                    return;
                };
                let args: Vec<Word> = words.collect();
                self.linux.push(Linux {
                    node,
                    image: without_device(&image.text).to_owned(),
                    end: args.last().unwrap_or(&image).at.end,
                    args,
                    initrd: Vec::new(),
                });
            }
            "initrd" | "initrd16" | "initrdefi" => {
                if let Some(linux) = self.linux.last_mut().filter(|linux| linux.node == node) {
                    linux
                        .initrd
                        .extend(words.map(|word| without_device(&word.text).to_owned()));
                }
            }
            "set" => self.defaults.extend(
                words.filter_map(|word| Some(word.text.strip_prefix("default=")?.to_owned())),
            ),
            "blscfg" => self.bls = true,
            _ => {}
        }
    }

    /// Index of the entry that starts by itself. `env` answers for the variables of grubenv.
    pub fn default_node(&self, env: impl Fn(&str) -> Option<String>) -> Option<usize> {
        let of_variable = |name: &str| {
            let named = self.defaults.iter().any(|value| value.contains(name));
            named
                .then(|| env(name))
                .flatten()
                .filter(|value| !value.is_empty())
        };
        let chosen = of_variable("next_entry")
            .or_else(|| of_variable("saved_entry"))
            .or_else(|| {
                self.defaults
                    .iter()
                    .rfind(|value| !value.contains('$'))
                    .cloned()
            });
        let chosen = chosen.unwrap_or_else(|| "0".to_owned());
        // GRUB falls back to the first entry.
        let node = self.find(&chosen).or_else(|| self.children(None).next())?;
        Some(self.first_leaf(node))
    }

    fn children(&self, parent: Option<usize>) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(move |(_, node)| node.parent == parent)
            .map(|(index, _)| index)
    }

    /// Follows a path like `1>2`, `id>id` or a title.
    fn find(&self, path: &str) -> Option<usize> {
        let mut at = None;
        for step in path.split('>') {
            let is = |index: &usize| {
                let node = self.nodes.get(*index);
                node.is_some_and(|n| n.id.as_deref() == Some(step) || n.title == step)
            };
            at = Some(match step.parse::<usize>() {
                Ok(number) => self.children(at).nth(number)?,
                Err(_) => self.children(at).find(is)?,
            });
        }
        at
    }

    fn first_leaf(&self, node: usize) -> usize {
        let mut at = node;
        // A child always stands behind its parent, so this ends.
        while let Some(child) = self.children(Some(at)).next() {
            at = child;
        }
        at
    }
}

/// `(hd0,msdos1)/vmlinuz` and `($root)/vmlinuz` without the device.
fn without_device(path: &str) -> &str {
    match path.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((_, path)) => path,
        None => path,
    }
}

#[cfg(test)]
#[path = "grub2_tests.rs"]
mod tests;
