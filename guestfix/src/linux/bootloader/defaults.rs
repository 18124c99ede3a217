// SPDX-License-Identifier: Apache-2.0
//! `/etc/default/grub` and its drop-ins: what the guest's next `grub-mkconfig` makes of the menu.
//! Without these edits the first kernel update would bring the old device names back.

use super::cmdline::{self, Argument};
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::linux::shell::{self, Assignment};
use crate::linux::text::{self, Edits};
use crate::plan::{Change, Proposal};

/// The main file.
pub const MAIN: &str = "/etc/default/grub";
/// The directory of drop-ins, where [`MKCONFIG`] knows of it.
pub const DIR: &str = "/etc/default/grub.d";
/// Debian's program reads the drop-ins, others do not.
pub const MKCONFIG: &str = "/usr/sbin/grub-mkconfig";
/// Our drop-in.
pub const DROP_IN: &str = "/etc/default/grub.d/99-guestfix.cfg";

/// The setting that chooses the entry to start.
pub const DEFAULT: &str = "GRUB_DEFAULT";
const CMDLINE: &str = "GRUB_CMDLINE_LINUX";
const WHY_NAMES: &str =
    "the guest's next grub-mkconfig would bring device names of the old machine back";
const WHY_CONSOLE: &str = "keeps the serial console when the guest regenerates its boot menu";

/// The settings of one file that are of interest here.
pub fn parse(bytes: &[u8]) -> Vec<Assignment> {
    let mut all = shell::assignments(bytes);
    all.retain(|a| a.name.starts_with(CMDLINE) || disables_uuids(&a.name));
    all
}

/// Stable names and a serial console for menus to come; `default` is the entry to start by itself.
pub fn propose(facts: &Facts, default: Option<&str>) -> Proposal {
    let mut out = Proposal::default();
    let all: Vec<Assignment> = files(facts).flat_map(|(_, bytes)| parse(bytes)).collect();
    let args: Vec<&str> = all
        .iter()
        .filter(|a| a.name.starts_with(CMDLINE))
        .flat_map(|a| a.value.split_whitespace())
        .collect();
    let consoles = cmdline::missing_consoles(&facts.guest.arch, &args);
    let has_main = facts.sources.bytes(MAIN).is_some();
    let drop_in = has_main && !consoles.is_empty() && reads_drop_ins(facts);
    for (path, bytes) in files(facts) {
        let mut edits = rename(facts, path, bytes, &mut out.concerns);
        if path == MAIN && !consoles.is_empty() && !drop_in {
            append(bytes, &consoles, &mut edits, &mut out.concerns);
        }
        if let Some(entry) = default.filter(|_| path == MAIN) {
            choose(bytes, entry, &mut edits, &mut out.concerns);
        }
        let new = edits.apply(bytes);
        out.changes.extend(Change::edit(
            "bootloader",
            WHY_NAMES,
            &facts.sources,
            path,
            new,
        ));
    }
    if drop_in {
        let text = format!(
            "# Written by guestfix: kernel messages and a login on the serial port (virtctl console).\n{CMDLINE}=\"${CMDLINE} {}\"\n",
            consoles.join(" ")
        );
        out.changes.extend(Change::edit(
            "bootloader",
            WHY_CONSOLE,
            &facts.sources,
            DROP_IN,
            text,
        ));
    }
    out
}

/// What in these files would make the next menu unbootable.
pub fn faults(facts: &Facts) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, bytes) in files(facts) {
        for setting in parse(bytes) {
            if disables_uuids(&setting.name) && setting.value == "true" {
                faults.push(format!("{path} sets {}", setting.name));
            }
            let words = setting.value.split_whitespace();
            let bad = words.filter(|arg| !cmdline::may_stay(facts, arg));
            faults.extend(bad.map(|arg| format!("{path} has {arg}")));
        }
    }
    faults
}

fn files(facts: &Facts) -> impl Iterator<Item = (&str, &[u8])> {
    facts
        .sources
        .files
        .iter()
        .filter(|(path, _)| *path == MAIN || path.starts_with(DIR))
        .filter(|(_, file)| !text::is_binary(&file.content))
        .map(|(path, file)| (path.as_str(), file.content.as_slice()))
}

fn reads_drop_ins(facts: &Facts) -> bool {
    let wanted = b"/default/grub.d/";
    let script = facts.sources.bytes(MKCONFIG).unwrap_or_default();
    script.windows(wanted.len()).any(|window| window == wanted)
}

fn disables_uuids(name: &str) -> bool {
    matches!(name, "GRUB_DISABLE_LINUX_UUID" | "GRUB_DISABLE_UUID")
}

fn rename(facts: &Facts, path: &str, bytes: &[u8], concerns: &mut Vec<Concern>) -> Edits {
    let mut edits = Edits::new();
    for setting in parse(bytes) {
        let Some(inner) = setting.inner else {
            if setting.value.contains("=/dev/") {
                concerns.push(by_hand(path, &setting.name));
            }
            continue;
        };
        if disables_uuids(&setting.name) {
            if setting.value == "true" {
                edits.replace(inner, "false");
            }
            continue;
        }
        let raw = bytes.get(inner.clone()).unwrap_or_default();
        for (at, word) in text::words(raw, inner.start) {
            let arg = String::from_utf8_lossy(word);
            let verdict = cmdline::judge(facts, &arg, true);
            concerns.extend(cmdline::concern(path, &verdict));
            if let Argument::Rename { from, to, .. } = verdict {
                edits.replace(at, arg.replace(&from, &to));
            }
        }
    }
    edits
}

