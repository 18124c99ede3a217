// SPDX-License-Identifier: Apache-2.0
//! Splicing: which modules an initramfs lacks, the indexes that match afterwards, and the bytes
//! to append. No guest program runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};

use super::compress::{Format, Input, unpack_module};
use super::contents::{Contents, Generator};
use super::cpio::{Reader, Writer};
use super::fixed_list;
use super::index::Index;
use super::lz4;
use crate::error::{Error, Result};
use crate::fs::{GuestPath, Tree};
use crate::inspect::facts::{SpliceCopy, SpliceSource};
use crate::linux::modules::{self, Modules};
use crate::plan::{Member, MemberKind};

/// Most bytes of one appended archive.
const MAX_ARCHIVE: usize = 64 << 20;
/// Largest module file that is unpacked.
const MAX_MODULE: u64 = 32 << 20;
/// Index files that do not depend on paths; copied where the archive has none of its own.
const FIXED_INDEXES: [&str; 5] = [
    "modules.order",
    "modules.builtin",
    "modules.builtin.bin",
    "modules.builtin.alias.bin",
    "modules.builtin.modinfo",
];

/// Finds out what the archive lacks of `drivers` and of everything they need.
///
/// `root_dir` is the directory of this kernel's modules in the guest, `known` its indexes.
///
/// # Errors
/// `Corrupt` when the guest's filesystem is damaged.
pub fn prepare(
    tree: &Tree,
    version: &str,
    root_dir: &GuestPath,
    known: &Modules,
    contents: &Contents,
    drivers: &[&str],
) -> Result<SpliceSource> {
    let closures: BTreeMap<String, Vec<String>> = drivers
        .iter()
        .map(|name| ((*name).to_owned(), known.closure(name)))
        .collect();
    let needed: BTreeSet<String> = drivers.iter().flat_map(|name| known.needed(name)).collect();
    let soft = closures.values().flatten();
    let soft = soft.filter(|name| !needed.contains(*name)).cloned();
    let mut source = SpliceSource {
        soft: soft.collect(),
        closures,
        blocked: blocked(contents),
        ..SpliceSource::default()
    };
    let configs = contents.configs.iter();
    source.configs = configs
        .map(|(name, body)| (name.clone(), body.clone().into()))
        .collect();
    if contents.generator == Generator::Nash {
        return fixed_list::prepare_nash(tree, root_dir, known, contents, source);
    }
    let Some(dir) = contents.modules_dir(version) else {
        source.blocked = Some("it has no place for modules".to_owned());
        return Ok(source);
    };
    let mut inside = contents.modules_below(&dir);
    let usable = contents.usable(&dir);
    let forms: BTreeSet<&str> = inside.values().map(|path| suffix(path)).collect();
    let wanted: BTreeSet<String> = source.closures.values().flatten().cloned().collect();
    let mut added = BTreeMap::new();
    for name in wanted {
        let Some(module) = known
            .files
            .get(&name)
            .filter(|_| !usable.contains_key(&name))
        else {
            continue;
        };
        let keep = forms.contains(suffix(&module.path));
        let path = match keep {
            true => module.path.clone(),
            false => modules::plain_path(&module.path),
        };
        let copy = copy_of(tree, &dir, &path, root_dir.join(&module.path), !keep)?;
        if let Some(copy) = copy {
            source.copies.push(copy);
            added.insert(name, path);
        }
    }
    if added.is_empty() {
        return Ok(source);
    }
    if contents.generator == Generator::SuseMkinitrd {
        let drivers = drivers.iter().filter(|name| added.contains_key(**name));
        let drivers: Vec<&str> = drivers.copied().collect();
        source.scripts = fixed_list::suse_scripts(contents, &drivers);
        if source.scripts.is_empty() {
            source.blocked = Some("it loads its modules by a list that was not found".to_owned());
        }
    }
    inside.extend(added.clone());
    source.indexes = indexes(known, contents, &dir, &inside, &added);
    for name in FIXED_INDEXES {
        if !contents.indexes.contains_key(&format!("{dir}/{name}")) {
            source
                .copies
                .extend(copy_of(tree, &dir, name, root_dir.join(name), false)?);
        }
    }
    source.dirs = missing_dirs(
        contents,
        source.copies.iter().map(|copy| copy.name.as_str()),
    );
    Ok(source)
}

