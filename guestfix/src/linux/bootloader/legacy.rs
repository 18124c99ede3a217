// SPDX-License-Identifier: Apache-2.0
//! GRUB legacy (0.9x): `menu.lst`, which Red Hat calls `grub.conf`. Debian's `update-grub` keeps its
//! settings in comments of the same file (`# kopt=`), so they are edited as well.
//!
//! Format: <https://www.gnu.org/software/grub/manual/legacy/grub.html>.

use std::ops::Range;

use super::cmdline::{self, Run};
use super::script::Word;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::linux::text::{self, Edits};

/// A menu.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Menu {
    /// What stands behind `default`: a number or `saved`; and where.
    pub default: Option<(String, Range<usize>)>,
    /// Entries, by which `default` counts.
    pub entries: Vec<Entry>,
    /// Arguments that Debian's `update-grub` gives to all entries, or to all but the second of
    /// each kernel, and where they stand.
    pub automatic: Vec<Automatic>,
}

/// One `title`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Title.
    pub title: String,
    /// Kernel image as GRUB sees it, a device before it cut off; empty when it starts none.
    pub image: String,
    /// Where the image stands.
    pub image_end: usize,
    /// Arguments.
    pub args: Vec<Word>,
    /// The initramfs.
    pub initrd: Vec<String>,
}

/// A setting of Debian's `update-grub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Automatic {
    /// `kopt`, `defoptions` or `altoptions`, or one of these for one version.
    pub name: String,
    /// Where the value stands.
    pub at: Range<usize>,
}

/// Reads a menu. A line that is not understood is left out: GRUB skips it too.
pub fn parse(bytes: &[u8]) -> Menu {
    let mut menu = Menu::default();
    for line in text::lines(bytes) {
        if let Some(setting) = automatic(&line) {
            menu.automatic.push(setting);
            continue;
        }
        // GRUB takes `default=0` and `default 0`.
        let mut words = cmdline::words_in(bytes, line.start..line.end).into_iter();
        let Some(first) = words.next() else { continue };
        let (command, value) = match first.text.split_once('=') {
            Some((command, value)) => (command.to_owned(), Some(value.to_owned())),
            None => (first.text.clone(), None),
        };
        match command.as_str() {
            "default" => {
                let value = match value {
                    Some(value) if !value.is_empty() => {
                        let from = first.at.end.saturating_sub(value.len());
                        Some((value, from..first.at.end))
                    }
                    _ => words.next().map(|word| (word.text, word.at)),
                };
                menu.default = value.or(menu.default);
            }
            "title" => {
                let at = words.next().map_or(line.end, |word| word.at.start);
                let title = bytes.get(at..line.end).unwrap_or_default();
                menu.entries.push(Entry {
                    title: String::from_utf8_lossy(title).into_owned(),
                    ..Entry::default()
                });
            }
            "kernel" => {
                if let Some(entry) = menu.entries.last_mut() {
                    entry.kernel(words);
                }
            }
            "initrd" | "module" | "modulenounzip" => {
                if let Some(entry) = menu.entries.last_mut() {
                    entry.module(&command, words);
                }
            }
            _ => {}
        }
    }
    menu
}

impl Entry {
    fn kernel(&mut self, words: impl Iterator<Item = Word>) {
        // Options like --no-mem-option stand before the image.
        let mut words = words.skip_while(|word| word.text.starts_with("--"));
        if let Some(image) = words.next() {
            self.image_end = image.at.end;
            self.image = without_device(&image.text).to_owned();
            self.args = words.collect();
        }
    }

    /// Under Xen the first module is the kernel and the second its initramfs.
    fn module(&mut self, command: &str, mut words: impl Iterator<Item = Word>) {
        let is_xen = self
            .image
            .rsplit('/')
            .next()
            .is_some_and(|n| n.starts_with("xen"));
        let Some(file) = words.next() else { return };
        if command != "initrd" && is_xen {
            self.image_end = file.at.end;
            self.image = without_device(&file.text).to_owned();
            self.args = words.collect();
        } else {
            self.initrd.push(without_device(&file.text).to_owned());
        }
    }

    /// False for other programs, memtest above all.
    pub fn is_kernel(&self) -> bool {
        let name = self.image.rsplit('/').next().unwrap_or_default();
        let named = ["vmlinu", "bzImage", "kernel", "linux"];
        named.iter().any(|start| name.starts_with(start))
            || self.args.iter().any(|arg| arg.text.starts_with("root="))
    }
}

fn automatic(line: &text::Line<'_>) -> Option<Automatic> {
    let setting = line.bytes.strip_prefix(b"# ")?;
    let equals = setting.iter().position(|byte| *byte == b'=')?;
    let name = std::str::from_utf8(setting.get(..equals)?).ok()?;
    let known = ["kopt", "defoptions", "altoptions"];
    let base = name.split('_').next()?;
    if !known.contains(&base) {
        return None;
    }
    let from = line
        .start
        .checked_add(2)?
        .checked_add(equals)?
        .checked_add(1)?;
    Some(Automatic {
        name: name.to_owned(),
        at: from..line.end,
    })
}

