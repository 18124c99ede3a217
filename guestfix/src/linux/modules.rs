// SPDX-License-Identifier: Apache-2.0
//! A kernel's modules as its index texts tell them: `modules.dep`, `modules.alias`,
//! `modules.softdep` and `modules.builtin` (modules.dep(5), depmod(8)).
#![deny(clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};

/// A module's file and those of everything it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Module {
    /// Its file, relative to the kernel's module directory.
    pub path: String,
    /// Files of what it needs, in `modules.dep`'s order (what must be loaded first comes last).
    pub needs: Vec<String>,
}

/// The modules of one kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modules {
    /// Module files by module name.
    pub files: BTreeMap<String, Module>,
    /// Names of what is linked into the kernel.
    pub builtin: BTreeSet<String>,
    /// `modules.alias`: lines `alias PATTERN MODULE` as pairs, in order.
    pub aliases: Vec<(String, String)>,
    /// `modules.softdep`: whole lines by module name.
    pub softdeps: BTreeMap<String, Vec<String>>,
}

/// The suffixes of module files; all but the first are compressed.
pub const SUFFIXES: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// A module's name from its file: no directory, no suffix, `-` written as `_`.
pub fn name_of(file: &str) -> Option<String> {
    let base = file.rsplit('/').next()?;
    let stem = SUFFIXES.iter().find_map(|end| base.strip_suffix(end))?;
    (!stem.is_empty()).then(|| stem.replace('-', "_"))
}

/// A module file's path without its compression suffix.
pub fn plain_path(file: &str) -> String {
    let cut = SUFFIXES.iter().find_map(|end| file.strip_suffix(end));
    cut.map_or_else(|| file.to_owned(), |stem| format!("{stem}.ko"))
}

/// Parses `modules.dep`. Paths that old depmods wrote absolute are cut to relative ones.
pub fn parse_dep(text: &str) -> BTreeMap<String, Module> {
    text.lines()
        .filter_map(|line| {
            let (path, needs) = line.split_once(':')?;
            let module = Module {
                path: relative(path).to_owned(),
                needs: needs
                    .split_ascii_whitespace()
                    .map(|need| relative(need).to_owned())
                    .collect(),
            };
            Some((name_of(&module.path)?, module))
        })
        .collect()
}

fn relative(path: &str) -> &str {
    let path = path.trim();
    path.split_once("/lib/modules/")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or(path, |(_, rest)| rest)
}

/// Parses `modules.alias`.
pub fn parse_alias(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("alias"), Some(alias), Some(module)) => {
                    Some((alias.to_owned(), module.replace('-', "_")))
                }
                _ => None,
            }
        })
        .collect()
}

/// Parses `modules.softdep` into lines by module name.
pub fn parse_softdep(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if let (Some("softdep"), Some(module)) = (words.next(), words.next()) {
            out.entry(module.replace('-', "_"))
                .or_default()
                .push(line.to_owned());
        }
    }
    out
}

/// Parses `modules.builtin` into module names.
pub fn parse_builtin(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| name_of(line.trim()))
        .collect()
}

impl Modules {
    /// Parses the four texts.
    pub fn parse(dep: &str, alias: &str, softdep: &str, builtin: &str) -> Self {
        Self {
            files: parse_dep(dep),
            builtin: parse_builtin(builtin),
            aliases: parse_alias(alias),
            softdeps: parse_softdep(softdep),
        }
    }

    /// The module and everything that must be loaded before it, by name: what it needs first.
    /// Modules that are wanted softly beforehand (`pre:`) are among them where they exist. A name
    /// that is no module file stands alone.
    pub fn closure(&self, name: &str) -> Vec<String> {
        self.walk(name, true)
    }

    /// The same without the modules that are wanted softly: what it cannot be loaded without.
    pub fn needed(&self, name: &str) -> Vec<String> {
        self.walk(name, false)
    }

    fn walk(&self, name: &str, softly: bool) -> Vec<String> {
        let mut out = Vec::new();
        let mut todo = vec![name.to_owned()];
        while let Some(next) = todo.pop() {
            let Some(module) = self.files.get(&next) else {
                if next == name {
                    out.push(next);
                }
                continue;
            };
            if out.contains(&next) {
                continue;
            }
            todo.extend(module.needs.iter().filter_map(|need| name_of(need)));
            if softly {
                todo.extend(self.soft_before(&next));
            }
            out.push(next);
        }
        out.reverse();
        out
    }

    fn soft_before(&self, name: &str) -> Vec<String> {
        let mut out = Vec::new();
        for line in self.softdeps.get(name).into_iter().flatten() {
            let mut before = false;
            for word in line.split_ascii_whitespace().skip(2) {
                match word {
                    "pre:" => before = true,
                    "post:" => before = false,
                    wanted if before => out.extend(self.by_name_or_alias(wanted)),
                    _ => {}
                }
            }
        }
        out
    }

    fn by_name_or_alias(&self, wanted: &str) -> Vec<String> {
        let name = wanted.replace('-', "_");
        if self.files.contains_key(&name) || self.builtin.contains(&name) {
            return vec![name];
        }
        self.aliases
            .iter()
            .filter(|(alias, _)| alias == wanted)
            .map(|(_, module)| module.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio_ring.ko.xz:
kernel/drivers/virtio/virtio.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz
/lib/modules/2.6.32/kernel/crypto/crc-32c.ko:
kernel/fs/ext4.ko:
not a line
";

    #[test]
    fn names_are_told_from_files() {
        for (file, want) in [
            ("kernel/a/snd-pcm.ko.zst", Some("snd_pcm")),
            ("x.ko", Some("x")),
            (".ko", None),
            ("modules.dep", None),
            ("x.ko.bz2", None),
        ] {
            assert_eq!(name_of(file).as_deref(), want, "{file}");
        }
        assert_eq!(plain_path("a/b.ko.xz"), "a/b.ko");
    }

    #[test]
    fn a_closure_names_what_is_needed_first() {
        let modules = Modules::parse(
            DEP,
            "alias crc32c crc_32c\n",
            "softdep ext4 pre: crc32c post: none\n",
            "kernel/drivers/scsi/sd_mod.ko\n",
        );
        assert_eq!(
            modules.closure("virtio_blk"),
            ["virtio_ring", "virtio", "virtio_blk"]
        );
        assert_eq!(modules.closure("ext4"), ["crc_32c", "ext4"]);
        assert_eq!(modules.needed("ext4"), ["ext4"]);
        assert_eq!(modules.needed("virtio_blk"), modules.closure("virtio_blk"));
        assert_eq!(modules.closure("sd_mod"), ["sd_mod"]);
        assert!(modules.builtin.contains("sd_mod"));
        let old = modules.files.get("crc_32c").unwrap();
        assert_eq!(old.path, "kernel/crypto/crc-32c.ko");
    }

    #[test]
    fn modules_that_need_each_other_end() {
        let modules = Modules::parse("a.ko: b.ko\nb.ko: a.ko\n", "", "", "");
        assert_eq!(modules.closure("a"), ["b", "a"]);
    }
}
