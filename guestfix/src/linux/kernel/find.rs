// SPDX-License-Identifier: Apache-2.0
//! Where kernels are: what boot entries name, what `/boot` and the EFI system partition hold, and
//! what lies beside its modules. The database of packages is not asked: it does not know what the
//! administrator built.

use std::collections::BTreeSet;
use std::io::Read;

use super::{Image, parse};
use crate::error::Result;
use crate::fs::{FileType, GuestPath, Tree};
use crate::inspect::Facts;
use crate::inspect::facts::{Category, Concern};
use crate::linux::bootloader::entry::{self, Entry, Menu};
use crate::linux::bootloader::version;

/// More kernels than these are not looked at: those of boot entries are, and the newest.
pub(super) const MAX_KERNELS: usize = 32;
/// Names looked up in `/boot`, and directories of modules.
const MAX_LOOKUPS: usize = 128;
/// Entries looked at.
const MAX_ENTRIES: usize = 2048;
/// Concerns of one sort.
const MAX_TOLD: usize = 8;
/// Where modules lie, by release.
const MODULES: [&str; 2] = ["/lib/modules", "/usr/lib/modules"];
/// Names of an image beside its modules: kernel-install(8), and SUSE's for other machines.
const BESIDE: [&str; 5] = ["vmlinuz", "vmlinux", "Image", "bzImage", "image"];

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The images with their releases, the default entry's first.
    pub(super) images: Vec<(Image, String)>,
    /// What an operator should know.
    pub(super) concerns: Vec<Concern>,
    /// Links on the way, with what they lead to.
    pub(super) links: Vec<(String, String)>,
    seen: BTreeSet<(GuestPath, Option<GuestPath>)>,
    skipped: usize,
}

/// Finds every kernel, at most [`MAX_KERNELS`].
///
/// # Errors
/// `Corrupt` when a filesystem is damaged.
pub(super) fn all(tree: &Tree, facts: &Facts) -> Result<Found> {
    let mut found = Found::default();
    found.named(tree, facts)?;
    found.in_boot(tree)?;
    found.by_machine_id(tree)?;
    let unified = facts.efi.iter().flat_map(|efi| &efi.unified_kernels);
    for kernel in unified {
        let path = GuestPath::new(&kernel.path);
        let image = Image {
            initramfs: vec![path.clone()],
            label: kernel.version.clone(),
            path,
            unified: true,
        };
        found.add(tree, image)?;
    }
    found.beside_modules(tree)?;
    if found.skipped > 0 {
        found.concerns.push(Concern::warning(
            "many-kernels",
            format!(
                "{} kernels or boot entries of the guest were not looked at: entries' kernels and the newest were, up to {MAX_KERNELS}",
                found.skipped
            ),
        ));
    }
    Ok(found)
}

/// The directory of a kernel's modules.
///
/// # Errors
/// `Corrupt` when a filesystem is damaged.
pub(super) fn modules_dir(tree: &Tree, version: &str) -> Result<GuestPath> {
    for dir in MODULES {
        let dir = GuestPath::new(dir).join(version);
        if tree.exists(&dir)? {
            return Ok(dir);
        }
    }
    Ok(GuestPath::new("/lib/modules").join(version))
}

impl Found {
    /// Takes an image whose path is real, once for each initramfs.
    fn add(&mut self, tree: &Tree, mut image: Image) -> Result<()> {
        let mut initramfs = None;
        for path in &image.initramfs {
            if tree
                .stat(path)?
                .is_some_and(|meta| meta.file_type == FileType::File)
            {
                initramfs = tree.resolve(path)?;
                break;
            }
        }
        if !self.seen.insert((image.path.clone(), initramfs.clone())) {
            return Ok(());
        }
        if self.images.len() >= MAX_KERNELS {
            self.skipped = self.skipped.saturating_add(1);
            return Ok(());
        }
        let Some(version) = version_of(tree, &image)? else {
            return Ok(());
        };
        image.initramfs = initramfs.into_iter().collect();
        self.images.push((image, version));
        Ok(())
    }

    /// No more are looked at; what is left is counted.
    fn is_full(&mut self) -> bool {
        let full = self.images.len() >= MAX_KERNELS;
        self.skipped = self.skipped.saturating_add(usize::from(full));
        full
    }

    fn has_image(&self, path: &GuestPath) -> bool {
        self.seen.iter().any(|(image, _)| image == path)
    }

