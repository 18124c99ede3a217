// SPDX-License-Identifier: Apache-2.0
//! Generators from before udev did the work: their initramfs loads its modules by a list in a
//! script of its own, so that splicing adds to that list as well. Red Hat's mkinitrd up to release
//! 5 writes `insmod` lines for nash (nash(8)); SUSE's up to 11 keeps a variable
//! (<https://github.com/openSUSE/mkinitrd>, `setup-start.sh`).

use std::collections::BTreeSet;

use super::contents::Contents;
use super::splice::{copy_of, missing_dirs};
use crate::error::Result;
use crate::fs::{GuestPath, Tree};
use crate::inspect::facts::SpliceSource;
use crate::linux::modules::{self, Modules};
use crate::linux::text::{self, Edits};

const INIT: &str = "init";
/// SUSE's scripts that hold the list.
const SUSE: [&str; 2] = ["run_all.sh", "config/start.sh"];
const SUSE_LIST: &[u8] = b"RESOLVED_INITRD_MODULES='";

/// The modules that nash's script loads, of those that are inside.
pub fn loaded_by_nash(contents: &Contents) -> BTreeSet<String> {
    let script = contents.scripts.get(INIT).map(Vec::as_slice);
    let names = insmods(script.unwrap_or_default()).into_iter();
    names
        .map(|(name, _)| name)
        .filter(|name| contents.flat.contains_key(name))
        .collect()
}

/// The modules that a script of nash's loads, each with the end of its line.
fn insmods(script: &[u8]) -> Vec<(String, usize)> {
    let lines = text::lines(script);
    let found = lines.iter().filter_map(|line| {
        let words = text::words(line.bytes, line.start);
        let ((_, command), (_, file)) = words.first().zip(words.get(1))?;
        let name = modules::name_of(std::str::from_utf8(file).ok()?)?;
        (*command == b"insmod").then_some((name, line.next))
    });
    found.collect()
}

/// What nash's archive lacks: module files, unpacked, and the script with lines that load them,
/// each behind what it needs.
///
/// # Errors
/// `Corrupt` when the guest's filesystem is damaged.
pub(super) fn prepare_nash(
    tree: &Tree,
    root_dir: &GuestPath,
    known: &Modules,
    contents: &Contents,
    mut source: SpliceSource,
) -> Result<SpliceSource> {
    let script = contents
        .scripts
        .get(INIT)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let Some(end) = insmods(script).last().map(|(_, end)| *end) else {
        source.blocked = Some("it is not the script that its generator writes".to_owned());
        return Ok(source);
    };
    let loaded = loaded_by_nash(contents);
    let mut done = BTreeSet::new();
    let mut lines = String::new();
    // modules.dep(5) lists all that a module needs, what must be loaded first standing last.
    let order = source.closures.values().flatten().flat_map(|name| {
        let needs = known
            .files
            .get(name)
            .map(|module| module.needs.iter().rev());
        let needs = needs.into_iter().flatten();
        needs
            .filter_map(|need| modules::name_of(need))
            .chain([name.clone()])
    });
    for name in &order.collect::<Vec<String>>() {
        let Some(module) = known.files.get(name).filter(|_| !loaded.contains(name)) else {
            continue;
        };
        if !done.insert(name.clone()) {
            continue;
        }
        let plain = modules::plain_path(&module.path);
        let file = plain.rsplit('/').next().unwrap_or_default();
        let from = root_dir.join(&module.path);
        if let Some(copy) = copy_of(tree, "lib", file, from, true)? {
            source.copies.push(copy);
            lines.push_str(&format!(
                "echo \"Loading {file} module\"\ninsmod /lib/{file}\n"
            ));
        }
    }
    if lines.is_empty() {
        return Ok(source);
    }
    // Without this line behind them the disks would have no device nodes.
    let rest = script.get(end..).unwrap_or_default();
    let makes_nodes = |word: &[u8]| rest.windows(word.len()).any(|window| window == word);
    if !makes_nodes(b"mkblkdevs") && !makes_nodes(b"udevstart") {
        lines.push_str("mkblkdevs\n");
    }
    let mut edits = Edits::new();
    if script.get(..end).is_some_and(|head| !head.ends_with(b"\n")) {
        lines.insert(0, '\n');
    }
    edits.insert(end, lines);
    source.scripts = vec![(INIT.to_owned(), edits.apply(script).into())];
    source.dirs = missing_dirs(
        contents,
        source.copies.iter().map(|copy| copy.name.as_str()),
    );
    Ok(source)
}

