// SPDX-License-Identifier: Apache-2.0
//! What is remembered of an initramfs while its members pass by. Bounded: a hostile archive with
//! millions of members costs time, not memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

use super::complete::{self, Sort};
use super::cpio::{Damage, Entry, Reader};
use super::devices;
use crate::inspect::facts::InitramfsListing;
use crate::linux::modules;
use crate::linux::storage::lvm;

/// Most names of one sort that are remembered; a distribution's largest initramfs has some
/// thousand.
const MAX_NAMES: usize = 20_000;
/// Largest configuration file that is read.
const MAX_CONFIG: u32 = 64 << 10;
/// The same for LVM's, most of which is comments; as distributed it has some 100 KiB.
const MAX_LVM_CONFIG: u32 = 512 << 10;
/// Most bytes of configuration files together.
const MAX_CONFIGS: usize = 1 << 20;
/// Largest module index text that is read.
const MAX_INDEX: u32 = 4 << 20;
/// Most symlinks in one walk (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A directory or symlink, as the last archive that names it leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Dir,
    Link(String),
    Other,
}

/// What an initramfs holds, as the kernel will have unpacked it.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Places that a path to modules may lead through, by name without a leading slash.
    places: BTreeMap<String, Place>,
    /// Module files of this kernel by module name: path in the archive.
    pub modules: BTreeMap<String, String>,
    /// Module files that lie in one directory for all kernels (Red Hat's mkinitrd, booster), by
    /// module name: path in the archive.
    pub flat: BTreeMap<String, String>,
    /// Scripts that may load modules by a list of their own, by name.
    pub scripts: BTreeMap<String, Vec<u8>>,
    /// Module index texts and the names of all index files, by path in the archive.
    pub indexes: BTreeMap<String, Option<String>>,
    /// Configuration that names devices which will vanish, by file.
    pub configs: BTreeMap<String, Vec<u8>>,
    /// Members that by their own name wait for a device which will vanish.
    pub waits: BTreeMap<String, String>,
    /// Who made it.
    pub generator: Generator,
    /// A program that loads modules by alias is inside.
    pub loader: bool,
    /// What a new one in its place must hold too.
    pub listing: InitramfsListing,
    configs_size: usize,
}

/// Who made an initramfs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Generator {
    /// Debian's.
    InitramfsTools,
    /// dracut.
    Dracut,
    /// Red Hat's before dracut: loads its modules by a fixed list in `/init`.
    Nash,
    /// SUSE's before dracut.
    SuseMkinitrd,
    /// Arch's.
    Mkinitcpio,
    /// Alpine's.
    Mkinitfs,
    /// booster: its own program loads modules as its own configuration lists them.
    Booster,
    /// None of these.
    #[default]
    Unknown,
}

impl Generator {
    /// The word for it in facts.
    pub fn name(self) -> &'static str {
        match self {
            Self::InitramfsTools => "initramfs-tools",
            Self::Dracut => "dracut",
            Self::Nash => "mkinitrd",
            Self::SuseMkinitrd => "suse-mkinitrd",
            Self::Mkinitcpio => "mkinitcpio",
            Self::Mkinitfs => "mkinitfs",
            Self::Booster => "booster",
            Self::Unknown => "unknown",
        }
    }

    fn told_by(name: &str) -> Option<Self> {
        match name {
            "conf/initramfs.conf" | "scripts/functions" => Some(Self::InitramfsTools),
            "bin/nash" | "sbin/nash" => Some(Self::Nash),
            "run_all.sh" => Some(Self::SuseMkinitrd),
            "init_functions" | "usr/init_functions" | "buildconfig" => Some(Self::Mkinitcpio),
            "sbin/nlplug-findfs" | "usr/sbin/nlplug-findfs" => Some(Self::Mkinitfs),
            "etc/booster.init.yaml" => Some(Self::Booster),
            "lib/dracut" | "usr/lib/dracut" => Some(Self::Dracut),
            // Before its directory had a name of its own: dracut-004-409.el6
            _ if name.starts_with("dracut-0") => Some(Self::Dracut),
            _ if name.starts_with("usr/lib/dracut/") || name.starts_with("lib/dracut/") => {
                Some(Self::Dracut)
            }
            _ => None,
        }
    }
}

/// Where dracut lists the modules of its own that it used.
const DRACUT_MODULES: [&str; 2] = ["usr/lib/dracut/modules.txt", "lib/dracut/modules.txt"];

/// Scripts that may load modules by a list of their own: Red Hat's and SUSE's mkinitrd.
const SCRIPTS: [&str; 3] = ["init", "run_all.sh", "config/start.sh"];