/// Appends arguments within the quotes of the last `GRUB_CMDLINE_LINUX`, or a line of its own.
fn append(bytes: &[u8], consoles: &[String], edits: &mut Edits, concerns: &mut Vec<Concern>) {
    let new = consoles.join(" ");
    let settings = parse(bytes);
    let Some(setting) = settings.iter().rfind(|a| a.name == CMDLINE) else {
        let end = text::line_end(bytes);
        let before = if bytes.is_empty() || bytes.ends_with(b"\n") {
            ""
        } else {
            end
        };
        edits.insert(bytes.len(), format!("{before}{CMDLINE}=\"{new}\"{end}"));
        return;
    };
    let blank = if setting.value.is_empty() { "" } else { " " };
    match (&setting.inner, setting.quote) {
        (Some(inner), Some(_)) => edits.insert(inner.end, format!("{blank}{new}")),
        (Some(inner), None) => {
            edits.insert(inner.start, "\"");
            edits.insert(inner.end, format!("{blank}{new}\""));
        }
        (None, _) => concerns.push(by_hand(MAIN, CMDLINE)),
    }
}

/// Sets the entry to start, a name that holds no quotes.
fn choose(bytes: &[u8], entry: &str, edits: &mut Edits, concerns: &mut Vec<Concern>) {
    let all = shell::assignments(bytes);
    let Some(setting) = all.iter().rfind(|a| a.name == DEFAULT) else {
        return;
    };
    match (&setting.inner, setting.quote) {
        (Some(inner), Some(_)) => edits.replace(inner.clone(), entry),
        (Some(inner), None) => edits.replace(inner.clone(), format!("\"{entry}\"")),
        (None, _) => concerns.push(by_hand(MAIN, DEFAULT)),
    }
}

pub(super) fn by_hand(path: &str, name: &str) -> Concern {
    Concern::warning(
        "edit-by-hand",
        format!(
            "{name} in {path} is written in a way guestfix does not edit; check it before the next kernel update"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{self, ROOT_UUID, SWAP_UUID};
    use super::*;
    use crate::fs::MemoryFs;

    fn facts(fs: MemoryFs) -> Facts {
        let mut facts = fixture::gathered(fs);
        facts.guest.arch = "x86_64".to_owned();
        facts
    }

    fn main_after(text: &str) -> Option<String> {
        let out = propose(&facts(MemoryFs::new().file(MAIN, text)), None);
        fixture::written(&out.changes, MAIN)
    }

    #[test]
    fn device_names_in_every_quoting_are_replaced() {
        let text = "GRUB_DEFAULT=0\r\nGRUB_CMDLINE_LINUX_DEFAULT='quiet  resume=/dev/sda5'\r\nGRUB_CMDLINE_LINUX=\"root=/dev/sda1 console=ttyS0\" # mine\r\nGRUB_DISABLE_LINUX_UUID=true";
        let want = format!(
            "GRUB_DEFAULT=0\r\nGRUB_CMDLINE_LINUX_DEFAULT='quiet  resume=UUID={SWAP_UUID}'\r\nGRUB_CMDLINE_LINUX=\"root=UUID={ROOT_UUID} console=ttyS0\" # mine\r\nGRUB_DISABLE_LINUX_UUID=false"
        );
        assert_eq!(main_after(text).unwrap(), want);
        assert_eq!(main_after(&want), None);
    }

    #[test]
    fn consoles_are_appended_in_every_quoting() {
        for (text, want) in [
            (
                "GRUB_CMDLINE_LINUX=\"\"\n",
                "GRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS0,115200n8\"\n",
            ),
            (
                "GRUB_CMDLINE_LINUX='a b'",
                "GRUB_CMDLINE_LINUX='a b console=tty0 console=ttyS0,115200n8'",
            ),
            (
                "GRUB_CMDLINE_LINUX=a\n",
                "GRUB_CMDLINE_LINUX=\"a console=tty0 console=ttyS0,115200n8\"\n",
            ),
            (
                "GRUB_CMDLINE_LINUX=\n",
                "GRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS0,115200n8\"\n",
            ),
            (
                "A=1",
                "A=1\nGRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS0,115200n8\"\n",
            ),
        ] {
            assert_eq!(main_after(text).as_deref(), Some(want));
        }
    }

    #[test]
    fn a_drop_in_is_used_where_mkconfig_reads_it() {
        let fs = MemoryFs::new()
            .file(MAIN, "GRUB_CMDLINE_LINUX=\"\"\n")
            .file(
                MKCONFIG,
                "for x in ${sysconfdir}/default/grub.d/*.cfg ; do\n",
            );
        let out = propose(&facts(fs.clone()), None);
        assert_eq!(fixture::written(&out.changes, MAIN), None);
        assert_eq!(
            fixture::written(&out.changes, DROP_IN).unwrap(),
            "# Written by guestfix: kernel messages and a login on the serial port (virtctl console).\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX console=tty0 console=ttyS0,115200n8\"\n"
        );
        let again = propose(&facts(fixture::applied(fs, &out.changes)), None);
        assert!(again.changes.is_empty());
    }

    #[test]
    fn what_cannot_be_edited_is_told() {
        let fs = MemoryFs::new().file(MAIN, "GRUB_CMDLINE_LINUX=\"a \"'root=/dev/sda1'\n");
        let out = propose(&facts(fs), None);
        assert!(out.changes.is_empty());
        assert!(out.concerns.iter().all(|c| c.id == "edit-by-hand"));
        assert_eq!(out.concerns.len(), 2);
    }
}
