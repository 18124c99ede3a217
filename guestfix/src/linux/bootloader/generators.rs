// SPDX-License-Identifier: Apache-2.0
//! Settings of the tools that write other loaders' menus: Debian's `extlinux-update` and
//! `u-boot-update`, Alpine's `update-extlinux`, SUSE's perl-Bootloader.

use super::cmdline::{self, Run};
use super::defaults::by_hand;
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::linux::gather::Gatherer;
use crate::linux::shell::{self, Assignment};
use crate::linux::text::{self, Edits};
use crate::plan::{Change, Proposal};

/// Alpine's file; its `default=` names the label to start.
pub const UPDATE_EXTLINUX: &str = "/etc/update-extlinux.conf";

/// One tool's file.
struct Generator {
    path: &'static str,
    /// The variable of arguments that are given to every entry.
    args: &'static str,
    /// Further variables of arguments.
    more: &'static [&'static str],
}

const GENERATORS: [Generator; 4] = [
    Generator {
        path: "/etc/default/extlinux",
        args: "EXTLINUX_PARAMETERS",
        more: &["EXTLINUX_ROOT"],
    },
    Generator {
        path: "/etc/default/u-boot",
        args: "U_BOOT_PARAMETERS",
        more: &["U_BOOT_ROOT"],
    },
    Generator {
        path: UPDATE_EXTLINUX,
        args: "default_kernel_opts",
        more: &["root"],
    },
    Generator {
        path: "/etc/sysconfig/bootloader",
        args: "DEFAULT_APPEND",
        more: &["FAILSAFE_APPEND", "XEN_KERNEL_APPEND"],
    },
];

/// Reads these files.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    for generator in GENERATORS {
        gather.file(generator.path)?;
    }
    Ok(())
}

impl Generator {
    /// The settings of interest in the order of the file.
    fn parse(&self, bytes: &[u8]) -> Vec<Assignment> {
        let mut all = shell::assignments(bytes);
        all.retain(|a| a.name == self.args || self.more.contains(&a.name.as_str()));
        all
    }

    fn edit(&self, facts: &Facts, bytes: &[u8], concerns: &mut Vec<Concern>) -> Edits {
        let mut edits = Edits::new();
        let all = self.parse(bytes);
        let texts: Vec<&str> = all
            .iter()
            .flat_map(|a| a.value.split_whitespace())
            .collect();
        let consoles = cmdline::missing_consoles(&facts.guest.arch, &texts);
        let last = all.iter().rposition(|a| a.name == self.args);
        for (index, setting) in all.iter().enumerate() {
            let Some(inner) = setting.inner.clone() else {
                concerns.push(by_hand(self.path, &setting.name));
                continue;
            };
            // `root=` is written as an argument is.
            let args = match setting.name.as_str() {
                "root" => vec![super::script::Word {
                    text: format!("root={}", setting.value),
                    at: inner.clone(),
                }],
                _ => cmdline::words_in(bytes, inner.clone()),
            };
            let run = Run {
                file: self.path,
                bytes,
                args: &args,
                initramfs: true,
                end: None,
            };
            run.edit(facts, &mut edits, concerns);
            if last == Some(index) && !consoles.is_empty() {
                let blank = if setting.value.is_empty() { "" } else { " " };
                let text = format!("{blank}{}", consoles.join(" "));
                match setting.quote {
                    Some(_) => edits.insert(inner.end, text),
                    None => {
                        edits.insert(inner.start, "\"");
                        edits.insert(inner.end, format!("{text}\""));
                    }
                }
            }
        }
        edits
    }
}

/// Stable names and a serial console for menus to come; `default` is the label for Alpine's file.
pub fn propose(facts: &Facts, default: Option<&str>) -> Proposal {
    let mut out = Proposal::default();
    for generator in GENERATORS {
        let path = generator.path;
        let Some(bytes) = facts.sources.bytes(path) else {
            continue;
        };
        if text::is_binary(bytes) {
            out.concerns.push(crate::linux::fstab::unparsable(path));
            continue;
        }
        let mut edits = generator.edit(facts, bytes, &mut out.concerns);
        if let Some(label) = default.filter(|_| path == UPDATE_EXTLINUX) {
            let all = shell::assignments(bytes);
            let chosen = all.iter().rfind(|a| a.name == "default");
            if let Some(inner) = chosen.and_then(|a| a.inner.clone()) {
                edits.replace(inner, label);
            }
        }
        let why = "the guest's next boot menu would bring device names of the old machine back";
        let new = edits.apply(bytes);
        out.changes
            .extend(Change::edit("bootloader", why, &facts.sources, path, new));
    }
    out
}

/// What in these files would make the next menu unbootable.
pub fn faults(facts: &Facts) -> Vec<String> {
    let mut faults = Vec::new();
    for generator in GENERATORS {
        let bytes = facts.sources.bytes(generator.path).unwrap_or_default();
        for setting in generator.parse(bytes) {
            let text = match setting.name.as_str() {
                "root" => format!("root={}", setting.value),
                _ => setting.value,
            };
            let args = text.split_whitespace();
            let bad = args.filter(|arg| !cmdline::may_stay(facts, arg));
            faults.extend(bad.map(|arg| format!("{} has {arg}", generator.path)));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{self, ROOT_UUID};
    use super::*;
    use crate::fs::MemoryFs;

    fn facts(fs: MemoryFs) -> Facts {
        let mut facts = fixture::gathered(fs);
        facts.guest.arch = "x86_64".to_owned();
        facts
    }

    #[test]
    fn alpines_file_is_edited_in_its_own_style() {
        let fs = MemoryFs::new().file(
            UPDATE_EXTLINUX,
            "# root: device\nroot=/dev/sda1\ndefault_kernel_opts=quiet\ndefault=lts\n",
        );
        let before = facts(fs.clone());
        assert_eq!(
            faults(&before),
            [format!("{UPDATE_EXTLINUX} has root=/dev/sda1")]
        );
        let out = propose(&before, Some("virt"));
        let want = format!(
            "# root: device\nroot=UUID={ROOT_UUID}\ndefault_kernel_opts=\"quiet console=tty0 console=ttyS0,115200n8\"\ndefault=virt\n"
        );
        assert_eq!(
            fixture::written(&out.changes, UPDATE_EXTLINUX).unwrap(),
            want
        );
        let after = facts(fixture::applied(fs, &out.changes));
        assert!(propose(&after, None).changes.is_empty() && faults(&after).is_empty());
    }

    #[test]
    fn debians_files_are_edited() {
        let path = "/etc/default/extlinux";
        let fs = MemoryFs::new().file(
            path,
            "EXTLINUX_PARAMETERS=\"ro quiet\"\nEXTLINUX_ROOT=\"root=/dev/sda1\"\n",
        );
        let out = propose(&facts(fs), None);
        assert_eq!(
            fixture::written(&out.changes, path).unwrap(),
            format!(
                "EXTLINUX_PARAMETERS=\"ro quiet console=tty0 console=ttyS0,115200n8\"\nEXTLINUX_ROOT=\"root=UUID={ROOT_UUID}\"\n"
            )
        );
    }

    #[test]
    fn a_value_made_of_parts_is_told() {
        let fs = MemoryFs::new().file("/etc/default/u-boot", "U_BOOT_ROOT=\"root=\"'/dev/sda1'\n");
        let out = propose(&facts(fs), None);
        assert!(out.changes.is_empty());
        assert_eq!(out.concerns[0].id, "edit-by-hand");
    }
}