const LOADERS: [&str; 12] = [
    "sbin/modprobe",
    "usr/sbin/modprobe",
    "bin/modprobe",
    "usr/bin/modprobe",
    "bin/kmod",
    "usr/bin/kmod",
    "sbin/kmod",
    "usr/sbin/kmod",
    "sbin/nlplug-findfs",
    "usr/sbin/nlplug-findfs",
    "lib/systemd/systemd-udevd",
    "usr/lib/systemd/systemd-udevd",
];

impl Contents {
    /// Takes one member in.
    ///
    /// # Errors
    /// [`Damage`] of the archive.
    pub fn take<R: BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<R>,
        version: &str,
    ) -> Result<(), Damage> {
        let Ok(name) = std::str::from_utf8(&entry.name) else {
            return Ok(());
        };
        let name = name.trim_start_matches("./").trim_matches('/');
        self.notice(name, entry);
        if entry.is_dir() {
            self.place(name, Place::Dir);
            return Ok(());
        }
        self.list(name, entry);
        if entry.is_link() {
            return self.take_link(name, entry, reader);
        }
        if self.places.contains_key(name) {
            self.place(name, Place::Other);
        }
        if entry.is_file() {
            self.take_file(name, reader, version)?;
        }
        Ok(())
    }

    fn notice(&mut self, name: &str, entry: &Entry) {
        if self.generator == Generator::Unknown {
            self.generator = Generator::told_by(name).unwrap_or_default();
        }
        self.loader |= LOADERS.contains(&name);
        if entry.is_file() && entry.size == 0 {
            self.waits.remove(name); // an empty file masks what an earlier archive waits for
        } else if let Some(device) = devices::in_member_name(name)
            && self.waits.len() < MAX_NAMES
        {
            self.waits.insert(name.to_owned(), device);
        }
    }

    fn list(&mut self, name: &str, entry: &Entry) {
        let listing = &mut self.listing;
        if listing.programs.len().saturating_add(listing.files.len()) >= MAX_NAMES {
            return;
        }
        match complete::sort(name) {
            Some(Sort::Program(program)) => drop(listing.programs.insert(program.to_owned())),
            // A table that names nothing is as good as none.
            Some(Sort::File(file)) if complete::FILES.contains(&file) && entry.size == 0 => {
                listing.files.remove(file);
            }
            Some(Sort::File(file)) => drop(listing.files.insert(file.to_owned())),
            None => {}
        }
    }

    fn place(&mut self, name: &str, place: Place) {
        if self.places.len() < MAX_NAMES || self.places.contains_key(name) {
            self.places.insert(name.to_owned(), place);
        }
    }

    fn take_link<R: BufRead>(
        &mut self,
        name: &str,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), Damage> {
        // Only a link that stands where a directory may stand matters.
        let leads_to_modules = ["lib", "usr"].iter().any(|top| {
            name.strip_prefix(top)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }) && name.split('/').count() <= 4;
        if !leads_to_modules || entry.size > 4096 {
            return Ok(());
        }
        if let Some(target) = reader.body(4096)? {
            let target = String::from_utf8_lossy(&target);
            self.place(name, Place::Link(target.trim_end_matches('\0').to_owned()));
        }
        Ok(())
    }

    fn take_file<R: BufRead>(
        &mut self,
        name: &str,
        reader: &mut Reader<R>,
        version: &str,
    ) -> Result<(), Damage> {
        if let Some(inside) = below_modules(name, version) {
            if let Some(module) = modules::name_of(inside) {
                if self.modules.len() < MAX_NAMES {
                    let listed = inside.to_owned();
                    self.listing.modules.insert(module.clone(), listed);
                    self.modules.insert(module, name.to_owned());
                }
            } else if inside.starts_with("modules.") && self.indexes.len() < 100 {
                let wanted = matches!(inside, "modules.dep" | "modules.alias" | "modules.softdep");
                let text = if wanted {
                    reader.body(MAX_INDEX)?
                } else {
                    None
                };
                let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
                self.indexes.insert(name.to_owned(), text);
            }
            return Ok(());
        }
        if let Some(module) = flat_module(name)
            && self.flat.len() < MAX_NAMES
        {
            self.flat.insert(module, name.to_owned());
            return Ok(());
        }
        if SCRIPTS.contains(&name) {
            let body = reader.body(MAX_CONFIG)?.unwrap_or_default();
            self.scripts.insert(name.to_owned(), body);
            return Ok(());
        }
        if DRACUT_MODULES.contains(&name) {
            let text = reader.body(MAX_CONFIG)?.unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let names = text.split_whitespace().take(1000).map(str::to_owned);
            self.listing.dracut.extend(names);
            return Ok(());
        }
        if devices::is_configuration(name)
            && let Some(body) = reader.body(MAX_CONFIG)?
        {
            let names = devices::in_file(name, &body);
            self.keep_config(name, body, !names.is_empty());
        } else if lvm::is_embedded(name)
            && let Some(body) = reader.body(MAX_LVM_CONFIG)?
        {
            let filters = lvm::embedded(name, &body).next().is_some();
            self.keep_config(name, body, filters);
        }
        Ok(())
    }

    /// Notes a configuration that says something, in the place of an earlier archive's.
    fn keep_config(&mut self, name: &str, body: Vec<u8>, says: bool) {
        self.configs.remove(name);
        let size = self.configs_size.saturating_add(body.len());
        if says && size <= MAX_CONFIGS {
            self.configs_size = size;
            self.configs.insert(name.to_owned(), body);
        }
    }

    /// Resolves a path through the archive's own directories and links. Where the path leaves
    /// what exists, the rest is kept as written. `None` for a loop or a path through a file.
    pub fn resolve(&self, path: &str) -> Option<String> {
        let mut todo: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut at: Vec<String> = Vec::new();
        let mut links = 0_usize;
        while let Some(part) = todo.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    at.pop();
                    continue;
                }
                _ => at.push(part),
            }
            match self.places.get(&at.join("/")) {
                Some(Place::Link(target)) => {
                    links = links.saturating_add(1);
                    if links > MAX_LINKS {
                        return None;
                    }
                    at.pop();
                    if target.starts_with('/') {
                        at.clear();
                    }
                    todo.extend(target.split('/').rev().map(str::to_owned));
                }
                Some(Place::Other) => return None,
                Some(Place::Dir) | None => {}
            }
        }
        Some(at.join("/"))
    }

    /// True when the (resolved) path is a directory of the archive.
    pub fn has_dir(&self, path: &str) -> bool {
        self.places.get(path) == Some(&Place::Dir)
    }

    /// The real directory of this kernel's modules; where there is none yet, the place at which
    /// modprobe will look for it. `None` when no such place can be.
    pub fn modules_dir(&self, version: &str) -> Option<String> {
        let usual = self.resolve(&format!("lib/modules/{version}"))?;
        let merged = self.resolve(&format!("usr/lib/modules/{version}"))?;
        let holds = |dir: &str| {
            self.modules.values().any(|path| {
                path.strip_prefix(dir)
                    .is_some_and(|rest| rest.starts_with('/'))
            })
        };
        if !holds(&usual) && (holds(&merged) || (self.has_dir(&merged) && !self.has_dir(&usual))) {
            return Some(merged);
        }
        Some(usual)
    }

    /// The module files by name, their paths relative to `dir`, those elsewhere left out.
    pub fn modules_below(&self, dir: &str) -> BTreeMap<String, String> {
        self.modules
            .iter()
            .filter_map(|(name, path)| {
                let rest = path.strip_prefix(dir)?.strip_prefix('/')?;
                Some((name.clone(), rest.to_owned()))
            })
            .collect()
    }

    /// The modules below `dir` that modprobe would find: those that the archive's index names,
    /// all where it has no index text.
    pub fn usable(&self, dir: &str) -> BTreeMap<String, String> {
        let index = self.index_text(dir, "modules.dep").map(modules::parse_dep);
        let mut found = self.modules_below(dir);
        if let Some(index) = index {
            found.retain(|name, _| index.contains_key(name));
        }
        found
    }

    /// Names of the modules below `dir`, or in the generator's own place, that will be loaded when
    /// they are wanted.
    pub fn loadable(&self, dir: &str) -> BTreeSet<String> {
        match self.generator {
            Generator::Nash => super::fixed_list::loaded_by_nash(self),
            Generator::Booster => self.flat.keys().cloned().collect(),
            _ => self.usable(dir).into_keys().collect(),
        }
    }

    /// A module index's text.
    pub fn index_text(&self, dir: &str, name: &str) -> Option<&str> {
        self.indexes.get(&format!("{dir}/{name}"))?.as_deref()
    }

    /// The module names.
    pub fn module_names(&self) -> BTreeSet<String> {
        let both = self.modules.keys().chain(self.flat.keys());
        both.cloned().collect()
    }
}

/// The module whose file lies directly in the directory of libraries or of modules.
fn flat_module(name: &str) -> Option<String> {
    let (dir, file) = name.rsplit_once('/')?;
    let flat = matches!(dir, "lib" | "usr/lib/modules" | "lib/modules");
    modules::name_of(file).filter(|_| flat)
}

/// The path below this kernel's module directory, wherever the archive keeps it.
fn below_modules<'a>(name: &'a str, version: &str) -> Option<&'a str> {
    let rest = name
        .strip_prefix("usr/lib/modules/")
        .or_else(|| name.strip_prefix("lib/modules/"))?;
    rest.strip_prefix(version)?.strip_prefix('/')
}
