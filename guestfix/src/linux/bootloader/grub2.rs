// SPDX-License-Identifier: Apache-2.0
//! GRUB 2's menu: which kernels it starts with which arguments, which entry is the default, and
//! edits of single arguments. The rest of `grub.cfg` survives byte for byte.

use std::ops::Range;

use super::cmdline::{self, Run};
use super::script::{self, Step, Word};
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::linux::devices;
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
    /// Where each of these stands; `None` where it cannot be replaced.
    pub default_at: Vec<Option<Range<usize>>>,
    /// Arguments kept in `kernelopts` and `default_kernelopts`: the variable, and where its value
    /// stands.
    pub options: Vec<(String, Range<usize>)>,
    /// Further variables, and where their values stand; `None` where they cannot be replaced.
    pub variables: Vec<(String, String, Option<Range<usize>>)>,
}

/// More variables than these are not remembered.
const MAX_VARIABLES: usize = 1000;

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
            Step::Command(words) => menu.command(bytes, words, inside),
        }
    }
    Ok(menu)
}

/// The edited menu and what is to be said about it; `edits` are made besides.
///
/// # Errors
/// As [`parse`].
pub fn edit(
    facts: &Facts,
    path: &str,
    bytes: &[u8],
    mut edits: Edits,
) -> Result<(Vec<u8>, Vec<Concern>)> {
    let menu = parse(bytes)?;
    let mut concerns = Vec::new();
    for linux in menu.linux.iter().filter(|linux| linux.is_kernel()) {
        // Arguments kept in a variable bring their own console.
        let elsewhere = linux
            .args
            .iter()
            .any(|arg| arg.text.starts_with("$kernelopts"));
        let run = Run {
            file: path,
            bytes,
            args: &linux.args,
            initramfs: !linux.initrd.is_empty(),
            end: (!elsewhere).then_some(linux.end),
        };
        run.edit(facts, &mut edits, &mut concerns);
    }
    for (_, at) in &menu.options {
        let args = cmdline::words_in(bytes, at.clone());
        let run = Run {
            file: path,
            bytes,
            args: &args,
            initramfs: true,
            end: args.last().map(|arg| arg.at.end),
        };
        run.edit(facts, &mut edits, &mut concerns);
    }
    // Photon keeps the root's device in a variable.
    for (name, value, at) in &menu.variables {
        let at = at.as_ref().filter(|_| devices::is_unstable(value));
        let args = at.map(|at| Word {
            text: format!("root={value}"),
            at: at.clone(),
        });
        let used = format!("root=${name}");
        let mut linux = menu.linux.iter().flat_map(|linux| &linux.args);
        if args.is_some() && linux.any(|arg| arg.text == used) {
            let run = Run {
                file: path,
                bytes,
                args: args.as_slice(),
                initramfs: true,
                end: None,
            };
            run.edit(facts, &mut edits, &mut concerns);
        }
    }
    Ok((edits.apply(bytes), concerns))
}

/// A text with `$name` and `${name}` replaced, once, by what `value` knows.
pub fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut parts = text.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let braced = part.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = part.find(|c| !plain(c)).unwrap_or(part.len());
        let (name, rest) = braced
            .or_else(|| part.split_at_checked(end))
            .unwrap_or(("", part));
        match value(name).filter(|_| !name.is_empty()) {
            Some(value) => out.extend([value.as_str(), rest]),
            None => out.extend(["$", part]),
        }
    }
    out
}

/// Where the value of a `name=value` word stands, quotes around it left out; `None` where it is
/// made of several parts or holds backslashes.
fn value_at(bytes: &[u8], word: &Word) -> Option<Range<usize>> {
    let raw = bytes.get(word.at.clone())?;
    let from = raw.iter().position(|byte| *byte == b'=')?.checked_add(1)?;
    let value = raw.get(from..)?;
    let start = word.at.start.checked_add(from)?;
    let (inner, start) = match value {
        [quote @ (b'"' | b'\''), inner @ .., end] if quote == end => (inner, start.checked_add(1)?),
        plain => (plain, start),
    };
    let odd = inner
        .iter()
        .any(|byte| matches!(byte, b'"' | b'\'' | b'\\'));
    (!odd).then_some(start..start.checked_add(inner.len())?)
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

    fn command(&mut self, bytes: &[u8], words: Vec<Word>, node: Option<usize>) {
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
            "set" => words.for_each(|word| self.assign(bytes, &word)),
            "blscfg" => self.bls = true,
            _ => {}
        }
    }

    fn assign(&mut self, bytes: &[u8], word: &Word) {
        let Some((name, value)) = word.text.split_once('=') else {
            return;
        };
        match name {
            "default" => {
                self.defaults.push(value.to_owned());
                self.default_at.push(value_at(bytes, word));
            }
            "kernelopts" | "default_kernelopts" if !value.is_empty() => {
                let at = value_at(bytes, word);
                self.options.extend(at.map(|at| (name.to_owned(), at)));
            }
            _ if self.variables.len() < MAX_VARIABLES => {
                let at = value_at(bytes, word);
                self.variables.push((name.to_owned(), value.to_owned(), at));
            }
            _ => {}
        }
    }

    /// Where the number or name stands that chooses the entry; `None` where it cannot be replaced.
    pub fn fixed_default(&self) -> Option<Range<usize>> {
        let mut values = self.defaults.iter().zip(&self.default_at).rev();
        let (_, at) = values.find(|(value, _)| !value.contains('$'))?;
        at.clone()
    }

    /// True when the entry is chosen by what the environment block remembers.
    pub fn is_saved(&self) -> bool {
        self.defaults
            .iter()
            .any(|value| value.contains("saved_entry"))
    }

    /// What chooses the entry that starts by itself: a number, an id, a title, or a path of these.
    /// `env` answers for the variables of grubenv.
    pub fn choice(&self, env: impl Fn(&str) -> Option<String>) -> String {
        let of_variable = |name: &str| {
            let named = self.defaults.iter().any(|value| value.contains(name));
            named
                .then(|| env(name))
                .flatten()
                .filter(|value| !value.is_empty())
        };
        let fixed = || self.defaults.iter().rfind(|value| !value.contains('$'));
        of_variable("next_entry")
            .or_else(|| of_variable("saved_entry"))
            .or_else(|| fixed().cloned())
            .unwrap_or_else(|| "0".to_owned())
    }

    /// What names an entry in such a choice, submenus before it; ids where there are some.
    pub fn path_to(&self, node: usize) -> String {
        let mut at = Some(node);
        let mut parts = Vec::new();
        // A parent always stands before its child, so this ends.
        while let Some(node) = at.and_then(|at| self.nodes.get(at)) {
            parts.push(node.id.clone().unwrap_or_else(|| node.title.clone()));
            at = node.parent;
        }
        parts.reverse();
        parts.join(">")
    }

    /// Index of the entry that starts by itself. `env` answers for the variables of grubenv.
    pub fn default_node(&self, env: impl Fn(&str) -> Option<String>) -> Option<usize> {
        let chosen = self.choice(env);
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
    pub fn find(&self, path: &str) -> Option<usize> {
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
