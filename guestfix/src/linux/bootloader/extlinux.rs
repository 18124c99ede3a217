// SPDX-License-Identifier: Apache-2.0
//! SYSLINUX and its sisters: `extlinux.conf` and `syslinux.cfg`. U-Boot and the like read the same
//! file.
//!
//! Format: <https://wiki.syslinux.org/wiki/index.php?title=SYSLINUX>, "Config".

use std::ops::Range;

use super::cmdline::{self, Run};
use super::script::Word;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::linux::text::{self, Edits};

/// Directories that may hold a configuration.
pub const DIRS: [&str; 8] = [
    "/boot",
    "/boot/extlinux",
    "/boot/syslinux",
    "/extlinux",
    "/syslinux",
    "/boot/EFI/syslinux",
    "/boot/efi/EFI/syslinux",
    "/efi/EFI/syslinux",
];

/// True for files of such a directory that are read.
pub fn is_config(dir: &str, name: &str) -> bool {
    let main = matches!(name, "extlinux.conf" | "syslinux.cfg");
    main || (dir != "/boot" && name.ends_with(".cfg"))
}

/// A configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// `DEFAULT`, and where it stands.
    pub default: Option<(String, Range<usize>)>,
    /// The labels.
    pub labels: Vec<Label>,
}

/// One `LABEL`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// `KERNEL` or `LINUX`, relative to the file's directory where it has no leading slash.
    pub image: String,
    /// `INITRD`, and `initrd=` among the arguments.
    pub initrd: Vec<String>,
    /// `APPEND`.
    pub args: Vec<Word>,
    /// Where further arguments go: behind `APPEND`; `None` where there is none.
    pub end: Option<usize>,
    /// `MENU DEFAULT`: it starts by itself where a menu is shown.
    pub marked: bool,
    /// Where the line of the image ends.
    image_end: usize,
}

impl Label {
    /// False for modules of SYSLINUX's own, for memtest and the like.
    pub fn is_kernel(&self) -> bool {
        let name = self.image.rsplit('/').next().unwrap_or_default();
        let named = ["vmlinu", "bzImage", "kernel", "Image", "linux"];
        named.iter().any(|start| name.starts_with(start))
            || self.args.iter().any(|arg| arg.text.starts_with("root="))
    }
}

/// Reads a file; keywords stand in either case.
pub fn parse(bytes: &[u8]) -> Config {
    let mut config = Config::default();
    for line in text::lines(bytes) {
        let mut words = cmdline::words_in(bytes, line.start..line.end).into_iter();
        let Some(first) = words.next() else { continue };
        let keyword = first.text.to_ascii_lowercase();
        let label = config.labels.last_mut();
        match (keyword.as_str(), label) {
            ("default", _) => {
                if let Some(word) = words.next() {
                    config.default = Some((word.text, word.at));
                }
            }
            ("label", _) => {
                let name = words.next().map(|word| word.text).unwrap_or_default();
                config.labels.push(Label {
                    name,
                    ..Label::default()
                });
            }
            ("kernel" | "linux", Some(label)) => {
                label.image = words.next().map(|word| word.text).unwrap_or_default();
                label.image_end = line.end;
            }
            ("initrd", Some(label)) => words.for_each(|word| label.add_initrd(&word.text)),
            ("append", Some(label)) => label.append(words.collect(), first.at.end),
            ("menu", label) => {
                let word = words.next().map(|word| word.text.to_ascii_lowercase());
                if let (Some("default"), Some(label)) = (word.as_deref(), label) {
                    label.marked = true;
                }
            }
            _ => {}
        }
    }
    config
}

impl Label {
    fn add_initrd(&mut self, list: &str) {
        self.initrd.extend(list.split(',').map(str::to_owned));
    }

    fn append(&mut self, args: Vec<Word>, keyword_end: usize) {
        for arg in &args {
            if let Some(list) = arg.text.strip_prefix("initrd=") {
                self.initrd.extend(list.split(',').map(str::to_owned));
            }
        }
        self.end = Some(args.last().map_or(keyword_end, |arg| arg.at.end));
        self.args = args;
    }
}

