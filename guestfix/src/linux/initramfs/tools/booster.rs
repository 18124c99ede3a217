// SPDX-License-Identifier: Apache-2.0
//! booster: `docs/manpage.md` of <https://github.com/anatol/booster>.

use super::{Call, Keep, Tool, lacking};
use crate::inspect::Facts;
use crate::linux::text::{self, Edits};

const CONFIG: &str = "/etc/booster.yaml";
const PROGRAM: &str = "/usr/bin/booster";

/// This generator.
pub const TOOL: Tool = Tool {
    name: "booster",
    programs: &[PROGRAM],
    configuration: &[CONFIG],
    marks: &[PROGRAM],
    is_used: |facts| facts.sources.has(PROGRAM) || facts.sources.has(CONFIG),
    keep,
    rebuild: |order| {
        Call::new(&[
            order.program,
            "build",
            "--force",
            "--universal",
            "--kernel-version",
            &order.kernel.version,
            order.product,
        ])
    },
};

/// The list of modules in the file's own line, or a line of its own at the end.
fn keep(facts: &Facts, drivers: &[&str]) -> Keep {
    let bytes = facts.sources.bytes(CONFIG).unwrap_or_default();
    let by_hand = || Keep::by_hand(CONFIG, &format!("add {} to its modules", drivers.join(",")));
    let mut edits = Edits::new();
    let lines = text::lines(bytes);
    match lines
        .iter()
        .find(|line| line.bytes.starts_with(b"modules:"))
    {
        Some(line) => {
            let words = text::words(line.bytes, line.start);
            let [_, (at, list)] = words.as_slice() else {
                return by_hand();
            };
            let Some(list) = std::str::from_utf8(list)
                .ok()
                .filter(|l| !l.starts_with(['[', '"', '\'', '|', '>']))
            else {
                return by_hand();
            };
            let have: Vec<String> = list.split(',').map(str::to_owned).collect();
            let lacking = lacking(drivers, &have);
            if !lacking.is_empty() {
                edits.insert(at.end, format!(",{}", lacking.join(",")));
            }
        }
        None if bytes.starts_with(b"{") || bytes.windows(4).any(|w| w == b"\n---") => {
            return by_hand();
        }
        None => {
            let end = text::line_end(bytes);
            let before = if bytes.is_empty() || bytes.ends_with(b"\n") {
                ""
            } else {
                end
            };
            edits.insert(
                bytes.len(),
                format!("{before}modules: {}{end}", drivers.join(",")),
            );
        }
    }
    Keep::file(CONFIG, edits.apply(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::{facts_with, kept};
    use super::*;

    #[test]
    fn the_list_is_lengthened_or_made() {
        for (old, want) in [
            (
                "compression: zstd\nmodules: -*,ext4\n",
                "compression: zstd\nmodules: -*,ext4,virtio_pci,virtio_blk\n",
            ),
            (
                "universal: false",
                "universal: false\nmodules: virtio_pci,virtio_blk\n",
            ),
            ("", "modules: virtio_pci,virtio_blk\n"),
        ] {
            assert_eq!(kept(&TOOL, &[(CONFIG, old)], CONFIG), want);
        }
    }

    #[test]
    fn other_ways_to_write_the_list_are_told() {
        for text in ["modules: [a, b]\n", "modules:\n  - a\n", "{modules: a}"] {
            let keep = keep(&facts_with(&[(CONFIG, text)]), &["virtio_pci"]);
            assert!(keep.files.is_empty(), "{text}");
            assert_eq!(keep.concerns[0].id, "edit-by-hand");
        }
    }
}
