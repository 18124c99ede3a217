// SPDX-License-Identifier: Apache-2.0
//! Arch's mkinitcpio: mkinitcpio.conf(5), mkinitcpio(8) and its `CHANGELOG` in
//! <https://gitlab.archlinux.org/archlinux/mkinitcpio/mkinitcpio>.

use super::{Call, Keep, Order, Tool, lacking};
use crate::inspect::Facts;
use crate::inspect::facts::Sources;
use crate::linux::shell;
use crate::linux::text;
use crate::plan::SCRATCH;

const MAIN: &str = "/etc/mkinitcpio.conf";
/// Read from release 36 on, where no preset names a file of its own.
const DROP_INS: &str = "/etc/mkinitcpio.conf.d";
const DROP_IN: &str = "/etc/mkinitcpio.conf.d/50-guestfix-virtio.conf";
const PRESETS: &str = "/etc/mkinitcpio.d";
const PROGRAM: &str = "/usr/bin/mkinitcpio";

/// This generator.
pub const TOOL: Tool = Tool {
    name: "mkinitcpio",
    programs: &[PROGRAM, "/usr/sbin/mkinitcpio", "/sbin/mkinitcpio"],
    configuration: &[MAIN, DROP_INS, PRESETS, PROGRAM],
    marks: &[],
    is_used: |facts| facts.sources.has(MAIN),
    keep,
    rebuild,
};

fn keep(facts: &Facts, drivers: &[&str]) -> Keep {
    let script = facts.sources.bytes(PROGRAM).unwrap_or_default();
    let knows = |word: &[u8]| script.windows(word.len()).any(|window| window == word);
    let named = named_by_presets(&facts.sources);
    if knows(b"mkinitcpio.conf.d") && named.is_empty() {
        let list = drivers.join(" ");
        let text =
            format!("# guestfix: the disks are on virtio, SCSI or SATA\nMODULES+=({list})\n");
        return Keep::file(DROP_IN, text);
    }
    let mut out = Keep::default();
    let mut files = named;
    files.push(MAIN.to_owned());
    files.sort();
    files.dedup();
    for path in files {
        let Some(bytes) = facts.sources.bytes(&path) else {
            continue;
        };
        match with_modules(bytes, drivers) {
            Some(content) => out.files.push((path, content)),
            None => {
                let what = format!("add {} to its MODULES", drivers.join(" "));
                out.concerns.extend(Keep::by_hand(&path, &what).concerns);
            }
        }
    }
    out
}

/// Configuration files that presets name in place of the usual one.
pub fn named_by_presets(sources: &Sources) -> Vec<String> {
    let presets = sources.files.iter();
    let presets =
        presets.filter(|(path, _)| path.starts_with(PRESETS) && path.ends_with(".preset"));
    let settings = presets.flat_map(|(_, file)| shell::assignments(&file.content));
    let files = settings.filter(|setting| setting.name.ends_with("_config"));
    files.map(|setting| setting.value).collect()
}

/// A configuration whose last `MODULES=(...)` or `MODULES="..."` holds the drivers; `None` where
/// there is none on one line.
fn with_modules(bytes: &[u8], drivers: &[&str]) -> Option<Vec<u8>> {
    let lines = text::lines(bytes);
    let line = lines
        .iter()
        .rfind(|line| line.bytes.starts_with(b"MODULES="))?;
    let value = line.bytes.get(8..)?;
    let close = match value.first()? {
        b'(' => b')',
        b'"' => b'"',
        _ => return None,
    };
    let inner = value.get(1..)?;
    let end = inner.iter().position(|byte| *byte == close)?;
    let inner = std::str::from_utf8(inner.get(..end)?).ok()?;
    if inner.contains(['$', '#', '"', '\'', '\\', '`']) {
        return None;
    }
    let have: Vec<String> = inner.split_whitespace().map(str::to_owned).collect();
    let lacking = lacking(drivers, &have);
    let mut edits = text::Edits::new();
    if !lacking.is_empty() {
        let blank = if inner.is_empty() { "" } else { " " };
        let at = line.start.checked_add(9)?.checked_add(end)?;
        edits.insert(at, format!("{blank}{}", lacking.join(" ")));
    }
    Some(edits.apply(bytes))
}

/// With a configuration that reads the guest's own and adds to it, and without the hook that asks
/// which hardware is there: that would be the node's.
fn rebuild(order: &Order<'_>) -> Call {
    let config = format!("{SCRATCH}/mkinitcpio.conf");
    let mut call = Call::new(&[
        order.program,
        "-n",
        "-k",
        &order.kernel.version,
        "-c",
        &config,
        "-S",
        "autodetect",
        "-t",
        "/tmp",
        "-g",
        order.product,
    ]);
    let text = format!(
        ". {MAIN}\nfor file in {DROP_INS}/*.conf; do\n    if [ -f \"$file\" ]; then . \"$file\"; fi\ndone\n\
         MODULES=(${{MODULES[*]}} {})\n",
        order.drivers.join(" ")
    );
    call.scratch.push(("mkinitcpio.conf".to_owned(), text));
    call
}

#[cfg(test)]
mod tests {
    use super::super::{facts_with, kept};
    use super::*;

    #[test]
    fn a_drop_in_is_written_where_the_program_reads_it() {
        let text = kept(
            &TOOL,
            &[
                (MAIN, "MODULES=()\n"),
                (PROGRAM, "_d_config=mkinitcpio.conf.d\n"),
                (
                    "/etc/mkinitcpio.d/linux.preset",
                    "#ALL_config=\"/etc/mkinitcpio.conf\"\n",
                ),
            ],
            DROP_IN,
        );
        assert!(
            text.ends_with("MODULES+=(virtio_pci virtio_blk)\n"),
            "{text}"
        );
    }

    #[test]
    fn the_main_file_is_edited_where_drop_ins_would_not_be_read() {
        let preset = (
            "/etc/mkinitcpio.d/linux.preset",
            "ALL_config=\"/etc/mkinitcpio.conf\"\n",
        );
        for (old, want) in [
            (
                "# x\nMODULES=()\nHOOKS=(base)\n",
                "# x\nMODULES=(virtio_pci virtio_blk)\nHOOKS=(base)\n",
            ),
            (
                "MODULES=\"ext4 virtio-pci\"\n",
                "MODULES=\"ext4 virtio-pci virtio_blk\"\n",
            ),
        ] {
            assert_eq!(
                kept(
                    &TOOL,
                    &[(MAIN, old), (PROGRAM, "mkinitcpio.conf.d"), preset],
                    MAIN
                ),
                want
            );
            assert_eq!(kept(&TOOL, &[(MAIN, old), (PROGRAM, "old")], MAIN), want);
        }
    }

    #[test]
    fn a_list_over_several_lines_is_told() {
        for text in ["MODULES=(\n a\n)\n", "MODULES=($x)\n", "HOOKS=(base)\n"] {
            let keep = keep(&facts_with(&[(MAIN, text)]), &["virtio_pci"]);
            assert!(keep.files.is_empty(), "{text}");
            assert_eq!(keep.concerns[0].id, "edit-by-hand");
        }
    }
}
