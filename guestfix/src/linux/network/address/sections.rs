// SPDX-License-Identifier: Apache-2.0
//! Addresses in section files: systemd-networkd's and NetworkManager's.

use std::ops::Range;

use super::Wish;
use crate::linux::text::{self, Edits, Line};
use crate::plan::addressing::Addressing;

/// A section: its name, the place of its header line, its lines.
struct Section<'a> {
    name: String,
    head: Range<usize>,
    lines: Vec<Line<'a>>,
}

fn sections(bytes: &[u8]) -> Vec<Section<'_>> {
    let mut out: Vec<Section<'_>> = Vec::new();
    for line in text::lines(bytes) {
        let text = line.text();
        let text = text.trim();
        let name = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        match (name, out.last_mut()) {
            (Some(name), _) => out.push(Section {
                name: name.to_owned(),
                head: line.start..line.next,
                lines: Vec::new(),
            }),
            (None, Some(section)) => section.lines.push(line),
            _ => {}
        }
    }
    out
}

/// Key and value of a line; `None` for comments and anything else.
fn pair(line: &Line<'_>) -> Option<(String, String)> {
    let text = line.text();
    let text = text.trim();
    if text.starts_with(['#', ';']) {
        return None;
    }
    let (key, value) = text.split_once('=')?;
    Some((key.trim().to_owned(), value.trim().to_owned()))
}

impl Section<'_> {
    fn get(&self, key: &str) -> Option<String> {
        let pairs = self.lines.iter().filter_map(pair);
        pairs
            .filter(|(have, _)| have == key)
            .map(|(_, value)| value)
            .next_back()
    }

    fn whole(&self) -> Range<usize> {
        let end = self.lines.last().map_or(self.head.end, |line| line.next);
        self.head.start..end
    }
}

/// Drops lines of one section, and puts others behind its header; made at the end where it is
/// missing.
fn put(
    bytes: &[u8],
    name: &str,
    drop: impl Fn(&str, &str) -> bool,
    add: &[String],
    edits: &mut Edits,
) {
    let end = text::line_end(bytes);
    let all = sections(bytes);
    let mut added = false;
    for section in all.iter().filter(|section| section.name == name) {
        if !added {
            for line in add {
                edits.insert(section.head.end, format!("{line}{end}"));
            }
            added = true;
        }
        for line in &section.lines {
            if pair(line).is_some_and(|(key, value)| drop(&key, &value)) {
                edits.replace(line.start..line.next, "");
            }
        }
    }
    if !added && !add.is_empty() {
        let gap = if bytes.ends_with(b"\n") { "" } else { end };
        edits.insert(bytes.len(), format!("{gap}{end}[{name}]{end}"));
        for line in add {
            edits.insert(bytes.len(), format!("{line}{end}"));
        }
    }
}

/// A `.network` file (systemd.network(5)).
pub(super) fn networkd(bytes: &[u8], wish: &Wish<'_>) -> Vec<u8> {
    let all = sections(bytes);
    let mut edits = Edits::new();
    for section in &all {
        let mine = |key: &str| section.get(key).is_some_and(|value| wish.is_mine(&value));
        let goes = match section.name.as_str() {
            "Address" => mine("Address"),
            "Route" => is_default(section.get("Destination").as_deref()) && mine("Gateway"),
            _ => false,
        };
        if goes {
            edits.replace(section.whole(), "");
        }
    }
    let old = all
        .iter()
        .filter(|section| section.name == "Network")
        .find_map(|section| section.get("DHCP"));
    let mut add = vec![format!("DHCP={}", dhcp(old.as_deref(), wish))];
    let mut new_dns = false;
    if let Addressing::Static(fixed) = wish.to {
        add.push(format!("Address={}", fixed.cidr()));
        add.extend(fixed.gateway.map(|gateway| format!("Gateway={gateway}")));
        new_dns = !fixed.dns.is_empty();
        add.extend(fixed.dns.iter().map(|dns| format!("DNS={dns}")));
    }
    let drop = |key: &str, value: &str| match key {
        "DHCP" => true,
        "Address" | "Gateway" => wish.is_mine(value),
        "DNS" => new_dns,
        _ => false,
    };
    put(bytes, "Network", drop, &add, &mut edits);
    edits.apply(bytes)
}

fn is_default(destination: Option<&str>) -> bool {
    matches!(
        destination,
        None | Some("" | "0.0.0.0/0" | "::/0" | "default")
    )
}

/// What `DHCP=` becomes: the other family keeps what it had.
fn dhcp(old: Option<&str>, wish: &Wish<'_>) -> &'static str {
    let both = matches!(old, Some("yes" | "true" | "on" | "1" | "both"));
    let v4 = both || matches!(old, Some("ipv4" | "v4"));
    let v6 = both || matches!(old, Some("ipv6" | "v6"));
    let (v4, v6) = match (wish.to, wish.is_v6()) {
        (Addressing::Dhcp, _) => (true, v6),
        (_, false) => (false, v6),
        (_, true) => (v4, false),
    };
    match (v4, v6) {
        (true, true) => "yes",
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        _ => "no",
    }
}

/// A connection (nm-settings-keyfile(5)).
pub(super) fn keyfile(bytes: &[u8], wish: &Wish<'_>) -> Vec<u8> {
    let mut edits = Edits::new();
    let family = if wish.is_v6() { "ipv6" } else { "ipv4" };
    let mut add = Vec::new();
    let mut new_dns = false;
    match wish.to {
        Addressing::Dhcp => add.push("method=auto".to_owned()),
        Addressing::Static(fixed) => {
            add.push("method=manual".to_owned());
            let gateway = fixed
                .gateway
                .map_or_else(String::new, |gateway| format!(",{gateway}"));
            add.push(format!("address1={}{gateway}", fixed.cidr()));
            new_dns = !fixed.dns.is_empty();
        }
    }
    if let Addressing::Static(fixed) = wish.to {
        for (section, v6) in [("ipv4", false), ("ipv6", true)] {
            let dns: String = fixed
                .dns
                .iter()
                .filter(|dns| dns.is_ipv6() == v6)
                .map(|dns| format!("{dns};"))
                .collect();
            if dns.is_empty() {
                continue;
            }
            if section == family {
                add.push(format!("dns={dns}"));
            } else {
                put(
                    bytes,
                    section,
                    |key, _| key == "dns",
                    &[format!("dns={dns}")],
                    &mut edits,
                );
            }
        }
    }
    let drop = |key: &str, _: &str| {
        key == "method"
            || key == "gateway"
            || key == "addresses"
            || key
                .strip_prefix("address")
                .is_some_and(|n| n.is_empty() || n.parse::<u8>().is_ok())
            || (new_dns && key == "dns")
    };
    put(bytes, family, drop, &add, &mut edits);
    edits.apply(bytes)
}