/// Why modules that lie in the archive would still not be loaded.
fn blocked(contents: &Contents) -> Option<String> {
    match contents.generator {
        Generator::Booster => Some("booster loads only what its own list names".to_owned()),
        Generator::Nash => None,
        _ if !contents.loader => Some("it holds no program that loads modules".to_owned()),
        _ => None,
    }
}

fn suffix(path: &str) -> &'static str {
    let mut ends = modules::SUFFIXES.iter();
    ends.find(|end| path.ends_with(*end)).copied().unwrap_or("")
}

pub(super) fn copy_of(
    tree: &Tree,
    dir: &str,
    path: &str,
    from: GuestPath,
    unpack: bool,
) -> Result<Option<SpliceCopy>> {
    let Some(meta) = tree.stat(&from)? else {
        return Ok(None);
    };
    let unpack = unpack && suffix(&from.display()) != ".ko";
    let size = match unpack {
        false => meta.len,
        true => match tree.open(&from)? {
            Some(file) => unpack_module(&from.display(), file, MAX_MODULE)?.len() as u64,
            None => return Ok(None),
        },
    };
    Ok(Some(SpliceCopy {
        name: format!("{dir}/{path}"),
        from,
        unpack,
        size,
    }))
}

pub(super) fn missing_dirs<'a>(
    contents: &Contents,
    files: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let mut dirs = BTreeSet::new();
    for file in files {
        let mut at = file;
        while let Some((dir, _)) = at.rsplit_once('/') {
            if !contents.has_dir(dir) {
                dirs.insert(dir.to_owned());
            }
            at = dir;
        }
    }
    dirs.into_iter().collect() // sorted, so a parent stands before its children
}

/// The indexes over everything that is inside afterwards: the archive's own lines, and the
/// guest's lines for what is added.
fn indexes(
    known: &Modules,
    contents: &Contents,
    dir: &str,
    inside: &BTreeMap<String, String>,
    added: &BTreeMap<String, String>,
) -> Vec<(String, serde_bytes::ByteBuf)> {
    let own = |name: &str| contents.index_text(dir, name);
    let own_deps = own("modules.dep")
        .map(modules::parse_dep)
        .unwrap_or_default();
    let mut dep = String::new();
    let mut dep_index = Index::new();
    for (priority, (name, path)) in (0_u32..).zip(inside) {
        let module = own_deps.get(name).or_else(|| known.files.get(name));
        let needs = module
            .map(|module| module.needs.as_slice())
            .unwrap_or_default();
        let mut line = format!("{path}:");
        for need in needs
            .iter()
            .filter_map(|need| inside.get(&modules::name_of(need)?))
        {
            line.push(' ');
            line.push_str(need);
        }
        dep_index.insert(name, &line, priority);
        dep.push_str(&line);
        dep.push('\n');
    }
    let mut aliases = own("modules.alias")
        .map(modules::parse_alias)
        .unwrap_or_default();
    let lacking = |module: &String| {
        added.contains_key(module)
            || (own("modules.alias").is_none() && inside.contains_key(module))
    };
    aliases.extend(
        known
            .aliases
            .iter()
            .filter(|(_, module)| lacking(module))
            .cloned(),
    );
    let mut alias = String::new();
    let mut alias_index = Index::new();
    for (priority, (pattern, module)) in (0_u32..).zip(&aliases) {
        alias.push_str(&format!("alias {pattern} {module}\n"));
        if let Some(pattern) = normalise(pattern) {
            alias_index.insert(&pattern, module, priority);
        }
    }
    let own_softdep = own("modules.softdep");
    let mut softdep = own_softdep.unwrap_or_default().to_owned();
    let lacking = if own_softdep.is_some() { added } else { inside };
    let lines = lacking.keys().filter_map(|name| known.softdeps.get(name));
    for line in lines.flatten() {
        softdep.push_str(line);
        softdep.push('\n');
    }
    [
        ("modules.dep", dep.into_bytes()),
        ("modules.dep.bin", dep_index.build()),
        ("modules.alias", alias.into_bytes()),
        ("modules.alias.bin", alias_index.build()),
        ("modules.softdep", softdep.into_bytes()),
    ]
    .into_iter()
    .map(|(name, bytes)| (format!("{dir}/{name}"), bytes.into()))
    .collect()
}

