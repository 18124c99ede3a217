// SPDX-License-Identifier: Apache-2.0
//! What every loader's menu comes down to: entries that start kernels, and the one that starts by
//! itself.

use super::{bls, extlinux, grub2, legacy, systemd_boot};
use super::{environment, named};
use crate::fs::GuestPath;
use crate::inspect::Facts;
use crate::inspect::efi::LoaderRole;
use crate::inspect::facts::{Firmware, Sources};

/// Partitions on which systemd-boot looks for entries, by where guests mount them.
pub const BASES: [&str; 3] = ["/boot", "/boot/efi", "/efi"];
/// Files of variables that Photon's menu loads: kernel, initramfs and arguments of the moment.
pub const LOADED: [&str; 2] = ["/boot/photon.cfg", "/boot/systemd.cfg"];
/// Where GRUB legacy remembers an entry (`default saved`).
pub const LEGACY_SAVED: &str = "/boot/grub/default";

/// A boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loader {
    /// GRUB 2.
    Grub2,
    /// GRUB 0.9x.
    GrubLegacy,
    /// SYSLINUX, EXTLINUX, and what reads their configuration.
    Extlinux,
    /// systemd-boot.
    SystemdBoot,
}

/// One entry that starts a kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// What names it as the default one, in its loader's way.
    pub id: String,
    /// The kernel image as the loader sees it.
    pub image: String,
    /// The initramfs images as the loader sees them.
    pub initrd: Vec<String>,
    /// The kernel's arguments, variables resolved where they are known.
    pub args: Vec<String>,
    /// Image, initramfs and arguments are one signed or signable file.
    pub unified: bool,
}

/// One loader's entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    /// Whose it is.
    pub loader: Loader,
    /// Its main file.
    pub file: String,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Index of the one that starts by itself, where that is known.
    pub default: Option<usize>,
}

/// Every menu of the guest, that of the loader which firmware starts first.
pub fn menus(facts: &Facts) -> Vec<Menu> {
    let sources = &facts.sources;
    let mut out: Vec<Menu> = named(sources, &["/grub.cfg", "/custom.cfg"])
        .filter_map(|(path, bytes)| {
            Some(of_grub2(sources, path, &grub2::parse(bytes).ok()?, bytes))
        })
        .collect();
    let old = named(sources, &["/menu.lst", "/grub.conf"]);
    out.extend(old.map(|(path, bytes)| of_legacy(sources, path, &legacy::parse(bytes))));
    out.extend(
        extlinux::DIRS
            .iter()
            .filter_map(|dir| of_extlinux(sources, dir)),
    );
    out.extend(of_systemd_boot(facts));
    out.retain(|menu| !menu.entries.is_empty());
    let first = first_loader(facts);
    out.sort_by_key(|menu| Some(menu.loader) != first);
    out
}

/// The loader that UEFI firmware starts, where that can be told.
fn first_loader(facts: &Facts) -> Option<Loader> {
    let efi = facts
        .efi
        .as_ref()
        .filter(|_| facts.firmware == Firmware::Efi)?;
    let has = |wanted: &dyn Fn(LoaderRole) -> bool, only: &str| {
        let mut loaders = efi.loaders.iter();
        loaders.any(|l| wanted(l.role) && l.path.to_ascii_lowercase().contains(only))
    };
    let grub = |role| matches!(role, LoaderRole::Shim | LoaderRole::Grub);
    let systemd = |role| role == LoaderRole::SystemdBoot;
    match (
        has(&systemd, "/efi/boot/"),
        has(&systemd, ""),
        has(&grub, ""),
    ) {
        (true, ..) | (_, true, false) => Some(Loader::SystemdBoot),
        (_, _, true) => Some(Loader::Grub2),
        _ => None,
    }
}