/// SUSE's scripts with `drivers` at the head of their list; none where the list was not found.
pub(super) fn suse_scripts(
    contents: &Contents,
    drivers: &[&str],
) -> Vec<(String, serde_bytes::ByteBuf)> {
    let mut out = Vec::new();
    for name in SUSE {
        let Some(script) = contents.scripts.get(name) else {
            continue;
        };
        let at = script.windows(SUSE_LIST.len()).position(|w| w == SUSE_LIST);
        let Some(at) = at.and_then(|at| at.checked_add(SUSE_LIST.len())) else {
            continue;
        };
        let mut edits = Edits::new();
        edits.insert(at, format!("{} ", drivers.join(" ")));
        out.push((name.to_owned(), edits.apply(script).into()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::cpio::Writer;
    use super::super::read::read_initramfs;
    use super::super::splice::{build, prepare};
    use super::*;
    use crate::fs::MemoryFs;
    use crate::plan::{Member, MemberKind};

    const V: &str = "2.6.18-348.el5";
    const DEP: &str = "\
/lib/modules/2.6.18-348.el5/kernel/drivers/virtio/virtio_ring.ko: /lib/modules/2.6.18-348.el5/kernel/drivers/virtio/virtio.ko
/lib/modules/2.6.18-348.el5/kernel/drivers/virtio/virtio.ko:
/lib/modules/2.6.18-348.el5/kernel/drivers/virtio/virtio_pci.ko: /lib/modules/2.6.18-348.el5/kernel/drivers/virtio/virtio_ring.ko /lib/modules/2.6.18-348.el5/kernel/drivers/virtio/virtio.ko
/lib/modules/2.6.18-348.el5/kernel/drivers/block/virtio_blk.ko: /lib/modules/2.6.18-348.el5/kernel/drivers/virtio/virtio_ring.ko /lib/modules/2.6.18-348.el5/kernel/drivers/virtio/virtio.ko
/lib/modules/2.6.18-348.el5/kernel/drivers/scsi/sd_mod.ko: /lib/modules/2.6.18-348.el5/kernel/drivers/scsi/scsi_mod.ko
/lib/modules/2.6.18-348.el5/kernel/drivers/scsi/scsi_mod.ko:
";
    const NASH: &str = "#!/bin/nash\nmount -t proc /proc /proc\nmkblkdevs\necho \"Loading scsi_mod.ko module\"\ninsmod /lib/scsi_mod.ko \necho \"Loading sd_mod.ko module\"\ninsmod /lib/sd_mod.ko \ninsmod /lib/mptspi.ko\necho Waiting for driver initialization.\nstabilized --hash --interval 250 /proc/scsi/scsi\nmkblkdevs\nmkrootdev -t ext3 -o defaults,ro LABEL=/\n";

    fn guest() -> (Tree, Modules) {
        let known = Modules::parse(DEP, "", "", "");
        let mut fs = MemoryFs::new().file("/boot/i", "four");
        for module in known.files.values() {
            fs = fs.file(&format!("/lib/modules/{V}/{}", module.path), "elf");
        }
        (Tree::new(Box::new(fs)), known)
    }

    fn prepared(archive: &[u8]) -> (Tree, SpliceSource) {
        let (tree, known) = guest();
        let read = read_initramfs(archive, V);
        let dir = GuestPath::new(format!("/lib/modules/{V}"));
        let drivers = ["virtio_pci", "virtio_blk", "sd_mod"];
        let source = prepare(&tree, V, &dir, &known, &read.contents, &drivers).unwrap();
        (tree, source)
    }

    fn members(source: &SpliceSource) -> Vec<Member> {
        let copies = source.copies.iter().map(|copy| Member {
            name: copy.name.clone(),
            what: MemberKind::Unpack(copy.from.clone()),
        });
        let scripts = source.scripts.iter().map(|(name, bytes)| Member {
            name: name.clone(),
            what: MemberKind::Program(bytes.to_vec()),
        });
        copies.chain(scripts).collect()
    }

    fn nash(init: &str) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.dir("bin");
        writer.file("bin/nash", b"elf");
        writer.dir("lib");
        for name in ["scsi_mod", "sd_mod", "mptspi"] {
            writer.file(&format!("lib/{name}.ko"), b"elf");
        }
        writer.program("init", init.as_bytes());
        writer.finish(512)
    }

    #[test]
    fn nash_gets_lines_that_load_what_is_added_in_order() {
        let mut archive = nash(NASH);
        let (tree, source) = prepared(&archive);
        assert_eq!(source.blocked, None);
        let init = String::from_utf8(source.scripts[0].1.to_vec()).unwrap();
        let place = |text: &str| init.find(text).unwrap_or_else(|| panic!("{text}: {init}"));
        let order = [
            "insmod /lib/mptspi.ko\n",
            "insmod /lib/virtio.ko\n",
            "insmod /lib/virtio_ring.ko\n",
            "insmod /lib/virtio_blk.ko\n",
            "insmod /lib/virtio_pci.ko\n",
            "stabilized",
        ];
        assert!(
            order.windows(2).all(|pair| place(pair[0]) < place(pair[1])),
            "{init}"
        );
        assert_eq!(init.matches("sd_mod.ko module").count(), 1, "nothing twice");
        archive.extend(build(&tree, &"/boot/i".into(), &members(&source)).unwrap());
        let read = read_initramfs(archive.as_slice(), V);
        let loaded = read.contents.loadable("");
        assert!(
            loaded.contains("virtio_blk") && loaded.contains("sd_mod"),
            "{loaded:?}"
        );
        let (_, again) = prepared(&archive);
        assert!(again.copies.is_empty() && again.scripts.is_empty());
    }

    #[test]
    fn a_module_that_lies_inside_unloaded_is_not_there() {
        let archive = nash(&NASH.replace("insmod /lib/sd_mod.ko", "# gone"));
        let read = read_initramfs(archive.as_slice(), V);
        assert!(!read.contents.loadable("").contains("sd_mod"));
        let init = NASH.split("stabilized").next().unwrap();
        let (_, source) = prepared(&nash(init));
        assert!(
            source.scripts[0]
                .1
                .ends_with(b"mkblkdevs\necho Waiting for driver initialization.\n")
        );
    }

    #[test]
    fn a_script_of_nash_that_loads_nothing_is_not_touched() {
        let (_, source) = prepared(&nash("#!/bin/nash\nfind_modules\n"));
        assert!(source.blocked.unwrap().contains("not the script"));
    }

    #[test]
    fn suses_list_is_lengthened_in_both_places() {
        let mut writer = Writer::new();
        let line = "[ \"$RESOLVED_INITRD_MODULES\" ] || RESOLVED_INITRD_MODULES='mptspi ext3'\n";
        writer.program("run_all.sh", format!("#!/bin/bash\n{line}").as_bytes());
        writer.dir("config");
        writer.file(
            "config/start.sh",
            b"RESOLVED_INITRD_MODULES='mptspi ext3'\n",
        );
        writer.file("sbin/modprobe", b"elf");
        writer.file(
            &format!("lib/modules/{V}/kernel/drivers/scsi/scsi_mod.ko"),
            b"elf",
        );
        let (_, source) = prepared(&writer.finish(4));
        assert_eq!(source.blocked, None);
        let text = |at: usize| String::from_utf8(source.scripts[at].1.to_vec()).unwrap();
        let want = "RESOLVED_INITRD_MODULES='virtio_pci virtio_blk sd_mod mptspi ext3'\n";
        assert!(text(0).ends_with(want), "{}", text(0));
        assert_eq!(text(1), want);
        assert!(
            source
                .indexes
                .iter()
                .any(|(name, _)| name.ends_with("/modules.dep"))
        );
    }
}
