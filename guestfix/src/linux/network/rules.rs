// SPDX-License-Identifier: Apache-2.0
//! `70-persistent-net.rules`: how udev kept names before systemd had link files (udev(7)).

use crate::linux::text::{self, Edits};

/// The file that udev's own generator writes.
pub const PATH: &str = "/etc/udev/rules.d/70-persistent-net.rules";

/// A rule that names an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The name it gives.
    pub name: String,
    /// The hardware address it asks for.
    pub mac: Option<String>,
    /// It asks for something that only the old machine has: its slot or its driver.
    pub old_machine: bool,
    /// Where its line begins.
    pub at: usize,
}

/// Reads the rules that give names.
pub fn parse(bytes: &[u8]) -> Vec<Rule> {
    text::lines(bytes)
        .iter()
        .filter_map(|line| {
            let text = line.text();
            if text.trim_start().starts_with('#') || !is_about_cards(&text) {
                return None;
            }
            Some(Rule {
                name: quoted(&text, &["NAME=", "NAME:="])?,
                old_machine: is_of_old_machine(&text),
                mac: quoted(
                    &text,
                    &["ATTR{address}==", "ATTRS{address}==", "SYSFS{address}=="],
                )
                .and_then(|mac| super::mac(&mac)),
                at: line.start,
            })
        })
        .collect()
}

/// `NAME=` also named device nodes once; what generators wrote always says `net` or `eth*`.
fn is_about_cards(line: &str) -> bool {
    let of = quoted(line, &["SUBSYSTEM==", "SUBSYSTEMS=="]);
    let kernel = quoted(line, &["KERNEL=="]);
    of.as_deref() == Some("net") || kernel.is_some_and(|kernel| kernel.starts_with("eth"))
}

fn is_of_old_machine(line: &str) -> bool {
    let driver = quoted(line, &["DRIVERS==", "DRIVER==", "ENV{ID_NET_DRIVER}=="]);
    let driver = driver.is_some_and(|d| super::systemd::OLD_DRIVERS.contains(&d.as_str()));
    let slot = [
        "KERNELS==",
        "ID==",
        "ENV{ID_PATH}==",
        "ATTRS{vendor}==",
        "ENV{ID_NET_NAME_SLOT}==",
    ];
    driver || quoted(line, &slot).is_some_and(|slot| slot.contains(':') || slot.contains("0x15ad"))
}

/// The file with `add` behind it and rules commented out that would give one of the names to
/// another card.
pub fn edit(bytes: &[u8], rivals: &[usize], add: &[String]) -> Vec<u8> {
    let end = text::line_end(bytes);
    let mut edits = Edits::new();
    for at in rivals {
        edits.insert(
            *at,
            format!("# guestfix: disabled, the card has another address now{end}#"),
        );
    }
    if !add.is_empty() && !bytes.is_empty() && !bytes.ends_with(b"\n") {
        edits.insert(bytes.len(), end);
    }
    for rule in add {
        edits.insert(bytes.len(), format!("{rule}{end}"));
    }
    edits.apply(bytes)
}

/// The value between the quotes behind a key.
fn quoted(line: &str, keys: &[&str]) -> Option<String> {
    line.split(',').find_map(|part| {
        let part = part.trim();
        let rest = keys.iter().find_map(|key| part.strip_prefix(key))?;
        Some(rest.strip_prefix('"')?.strip_suffix('"')?.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "# PCI device 0x15ad:0x07b0 (vmxnet3)\r\nSUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{address}==\"00:50:56:01:02:03\", KERNEL==\"eth*\", NAME=\"eth0\"\r\n#NAME=\"eth9\"\r\nodd";

    #[test]
    fn rules_are_read() {
        let rules = parse(RULES.as_bytes());
        assert_eq!(rules.len(), 1);
        assert_eq!(rules[0].name, "eth0");
        assert_eq!(rules[0].mac.as_deref(), Some("00:50:56:01:02:03"));
    }

    #[test]
    fn rules_of_other_kinds_and_of_the_old_machine_are_told_apart() {
        let rules = parse(b"KERNEL==\"sd*\", NAME=\"disk\"\nSUBSYSTEM==\"net\", KERNELS==\"0000:0b:00.0\", NAME=\"lan\"\nSUBSYSTEM==\"net\", DRIVERS==\"?*\", NAME=\"any\"\n");
        let seen: Vec<_> = rules
            .iter()
            .map(|r| (r.name.as_str(), r.old_machine))
            .collect();
        assert_eq!(seen, [("lan", true), ("any", false)]);
    }

    #[test]
    fn rivals_are_commented_out_and_new_rules_follow() {
        let at = parse(RULES.as_bytes())[0].at;
        let new = String::from_utf8(edit(
            RULES.as_bytes(),
            &[at],
            &["KERNEL==\"eth*\", NAME=\"eth0\"".into()],
        ))
        .unwrap();
        assert_eq!(
            new,
            RULES.replace(
                "SUBSYSTEM",
                "# guestfix: disabled, the card has another address now\r\n#SUBSYSTEM"
            ) + "\r\nKERNEL==\"eth*\", NAME=\"eth0\"\r\n"
        );
        assert_eq!(parse(new.as_bytes()).len(), 1);
    }
}