fn of_grub2(sources: &Sources, path: &str, menu: &grub2::Menu, bytes: &[u8]) -> Menu {
    let env = |name: &str| environment(sources, path, name);
    let choice = menu.choice(env);
    let options = |name: &str| {
        let kept = menu.options.iter().rfind(|(have, _)| have == name);
        let text = kept.and_then(|(_, at)| bytes.get(at.clone()));
        text.map(|text| String::from_utf8_lossy(text).into_owned())
    };
    let variable = |name: &str| {
        let set = menu.variables.iter().rfind(|(have, ..)| have == name);
        let set = set.map(|(_, value, _)| value.clone());
        env(name)
            .or_else(|| options(name))
            .or(set)
            .or_else(|| of_files(sources, name))
    };
    let mut entries = Vec::new();
    if menu.bls {
        let mut all = fragments(sources, &["/boot"]);
        all.sort_by(|(_, one), (_, other)| bls::grub_order(one, other));
        entries.extend(all.into_iter().map(|(file, fragment)| {
            let mut entry = of_fragment(sources, file, &fragment);
            if fragment.options.is_empty() {
                entry.args = words(&options("default_kernelopts").unwrap_or_default());
            }
            entry.expand(&variable);
            entry
        }));
    }
    let by_file = entries.len();
    // Entries by file stand before those of the menu: the scripts of both families write them so.
    let chosen = entries
        .iter()
        .position(|entry| entry.id == choice)
        .or_else(|| choice.parse().ok().filter(|index| *index < by_file));
    let node = menu.default_node(env);
    let known = menu.find(&choice).is_some();
    let mut default = chosen.or((by_file > 0 && !known).then_some(0));
    let kernels = menu.linux.iter().filter(|linux| linux.is_kernel());
    for (index, linux) in (by_file..).zip(kernels) {
        if default.is_none() && linux.node == node {
            default = Some(index);
        }
        let mut entry = Entry {
            id: linux
                .node
                .map_or_else(String::new, |node| menu.path_to(node)),
            image: linux.image.clone(),
            initrd: linux.initrd.clone(),
            args: linux.args.iter().map(|arg| arg.text.clone()).collect(),
            unified: false,
        };
        entry.expand(&variable);
        entries.push(entry);
    }
    Menu {
        loader: Loader::Grub2,
        file: path.to_owned(),
        entries,
        // custom.cfg is a part of grub.cfg and chooses nothing.
        default: default.filter(|_| path.ends_with("/grub.cfg")),
    }
}

impl Entry {
    fn expand(&mut self, value: &dyn Fn(&str) -> Option<String>) {
        let one = |text: &String| match text.contains('$') {
            true => grub2::expand(text, value),
            false => text.clone(),
        };
        self.image = one(&self.image);
        self.initrd = self.initrd.iter().map(one).collect();
        // A variable may hold several arguments.
        self.args = self
            .args
            .iter()
            .flat_map(|arg| match arg.contains('$') {
                true => words(&one(arg)),
                false => vec![arg.clone()],
            })
            .collect();
    }

    /// The initramfs of the kernel: early microcode stands before it in a file of its own.
    pub fn initramfs(&self) -> impl Iterator<Item = &String> {
        let early = |path: &&String| {
            let name = path.rsplit('/').next().unwrap_or_default();
            name.contains("ucode") || name.contains("microcode") || path.starts_with('$')
        };
        self.initrd.iter().rev().filter(move |path| !early(path))
    }
}

/// A variable of the files that Photon's menu loads besides (`load_env -f`).
fn of_files(sources: &Sources, name: &str) -> Option<String> {
    LOADED.iter().find_map(|path| {
        let text = sources.text(path)?;
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        let (_, value) = lines.find(|(have, _)| *have == name)?;
        Some(value.trim_end().to_owned())
    })
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Entry files below these partitions, with their paths.
fn fragments<'a>(sources: &'a Sources, bases: &[&str]) -> Vec<(&'a str, bls::Fragment)> {
    let below = |path: &str| {
        bases.iter().any(|base| {
            let dir = format!("{base}/{}/", bls::DIR);
            path.strip_prefix(&dir)
                .is_some_and(|name| !name.contains('/'))
        })
    };
    let mut seen = std::collections::BTreeSet::new();
    let files = sources.files.iter().filter(|(path, _)| below(path));
    files
        .filter(|(_, file)| seen.insert(&file.real))
        .filter_map(|(path, file)| {
            let name = path.rsplit('/').next()?;
            Some((path.as_str(), bls::parse(name, &file.content)?))
        })
        .collect()
}

