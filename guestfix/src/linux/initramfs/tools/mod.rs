// SPDX-License-Identifier: Apache-2.0
//! The programs that make a guest's initramfs: how each is recognised, what its configuration must
//! hold so that the guest's own next run keeps the drivers, and how it is called in the sandbox.

use crate::inspect::Facts;
use crate::inspect::facts::{Concern, InitramfsFacts, KernelFacts};

pub mod booster;
pub mod dracut;
pub mod initramfs_tools;
pub mod mkinitcpio;
pub mod mkinitfs;
pub mod red_hat;
pub mod suse;

/// One generator.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// As facts name it.
    pub name: &'static str,
    /// Where its program may be, likeliest first.
    pub programs: &'static [&'static str],
    /// Files and directories of its configuration: gathered whole, directories with their files.
    pub configuration: &'static [&'static str],
    /// Paths of which only the presence is of interest.
    pub marks: &'static [&'static str],
    /// True where the guest's next kernel gets its initramfs from it.
    pub is_used: fn(&Facts) -> bool,
    /// Files as they must be so that it keeps these drivers.
    pub keep: fn(&Facts, &[&str]) -> Keep,
    /// Its command line and the files that come with it.
    pub rebuild: fn(&Order<'_>) -> Call,
}

/// Every generator, likeliest first.
pub const TOOLS: [Tool; 7] = [
    initramfs_tools::TOOL,
    dracut::TOOL,
    mkinitcpio::TOOL,
    booster::TOOL,
    mkinitfs::TOOL,
    suse::TOOL,
    red_hat::TOOL,
];

/// What a generator's configuration must become.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    /// Paths and whole contents, also of those that already are so.
    pub files: Vec<(String, Vec<u8>)>,
    /// What could not be edited.
    pub concerns: Vec<Concern>,
}

impl Keep {
    /// One file.
    pub fn file(path: &str, content: impl Into<Vec<u8>>) -> Self {
        Self {
            files: vec![(path.to_owned(), content.into())],
            concerns: Vec::new(),
        }
    }

    /// A file that is not written in a way that can be edited.
    pub fn by_hand(path: &str, what: &str) -> Self {
        Self {
            files: Vec::new(),
            concerns: vec![Concern::warning(
                "edit-by-hand",
                format!("{path} is written in a way guestfix does not edit; {what}"),
            )],
        }
    }
}

/// An order for a new initramfs.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The guest.
    pub facts: &'a Facts,
    /// The kernel.
    pub kernel: &'a KernelFacts,
    /// The initramfs of now.
    pub initramfs: &'a InitramfsFacts,
    /// The generator's program.
    pub program: &'a str,
    /// Modules that must go in.
    pub drivers: &'a [&'a str],
    /// Where the new image goes.
    pub product: &'a str,
}

/// A command line, and the files that its program finds in [`crate::plan::SCRATCH`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Names and texts.
    pub scratch: Vec<(String, String)>,
}

impl Call {
    /// A command line alone.
    pub fn new(argv: &[&str]) -> Self {
        Self {
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            scratch: Vec::new(),
        }
    }

    /// A script of ours, run by the guest's shell.
    pub fn script(shell: &str, name: &str, text: &str, args: &[&str]) -> Self {
        let path = format!("{}/{name}", crate::plan::SCRATCH);
        let mut argv = vec![shell.to_owned(), path];
        argv.extend(args.iter().map(|arg| (*arg).to_owned()));
        Self {
            argv,
            scratch: vec![(name.to_owned(), text.to_owned())],
        }
    }
}

/// The generators that this guest uses.
pub fn used(facts: &Facts) -> impl Iterator<Item = &'static Tool> {
    const ALL: &[Tool] = &TOOLS;
    ALL.iter().filter(|tool| (tool.is_used)(facts))
}

impl Tool {
    /// Its program in this guest.
    pub fn program(&self, facts: &Facts) -> Option<&'static str> {
        let mut programs = self.programs.iter();
        programs.find(|path| facts.sources.has(path)).copied()
    }
}

/// Names that a text gives, comments left out, one a line.
pub fn listed(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split('#').next()?.split_whitespace().next())
        .map(|name| name.replace('-', "_"))
        .collect()
}

/// Which of the drivers are not among those names.
pub fn lacking<'a>(drivers: &[&'a str], have: &[String]) -> Vec<&'a str> {
    let is_there = |name: &&&str| have.iter().any(|have| have.replace('-', "_") == **name);
    let lacking = drivers.iter().filter(|name| !is_there(name));
    lacking.copied().collect()
}

/// Facts of a guest with these files, for the tests of every generator.
#[cfg(test)]
pub(super) fn facts_with(files: &[(&str, &str)]) -> Facts {
    let mut fs = crate::fs::MemoryFs::new();
    for (path, text) in files {
        fs = fs.file(path, *text);
    }
    let mut facts = crate::linux::fixture::facts();
    let tree = crate::fs::Tree::new(Box::new(fs));
    crate::linux::kernel::gather(&tree, &mut facts).unwrap();
    facts
}

/// The text that a generator's configuration becomes, and that a second run changes nothing.
#[cfg(test)]
pub(super) fn kept(tool: &Tool, files: &[(&str, &str)], path: &str) -> String {
    let facts = facts_with(files);
    assert!((tool.is_used)(&facts), "{} is not used", tool.name);
    let drivers = ["virtio_pci", "virtio_blk"];
    let keep = (tool.keep)(&facts, &drivers);
    assert_eq!(keep.concerns, []);
    let (_, content) = keep.files.iter().find(|(at, _)| at == path).unwrap();
    let text = String::from_utf8(content.clone()).unwrap();
    let mut after: Vec<(&str, &str)> = files
        .iter()
        .filter(|(at, _)| *at != path)
        .copied()
        .collect();
    after.push((path, &text));
    let again = (tool.keep)(&facts_with(&after), &drivers);
    let (_, content) = again.files.iter().find(|(at, _)| at == path).unwrap();
    assert_eq!(
        String::from_utf8_lossy(content),
        text,
        "a second run changes something"
    );
    text
}