/// The edited menu and what is to be said about it; `default` is the entry to start by itself.
pub fn edit(
    facts: &Facts,
    path: &str,
    bytes: &[u8],
    default: Option<usize>,
) -> (Vec<u8>, Vec<Concern>) {
    let menu = parse(bytes);
    let mut edits = Edits::new();
    let mut concerns = Vec::new();
    for entry in menu.entries.iter().filter(|entry| entry.is_kernel()) {
        let run = Run {
            file: path,
            bytes,
            args: &entry.args,
            initramfs: !entry.initrd.is_empty(),
            end: Some(entry.args.last().map_or(entry.image_end, |arg| arg.at.end)),
        };
        run.edit(facts, &mut edits, &mut concerns);
    }
    for setting in &menu.automatic {
        let args = cmdline::words_in(bytes, setting.at.clone());
        let all = setting.name.starts_with("kopt");
        let run = Run {
            file: path,
            bytes,
            args: &args,
            initramfs: true,
            end: args.last().map(|arg| arg.at.end).filter(|_| all),
        };
        run.edit(facts, &mut edits, &mut concerns);
    }
    if let Some(index) = default {
        match menu.default {
            Some((_, at)) => edits.replace(at, index.to_string()),
            None => edits.insert(0, format!("default {index}{}", text::line_end(bytes))),
        }
    }
    (edits.apply(bytes), concerns)
}

/// `(hd0,0)/vmlinuz` without the device.
fn without_device(path: &str) -> &str {
    match path.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((_, path)) => path,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{self, ROOT_UUID, SWAP_UUID};
    use super::*;

    const MENU: &str = "# grub.conf generated by anaconda\r\n#boot=/dev/sda\r\ndefault=1\r\ntimeout=5\r\nsplashimage=(hd0,0)/grub/splash.xpm.gz\r\ntitle CentOS (2.6.32-754.el6.x86_64)\r\n\troot (hd0,0)\r\n\tkernel /vmlinuz-2.6.32-754.el6.x86_64 ro root=/dev/sda1 rd_NO_LUKS\r\n\tinitrd /initramfs-2.6.32-754.el6.x86_64.img\r\ntitle Old\r\n\tkernel --no-mem-option (hd0,0)/vmlinuz-2.6.18 ro root=LABEL=/ resume=/dev/sda5\r\n\tinitrd /initrd-2.6.18.img\r\ntitle Other\r\n\tchainloader +1\r\n";

    fn facts() -> Facts {
        let mut facts = fixture::facts();
        facts.guest.arch = "x86_64".to_owned();
        facts
    }

    #[test]
    fn a_menu_is_read() {
        let menu = parse(MENU.as_bytes());
        assert_eq!(menu.default.clone().unwrap().0, "1");
        let images: Vec<_> = menu.entries.iter().map(|e| e.image.as_str()).collect();
        assert_eq!(
            images,
            ["/vmlinuz-2.6.32-754.el6.x86_64", "/vmlinuz-2.6.18", ""]
        );
        assert_eq!(menu.entries[0].title, "CentOS (2.6.32-754.el6.x86_64)");
        assert_eq!(menu.entries[1].initrd, ["/initrd-2.6.18.img"]);
    }

    #[test]
    fn arguments_and_the_default_change_and_nothing_else() {
        let (new, _) = edit(&facts(), "menu.lst", MENU.as_bytes(), Some(0));
        let console = "console=tty0 console=ttyS0,115200n8";
        let want = MENU
            .replace("default=1", "default=0")
            .replace(
                "root=/dev/sda1 rd_NO_LUKS",
                &format!("root=UUID={ROOT_UUID} rd_NO_LUKS {console}"),
            )
            .replace(
                "resume=/dev/sda5",
                &format!("resume=UUID={SWAP_UUID} {console}"),
            );
        assert_eq!(String::from_utf8(new.clone()).unwrap(), want);
        assert_eq!(edit(&facts(), "menu.lst", &new, None).0, new);
    }

    #[test]
    fn what_update_grub_reads_from_comments_is_edited_too() {
        let menu = "default\t\t0\n### BEGIN AUTOMAGIC KERNELS LIST\n# kopt=root=/dev/sda1 ro\n## altoptions=(single) single\n# defoptions=quiet\n\ntitle Debian\nkernel /boot/vmlinuz-2.6.26 root=/dev/sda1 ro quiet\ninitrd /boot/initrd.img-2.6.26\n";
        let (new, _) = edit(&facts(), "menu.lst", menu.as_bytes(), None);
        let text = String::from_utf8(new).unwrap();
        let named = format!("root=UUID={ROOT_UUID} ro");
        assert!(
            text.contains(&format!(
                "# kopt={named} console=tty0 console=ttyS0,115200n8\n"
            )),
            "{text}"
        );
        assert!(text.contains("# defoptions=quiet\n"), "{text}");
        assert!(
            text.contains(&format!("vmlinuz-2.6.26 {named} quiet console=tty0")),
            "{text}"
        );
        assert_eq!(parse(text.as_bytes()).default.unwrap().0, "0");
    }

    #[test]
    fn under_xen_the_first_module_is_the_kernel() {
        let menu = parse(b"title x\nkernel /xen.gz dom0_mem=1\nmodule /vmlinuz-xen root=/dev/sda1\nmodule /initrd-xen\n");
        assert_eq!(menu.entries[0].image, "/vmlinuz-xen");
        assert_eq!(menu.entries[0].initrd, ["/initrd-xen"]);
    }

    #[test]
    fn a_menu_without_a_default_gets_one_at_its_top() {
        let (new, _) = edit(&facts(), "menu.lst", b"title a\ntitle b\n", Some(1));
        assert_eq!(new, b"default 1\ntitle a\ntitle b\n");
    }
}
