// SPDX-License-Identifier: Apache-2.0
//! `70-persistent-net.rules`: how udev kept names before systemd had link files (udev(7)).

use crate::linux::text::{self, Edits};

/// The file.
pub const PATH: &str = "/etc/udev/rules.d/70-persistent-net.rules";

/// A rule that names an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The name it gives.
    pub name: String,
    /// The hardware address it asks for.
    pub mac: Option<String>,
    /// Where its line begins.
    pub at: usize,
}

/// Reads the rules that give names.
pub fn parse(bytes: &[u8]) -> Vec<Rule> {
    text::lines(bytes)
        .iter()
        .filter_map(|line| {
            let text = line.text();
            if text.trim_start().starts_with('#') {
                return None;
            }
            Some(Rule {
                name: quoted(&text, &["NAME=", "NAME:="])?,
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
    fn rivals_are_commented_out_and_new_rules_follow() {
        let at = parse(RULES.as_bytes())[0].at;
        let new =
            String::from_utf8(edit(RULES.as_bytes(), &[at], &["NAME=\"eth0\"".into()])).unwrap();
        assert_eq!(
            new,
            RULES.replace(
                "SUBSYSTEM",
                "# guestfix: disabled, the card has another address now\r\n#SUBSYSTEM"
            ) + "\r\nNAME=\"eth0\"\r\n"
        );
        assert_eq!(parse(new.as_bytes()).len(), 1);
    }
}