fn of_fragment(sources: &Sources, file: &str, fragment: &bls::Fragment) -> Entry {
    let bytes = sources.bytes(file).unwrap_or_default();
    let text = |at: &std::ops::Range<usize>| {
        String::from_utf8_lossy(bytes.get(at.clone()).unwrap_or_default()).into_owned()
    };
    Entry {
        id: fragment.id().to_owned(),
        image: fragment.image.clone(),
        initrd: fragment.initrd.clone(),
        args: fragment
            .options
            .iter()
            .flat_map(|at| words(&text(at)))
            .collect(),
        unified: false,
    }
}

fn of_legacy(sources: &Sources, path: &str, menu: &legacy::Menu) -> Menu {
    let saved = || {
        let text = sources.text(LEGACY_SAVED)?;
        text.split_whitespace().next().map(str::to_owned)
    };
    let default = menu.default.clone().map(|(value, _)| value);
    let default = match default.as_deref() {
        Some("saved") => saved(),
        _ => default,
    };
    let default: usize = default.and_then(|text| text.parse().ok()).unwrap_or(0);
    let kernels = menu.entries.iter().enumerate();
    let kernels: Vec<_> = kernels.filter(|(_, entry)| entry.is_kernel()).collect();
    Menu {
        loader: Loader::GrubLegacy,
        file: path.to_owned(),
        default: kernels.iter().position(|(index, _)| *index == default),
        entries: kernels
            .into_iter()
            .map(|(index, entry)| Entry {
                id: index.to_string(),
                image: entry.image.clone(),
                initrd: entry.initrd.clone(),
                args: entry.args.iter().map(|arg| arg.text.clone()).collect(),
                unified: false,
            })
            .collect(),
    }
}

/// The configuration files of one directory: the main file first, it includes the others.
fn of_extlinux(sources: &Sources, dir: &str) -> Option<Menu> {
    let mut files: Vec<&str> = extlinux_files(sources, dir).collect();
    files.sort_by_key(|path| path.ends_with(".cfg") && !path.ends_with("/syslinux.cfg"));
    let configs = files
        .iter()
        .filter_map(|path| sources.bytes(path))
        .map(extlinux::parse);
    let configs: Vec<extlinux::Config> = configs.collect();
    let default = configs.iter().find_map(|config| config.default.clone());
    let marked = |name: &str| default.as_ref().is_some_and(|(label, _)| label == name);
    let labels = configs.iter().flat_map(|config| &config.labels);
    let entries: Vec<Entry> = labels
        .filter(|label| label.is_kernel())
        .map(|label| Entry {
            id: label.name.clone(),
            image: label.image.clone(),
            initrd: label.initrd.clone(),
            args: label.args.iter().map(|arg| arg.text.clone()).collect(),
            unified: false,
        })
        .collect();
    // `DEFAULT menu.c32` shows a menu, whose marked or first entry starts.
    let in_menu = || configs.iter().flat_map(|c| &c.labels).find(|l| l.marked);
    let found = entries
        .iter()
        .position(|entry| marked(&entry.id))
        .or_else(|| {
            let label = in_menu()?;
            entries.iter().position(|entry| entry.id == label.name)
        });
    Some(Menu {
        loader: Loader::Extlinux,
        file: (*files.first()?).to_owned(),
        default: found.or((!entries.is_empty()).then_some(0)),
        entries,
    })
}

/// The gathered configuration files of one directory.
pub(super) fn extlinux_files<'a>(
    sources: &'a Sources,
    dir: &'a str,
) -> impl Iterator<Item = &'a str> {
    let names = sources.files.keys().filter_map(move |path| {
        let name = path.strip_prefix(dir)?.strip_prefix('/')?;
        (!name.contains('/') && extlinux::is_config(dir, name)).then_some(path.as_str())
    });
    names.filter(|path| !path.ends_with("/grub.cfg") && !path.ends_with("/custom.cfg"))
}