/// The edited file and what is to be said about it; `default` is the label to start by itself.
pub fn edit(
    facts: &Facts,
    path: &str,
    bytes: &[u8],
    default: Option<&str>,
) -> (Vec<u8>, Vec<Concern>) {
    let config = parse(bytes);
    let mut edits = Edits::new();
    let mut concerns = Vec::new();
    for label in config.labels.iter().filter(|label| label.is_kernel()) {
        let run = Run {
            file: path,
            bytes,
            args: &label.args,
            initramfs: !label.initrd.is_empty(),
            end: label.end,
        };
        run.edit(facts, &mut edits, &mut concerns);
        if label.end.is_none() {
            let consoles = cmdline::missing_consoles(&facts.guest.arch, &[]);
            if !consoles.is_empty() {
                let end = text::line_end(bytes);
                let line = format!("{end}  APPEND {}", consoles.join(" "));
                edits.insert(label.image_end, line);
            }
        }
    }
    if let Some(name) = default {
        match config.default {
            Some((_, at)) => edits.replace(at, name),
            None => edits.insert(0, format!("DEFAULT {name}{}", text::line_end(bytes))),
        }
    }
    (edits.apply(bytes), concerns)
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{self, ROOT_UUID};
    use super::*;

    const CONFIG: &str = "# Generated by update-extlinux 6.04\nDEFAULT menu.c32\nPROMPT 0\nMENU TITLE Alpine\n\nLABEL lts\n  MENU DEFAULT\n  MENU LABEL Linux lts\n  LINUX vmlinuz-lts\n  INITRD initramfs-lts\n  APPEND root=/dev/sda1 modules=sd-mod,ext4 quiet\n\nlabel old\n\tkernel /boot/vmlinuz\n\tappend initrd=/boot/initrd.gz root=/dev/sda1\nlabel bare\r\n  linux /vmlinuz-bare\r\nlabel hdt\n  com32 hdt.c32\n";

    fn facts() -> Facts {
        let mut facts = fixture::facts();
        facts.guest.arch = "x86_64".to_owned();
        facts
    }

    #[test]
    fn labels_are_read_in_either_case() {
        let config = parse(CONFIG.as_bytes());
        assert_eq!(config.default.unwrap().0, "menu.c32");
        let labels: Vec<_> = config
            .labels
            .iter()
            .map(|l| (l.name.as_str(), l.image.as_str(), l.initrd.join(",")))
            .collect();
        assert_eq!(
            labels,
            [
                ("lts", "vmlinuz-lts", "initramfs-lts".to_owned()),
                ("old", "/boot/vmlinuz", "/boot/initrd.gz".to_owned()),
                ("bare", "/vmlinuz-bare", String::new()),
                ("hdt", "", String::new()),
            ]
        );
        let marked: Vec<_> = config.labels.iter().map(|label| label.marked).collect();
        assert_eq!(marked, [true, false, false, false]);
    }

    #[test]
    fn arguments_change_and_nothing_else() {
        let (new, _) = edit(&facts(), "extlinux.conf", CONFIG.as_bytes(), None);
        let console = "console=tty0 console=ttyS0,115200n8";
        let want = CONFIG
            .replace("/dev/sda1", &format!("UUID={ROOT_UUID}"))
            .replace("ext4 quiet", &format!("ext4 quiet {console}"))
            .replace(
                &format!("initrd.gz root=UUID={ROOT_UUID}"),
                &format!("initrd.gz root=UUID={ROOT_UUID} {console}"),
            )
            .replace(
                "/vmlinuz-bare\r\n",
                &format!("/vmlinuz-bare\n  APPEND {console}\r\n"),
            );
        assert_eq!(String::from_utf8(new.clone()).unwrap(), want);
        assert_eq!(edit(&facts(), "extlinux.conf", &new, None).0, new);
    }

    #[test]
    fn the_default_label_is_replaced_or_added() {
        let (new, _) = edit(&facts(), "f", b"default a\nlabel a\nlabel b\n", Some("b"));
        assert_eq!(new, b"default b\nlabel a\nlabel b\n");
        let (new, _) = edit(&facts(), "f", b"label a\nlabel b\n", Some("b"));
        assert_eq!(new, b"DEFAULT b\nlabel a\nlabel b\n");
    }
}