/// An alias as the index holds it: `-` written as `_`, but not within brackets. `None` where the
/// brackets do not match; depmod leaves those out too.
fn normalise(alias: &str) -> Option<String> {
    let mut inside = false;
    let mut out = String::with_capacity(alias.len());
    for c in alias.chars() {
        match c {
            ']' if !inside => return None,
            '[' | ']' => inside = c == '[',
            _ => {}
        }
        out.push(if c == '-' && !inside { '_' } else { c });
    }
    (!inside).then_some(out)
}

/// The bytes to append to the initramfs at `path` so that the kernel unpacks `members` last:
/// padding to a multiple of 4 and a plain archive, or, behind lz4 data, an lz4 frame. (The
/// kernel's lz4 reader takes whatever follows for its next block; before 5.14 even zeros.)
///
/// # Errors
/// `Corrupt`/`no-initramfs` or `no-module` when a file is gone since planning; `Corrupt` when the
/// guest is damaged; `Unsupported`/`file-too-large` above 64 MiB.
pub fn build(tree: &Tree, path: &GuestPath, members: &[Member]) -> Result<Vec<u8>> {
    let archive = archive_of(tree, members)?;
    let Some(mut image) = tree.open(path)? else {
        return Err(Error::corrupt("no-initramfs", format!("{path} is gone")));
    };
    let unreadable =
        |e: std::io::Error| Error::corrupt("unreadable", format!("reading {path}")).because(e);
    let len = image.seek(SeekFrom::End(0)).map_err(unreadable)?;
    image.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    if main_format(image) == Some(Format::Lz4) {
        return Ok(lz4::pack(&archive));
    }
    let mut out = vec![0; usize::try_from(len.wrapping_neg() & 3).unwrap_or(0)];
    out.extend(archive);
    Ok(out)
}

/// The first compression in the image; plain archives before it are stepped over.
fn main_format(image: impl Read) -> Option<Format> {
    let mut input = Input::new(image);
    loop {
        super::read::skip_zeros(&mut input).ok()?;
        match Format::detect(&input.peek().ok()?)? {
            Format::None => {
                let mut reader = Reader::new(&mut input);
                while reader.next_entry().ok()?.is_some() {}
            }
            format => return Some(format),
        }
    }
}

fn archive_of(tree: &Tree, members: &[Member]) -> Result<Vec<u8>> {
    let mut writer = Writer::new();
    for member in members {
        let gone = |from: &GuestPath| Error::corrupt("no-module", format!("{from} is gone"));
        match &member.what {
            MemberKind::Dir => writer.dir(&member.name),
            MemberKind::Bytes(bytes) => writer.file(&member.name, bytes),
            MemberKind::Program(bytes) => writer.program(&member.name, bytes),
            MemberKind::Copy(from) => {
                let bytes = tree.read_up_to(from, MAX_ARCHIVE as u64)?;
                writer.file(&member.name, &bytes.ok_or_else(|| gone(from))?);
            }
            MemberKind::Unpack(from) => {
                let file = tree.open(from)?.ok_or_else(|| gone(from))?;
                let bytes = unpack_module(&from.display(), file, MAX_MODULE)?;
                writer.file(&member.name, &bytes);
            }
        }
        if writer.len() > MAX_ARCHIVE {
            return Err(Error::unsupported(
                "file-too-large",
                format!("the archive to append is larger than {MAX_ARCHIVE} bytes"),
            ));
        }
    }
    Ok(writer.finish(4))
}

#[cfg(test)]
mod tests;
