// SPDX-License-Identifier: Apache-2.0
//! Addresses in `/etc/network/interfaces` (interfaces(5)).

use super::Wish;
use crate::linux::text::{self, Edits, Line};
use crate::plan::addressing::Addressing;

/// Options that say what the address is.
const OPTIONS: [&str; 8] = [
    "address",
    "netmask",
    "gateway",
    "network",
    "broadcast",
    "pointopoint",
    "scope",
    "accept_ra",
];

/// The stanza of the card with its new address; a new stanza where its family has none.
pub(super) fn set(bytes: &[u8], wish: &Wish<'_>) -> Result<Vec<u8>, String> {
    let family = if wish.is_v6() { "inet6" } else { "inet" };
    let lines = text::lines(bytes);
    if lines.iter().any(|line| line.bytes.ends_with(b"\\")) {
        return Err("lines that run on over their end are not edited".to_owned());
    }
    let heads: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| {
            let text = line.text();
            let words: Vec<&str> = text.split_whitespace().collect();
            matches!(words.as_slice(), ["iface", name, have, ..] if *name == wish.name && *have == family)
        })
        .map(|(at, _)| at)
        .collect();
    let end = text::line_end(bytes);
    let mut edits = Edits::new();
    match heads.as_slice() {
        [] => {
            let gap = if bytes.is_empty() || bytes.ends_with(b"\n") {
                ""
            } else {
                end
            };
            let mut text = format!("{gap}{end}{}{end}", head(wish, family));
            for option in options(wish) {
                text.push_str(&format!("\t{option}{end}"));
            }
            edits.insert(bytes.len(), text);
        }
        [at] => {
            let (before, rest) = lines.split_at_checked(*at).unwrap_or((&lines, &[]));
            debug_assert_eq!(before.len(), *at);
            stanza(rest, wish, family, end, &mut edits);
        }
        _ => {
            return Err(format!(
                "{} has several stanzas of the family {family}",
                wish.name
            ));
        }
    }
    Ok(edits.apply(bytes))
}

fn head(wish: &Wish<'_>, family: &str) -> String {
    let method = match wish.to {
        Addressing::Dhcp => "dhcp",
        Addressing::Static(_) => "static",
    };
    format!("iface {} {family} {method}", wish.name)
}

fn options(wish: &Wish<'_>) -> Vec<String> {
    let Addressing::Static(fixed) = wish.to else {
        return Vec::new();
    };
    let mut out = vec![format!("address {}", fixed.cidr())];
    out.extend(fixed.gateway.map(|gateway| format!("gateway {gateway}")));
    if !fixed.dns.is_empty() {
        out.push(format!("dns-nameservers {}", fixed.dns_list(" ")));
    }
    out
}

/// Edits the stanza whose head is the first of these lines.
fn stanza(lines: &[Line<'_>], wish: &Wish<'_>, family: &str, end: &str, edits: &mut Edits) {
    let Some((first, rest)) = lines.split_first() else {
        return;
    };
    edits.replace(first.start..first.end, head(wish, family));
    let gap = if first.next == first.end { end } else { "" };
    for (at, option) in options(wish).into_iter().enumerate() {
        let gap = if at == 0 { gap } else { "" };
        edits.insert(first.next, format!("{gap}\t{option}{end}"));
    }
    let new_dns = matches!(wish.to, Addressing::Static(fixed) if !fixed.dns.is_empty());
    for line in rest {
        let text = line.text();
        let word = text.split_whitespace().next().unwrap_or_default();
        let ends = matches!(
            word,
            "iface" | "auto" | "mapping" | "source" | "source-directory" | "rename" | "template"
        ) || word.starts_with("allow-")
            || word.starts_with("no-");
        if ends {
            break;
        }
        if OPTIONS.contains(&word) || (new_dns && word == "dns-nameservers") {
            edits.replace(line.start..line.next, "");
        }
    }
}