fn of_systemd_boot(facts: &Facts) -> Option<Menu> {
    let efi = facts
        .efi
        .as_ref()
        .filter(|_| facts.firmware == Firmware::Efi)?;
    let sources = &facts.sources;
    let mut all: Vec<(bls::Fragment, Entry)> = fragments(sources, &BASES)
        .into_iter()
        .map(|(file, fragment)| {
            let entry = of_fragment(sources, file, &fragment);
            (fragment, entry)
        })
        .collect();
    all.extend(efi.unified_kernels.iter().map(|kernel| {
        let name = kernel
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let fragment = bls::Fragment {
            name: name.clone(),
            version: kernel.version.clone(),
            sort_key: kernel.os.clone(),
            ..bls::Fragment::default()
        };
        let entry = Entry {
            id: name,
            image: kernel.path.clone(),
            initrd: vec![kernel.path.clone()],
            args: words(&kernel.cmdline),
            unified: true,
        };
        (fragment, entry)
    }));
    all.sort_by(|(one, _), (other, _)| bls::systemd_order(one, other));
    let entries: Vec<Entry> = all.into_iter().map(|(_, entry)| entry).collect();
    let file = loader_conf(sources).unwrap_or_default();
    let pattern = sources.bytes(&file).and_then(systemd_boot::parse);
    let names: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    let default = systemd_boot::default_of(pattern.as_ref().map(|(p, _)| p.as_str()), &names);
    Some(Menu {
        loader: Loader::SystemdBoot,
        file,
        default,
        entries,
    })
}

/// The gathered `loader.conf`.
fn loader_conf(sources: &Sources) -> Option<String> {
    let mut paths = BASES
        .iter()
        .map(|base| format!("{base}/{}", systemd_boot::PATH));
    paths.find(|path| sources.files.contains_key(path))
}

/// Where a path of a menu may lie in the guest's tree, likeliest first. Loaders' paths begin at the
/// filesystem that holds the file, so `/boot` may be missing before them, and a subvolume may
/// stand before `/boot`.
pub fn places(facts: &Facts, menu: &Menu, path: &str) -> Vec<String> {
    let dir = menu.file.rsplit_once('/').map_or("", |(dir, _)| dir);
    if !path.starts_with('/') {
        return vec![format!("{dir}/{path}")];
    }
    let file = GuestPath::new(&menu.file);
    let holds = |at: &&str| file.below(&GuestPath::new(at)).is_some();
    let mounts = facts.mounts.iter().map(|mount| mount.at.as_str());
    let base = mounts
        .filter(holds)
        .max_by_key(|at| at.len())
        .unwrap_or_default();
    let mut out = vec![format!("{}{path}", base.trim_end_matches('/'))];
    if menu.loader == Loader::SystemdBoot {
        out.extend(BASES.map(|base| format!("{base}{path}")));
    }
    out.extend([path.to_owned(), format!("/boot{path}")]);
    let inside = path.find("/boot/").and_then(|at| path.get(at..));
    out.extend(inside.map(str::to_owned));
    out.extend(facts.efi.as_ref().map(|efi| format!("{}{path}", efi.at)));
    out
}

/// Index of the gathered kernel that an entry starts; of several that share an image, the one with
/// the entry's initramfs.
pub fn kernel(facts: &Facts, menu: &Menu, entry: &Entry) -> Option<usize> {
    let all = || facts.kernels.iter().enumerate();
    let image = found(facts, menu, &entry.image, &|path| {
        all().any(|(_, kernel)| kernel.image == path)
    })?;
    let mut same = all().filter(|(_, kernel)| kernel.image == image).peekable();
    let first = same.peek().map(|(index, _)| *index);
    let inside = |path: &String| {
        found(facts, menu, path, &|path| {
            let initramfs = all().filter_map(|(_, kernel)| kernel.initramfs.as_ref());
            initramfs
                .into_iter()
                .any(|initramfs| initramfs.path == path)
        })
    };
    let initramfs = entry.initramfs().find_map(inside);
    let exact = same.find(|(_, kernel)| {
        let have = kernel.initramfs.as_ref().map(|initramfs| &initramfs.path);
        have == initramfs.as_ref()
    });
    exact.map(|(index, _)| index).or(first)
}

/// A path of a menu in the guest's tree, where `is` knows it; links followed as gathered.
fn found(facts: &Facts, menu: &Menu, path: &str, is: &dyn Fn(&str) -> bool) -> Option<String> {
    places(facts, menu, path).into_iter().find_map(|path| {
        if is(&path) {
            return Some(path);
        }
        let target = facts.sources.links.get(&path)?;
        let real = match target.starts_with('/') {
            true => GuestPath::new(target),
            false => GuestPath::new(&path).parent()?.join(target),
        };
        Some(real.display()).filter(|path| is(path))
    })
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