    fn tell(&mut self, concern: Concern) {
        let same = self.concerns.iter().filter(|have| have.id == concern.id);
        if same.count() < MAX_TOLD && !self.concerns.contains(&concern) {
            self.concerns.push(concern);
        }
    }

    /// The first of these places where a file is, followed to its end.
    fn place(&mut self, tree: &Tree, places: &[String]) -> Result<Option<GuestPath>> {
        for place in places {
            let path = GuestPath::new(place);
            let is_file = |meta: crate::fs::Metadata| meta.file_type == FileType::File;
            if !tree.stat(&path).is_ok_and(|meta| meta.is_some_and(is_file)) {
                continue;
            }
            if let Some(real) = tree.resolve(&path)? {
                if real != path {
                    self.links.push((place.clone(), real.display()));
                }
                return Ok(Some(real));
            }
        }
        Ok(None)
    }

    /// What boot entries start: of every menu first the entry that starts by itself.
    fn named(&mut self, tree: &Tree, facts: &Facts) -> Result<()> {
        let menus = entry::menus(facts);
        let mut asked = BTreeSet::new();
        for default in [true, false] {
            for menu in &menus {
                for (index, entry) in menu.entries.iter().enumerate().take(MAX_ENTRIES) {
                    let key = (&menu.file, &entry.image, entry.initramfs().next());
                    let wanted = (menu.default == Some(index)) == default && asked.insert(key);
                    if wanted && !self.is_full() {
                        self.entry(tree, facts, menu, entry, default)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        tree: &Tree,
        facts: &Facts,
        menu: &Menu,
        entry: &Entry,
        default: bool,
    ) -> Result<()> {
        if entry.unified || entry.image.contains('$') {
            return Ok(());
        }
        let places = entry::places(facts, menu, &entry.image);
        let Some(real) = self.place(tree, &places)? else {
            let category = match default {
                true => Category::Warning,
                false => Category::Information,
            };
            let (file, image) = (&menu.file, &entry.image);
            let message = format!("{file} has an entry for {image}, which is not in the guest");
            self.tell(Concern::new(category, "entry-kernel-missing", message));
            return Ok(());
        };
        let mut initramfs = Vec::new();
        for path in entry.initramfs() {
            let places = entry::places(facts, menu, path);
            initramfs.extend(self.place(tree, &places)?);
        }
        let mut image = by_name(&real).or_else(|| by_name(&GuestPath::new(&entry.image)));
        if let Some(image) = &mut image {
            // What the names suggest serves only where the entry's own word leads nowhere.
            let guessed = std::mem::take(&mut image.initramfs).into_iter();
            if initramfs.is_empty() && !entry.initrd.is_empty() {
                initramfs.extend(guessed);
            }
        }
        let label = image.map(|image| image.label).unwrap_or_default();
        self.add(
            tree,
            Image {
                path: real,
                label,
                initramfs,
                unified: false,
            },
        )
    }

    fn in_boot(&mut self, tree: &Tree) -> Result<()> {
        let boot = GuestPath::new("/boot");
        let mut images = parse(&boot, &tree.list(&boot)?);
        images.sort_by(|one, other| version::uapi(&other.label, &one.label));
        let beyond = images.len().saturating_sub(MAX_LOOKUPS);
        self.skipped = self.skipped.saturating_add(beyond);
        for mut image in images.into_iter().take(MAX_LOOKUPS) {
            let Some(meta) = tree.lstat(&image.path)? else {
                continue;
            };
            match meta.file_type {
                FileType::File if meta.len > 0 => {}
                FileType::Symlink => {
                    // A loop of links is told like a link that leads nowhere.
                    let Ok(Some(real)) = tree.resolve(&image.path) else {
                        let path = &image.path;
                        let message = format!("{path} is a link that leads to no kernel");
                        self.tell(Concern::warning("kernel-link-dangling", message));
                        continue;
                    };
                    image.path = real;
                }
                _ => continue,
            }
            // One that an entry names has that entry's initramfs.
            if !self.has_image(&image.path) {
                self.add(tree, image)?;
            }
        }
        Ok(())
    }

    /// systemd's layout: `<partition>/<machine id>/<version>/{linux,initrd}` (kernel-install(8)).
    fn by_machine_id(&mut self, tree: &Tree) -> Result<()> {
        for top in entry::BASES.map(GuestPath::new) {
            for id in tree.list(&top)?.iter().filter(|id| is_machine_id(id)) {
                for version in tree.list(&top.join(id))?.iter().take(MAX_LOOKUPS) {
                    let dir = top.join(id).join(version);
                    let label = String::from_utf8_lossy(version).into_owned();
                    let image = Image {
                        path: dir.join("linux"),
                        initramfs: vec![
                            dir.join("initrd"),
                            dir.join(format!("initrd.img-{label}")),
                        ],
                        label,
                        unified: false,
                    };
                    if tree.exists(&image.path)? && !self.has_image(&image.path) {
                        self.add(tree, image)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Kernels that lie beside their modules, where none of that release was found so far.
    fn beside_modules(&mut self, tree: &Tree) -> Result<()> {
        for version in releases(tree)? {
            if self.images.iter().any(|(_, have)| *have == version) {
                continue;
            }
            let dir = modules_dir(tree, &version)?;
            for name in BESIDE {
                let path = dir.join(name);
                let meta = tree.stat(&path)?;
                if !meta.is_some_and(|meta| meta.file_type == FileType::File && meta.len > 0) {
                    continue;
                }
                let Some(real) = tree.resolve(&path)?.filter(|real| !self.has_image(real)) else {
                    break;
                };
                let boot = GuestPath::new("/boot");
                let mut initramfs = super::spellings(&boot, &version);
                initramfs.extend([dir.join("initrd"), dir.join("initramfs.img")]);
                if let Some(flavour) = pkgbase(tree, &dir)? {
                    initramfs.extend(super::spellings(&boot, &flavour));
                }
                let image = Image {
                    path: real,
                    label: version.clone(),
                    initramfs,
                    unified: false,
                };
                self.add(tree, image)?;
                break;
            }
        }
        Ok(())
    }
}

/// Releases that have modules, the newest first.
fn releases(tree: &Tree) -> Result<Vec<String>> {
    let mut names = BTreeSet::new();
    for dir in MODULES {
        let list = tree.list(&GuestPath::new(dir))?.into_iter();
        names.extend(list.filter_map(|name| String::from_utf8(name).ok()));
    }
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort_by(|one, other| version::uapi(other, one));
    names.truncate(MAX_LOOKUPS);
    Ok(names)
}

/// The image that a file's name tells.
fn by_name(path: &GuestPath) -> Option<Image> {
    let dir = path.parent()?;
    parse(&dir, &[path.file_name()?.to_vec()]).pop()
}

fn is_machine_id(name: &[u8]) -> bool {
    name.len() == 32 && name.iter().all(u8::is_ascii_hexdigit)
}

/// The package whose kernel these modules are for, where Arch's `pkgbase` says so: its kernel is
/// `/boot/vmlinuz-<pkgbase>`.
fn pkgbase(tree: &Tree, dir: &GuestPath) -> Result<Option<String>> {
    let mut text = String::new();
    if let Some(file) = tree.open(&dir.join("pkgbase"))? {
        let _ = file.take(256).read_to_string(&mut text);
    }
    let name = text.trim();
    Ok((!name.is_empty()).then(|| name.to_owned()))
}

/// The release: the label where modules lie under it, else what the image says of itself, else
/// the modules that belong to a flavour, or the only ones there are.
fn version_of(tree: &Tree, image: &Image) -> Result<Option<String>> {
    let label = &image.label;
    let is_release = |name: &str| modules_dir(tree, name).and_then(|dir| tree.exists(&dir));
    if !label.is_empty() && is_release(label)? {
        return Ok(Some(label.clone()));
    }
    let parent = image.path.parent();
    let dir = parent.as_ref().and_then(GuestPath::file_name);
    let dir = String::from_utf8_lossy(dir.unwrap_or_default()).into_owned();
    if dir.starts_with(|c: char| c.is_ascii_digit()) && is_release(&dir)? {
        return Ok(Some(dir));
    }
    let mut head = Vec::new();
    if let Some(file) = tree.open(&image.path)? {
        // An image that cannot be read here is the boot loader topic's to report.
        let _ = file.take(128 << 10).read_to_end(&mut head);
    }
    if let Some(version) = super::image_version(&head) {
        return Ok(Some(version));
    }
    if label.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(Some(label.clone()));
    }
    let releases = releases(tree)?;
    for release in &releases {
        let flavour = pkgbase(tree, &modules_dir(tree, release)?)?;
        if flavour.is_some_and(|flavour| flavour == *label) {
            return Ok(Some(release.clone()));
        }
    }
    Ok(match releases.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    })
}
