// SPDX-License-Identifier: Apache-2.0
//! Configurations that ask for what only the old machine has: an address that changes, a driver,
//! a slot.

use super::cards::Machine;
use super::changes::Draft;
use super::patterns;
use super::pin::driver;
use super::system::System;
use super::systemd::OLD_DRIVERS;
use crate::document::yaml::{self, Yaml};
use crate::inspect::facts::{Concern, Sources};
use crate::linux::ini;
use crate::linux::text::{self, Edits};
use crate::plan::Target;

/// Writes the new addresses and drivers; what cannot be written is a concern.
pub(super) fn moved(
    machine: &Machine,
    sources: &Sources,
    target: &Target,
    draft: &mut Draft<'_>,
) -> Vec<Concern> {
    let moves: Vec<(&str, &str)> = machine
        .cards
        .iter()
        .filter(|card| card.given)
        .filter_map(|card| Some((card.old.as_deref()?, card.mac.as_deref()?)))
        .filter(|(old, new)| old != new)
        .collect();
    let mut out = Vec::new();
    for (path, system, _) in super::files(sources) {
        if system == System::Rules || path.contains("guestfix") {
            continue;
        }
        let old = draft.bytes(path).to_vec();
        let new = replace_macs(&old, &moves);
        if new != old {
            draft.set(path, new, "the card has another address now");
        }
        if matches!(system, System::Networkd | System::Keyfile | System::Netplan) {
            let old = draft.bytes(path).to_vec();
            let new = replace_drivers(&old, driver(&target.nic_model));
            if new != old {
                draft.set(path, new, "the card has another driver now");
            }
            let old = draft.bytes(path).to_vec();
            let new = patterns::widened(&old, system);
            if new != old {
                draft.set(
                    path,
                    new,
                    "the names of the new cards do not match this pattern",
                );
            }
            out.extend(slot(path, &old, system));
            out.extend(driver_left(path, draft.bytes(path), system));
        }
    }
    out
}

/// Every mention of an address outside comments, in the separators it was written with. All at
/// once: two cards may swap theirs.
fn replace_macs(bytes: &[u8], moves: &[(&str, &str)]) -> Vec<u8> {
    const LEN: usize = 17;
    let mut edits = Edits::new();
    for line in text::lines(bytes) {
        let first = line.bytes.iter().find(|b| !b.is_ascii_whitespace());
        if matches!(first, None | Some(b'#' | b';')) {
            continue;
        }
        for (at, window) in line.bytes.windows(LEN).enumerate() {
            let joins = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_hexdigit() || *b == b':');
            let before = at.checked_sub(1).and_then(|at| line.bytes.get(at));
            if joins(before) || joins(line.bytes.get(at.saturating_add(LEN))) {
                continue;
            }
            let found = String::from_utf8_lossy(window).to_ascii_lowercase();
            let Some((_, new)) = moves
                .iter()
                .find(|(old, _)| *old == found.replace('-', ":"))
            else {
                continue;
            };
            let new = match found.contains('-') {
                true => new.replace(':', "-"),
                false => (*new).to_owned(),
            };
            let start = line.start.saturating_add(at);
            edits.replace(start..start.saturating_add(LEN), new);
        }
    }
    edits.apply(bytes)
}

/// `Driver=vmxnet3` and `driver: vmxnet3`, word by word.
fn replace_drivers(bytes: &[u8], driver: &str) -> Vec<u8> {
    let mut edits = Edits::new();
    for line in text::lines(bytes) {
        let Some(at) = line.bytes.iter().position(|b| matches!(b, b'=' | b':')) else {
            continue;
        };
        let (key, value) = line.bytes.split_at(at);
        if !String::from_utf8_lossy(key)
            .trim()
            .eq_ignore_ascii_case("driver")
        {
            continue;
        }
        let base = line.start.saturating_add(at);
        for (word_at, word) in value_words(value, base) {
            if OLD_DRIVERS.contains(&String::from_utf8_lossy(word).as_ref()) {
                edits.replace(word_at, driver);
            }
        }
    }
    edits.apply(bytes)
}

/// Runs of the characters that names of drivers are made of.
fn value_words(bytes: &[u8], base: usize) -> Vec<(std::ops::Range<usize>, &[u8])> {
    let mut out = Vec::new();
    let mut at = base;
    for word in bytes.split(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))) {
        let end = at.saturating_add(word.len());
        if !word.is_empty() {
            out.push((at..end, word));
        }
        at = end.saturating_add(1);
    }
    out
}

fn slot(path: &str, bytes: &[u8], system: System) -> Option<Concern> {
    let all = ini::settings(bytes);
    let asks = match system {
        System::Networkd => ini::value(&all, "Match", "Path"),
        System::Keyfile => ini::value(&all, "match", "path"),
        _ => None,
    };
    asks.map(|slot| {
        Concern::warning(
            "nic-slot-gone",
            format!("{path} asks for the card in the slot {slot} of the old machine; let it match the name of the card instead"),
        )
    })
}

/// A driver that stands in flow style, where it is not replaced.
fn driver_left(path: &str, bytes: &[u8], system: System) -> Option<Concern> {
    let documents = match system {
        System::Netplan => yaml::parse(bytes).ok()?,
        _ => return None,
    };
    let cards = documents
        .iter()
        .filter_map(|d| d.at(&["network", "ethernets"]));
    let mut drivers = cards
        .flat_map(Yaml::entries)
        .filter_map(|card| card.value.at(&["match", "driver"]))
        .flat_map(Yaml::texts);
    let old = drivers.find(|driver| OLD_DRIVERS.contains(&driver.as_str()))?;
    Some(Concern::warning(
        "nic-driver-gone",
        format!(
            "{path} asks for a card with the driver {old} of the old machine; let it match the name of the card instead"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_replaced_as_they_were_written() {
        let moves = [
            ("00:0c:29:00:00:01", "52:54:00:00:00:01"),
            ("00:0c:29:00:00:02", "00:0c:29:00:00:01"),
        ];
        let old = b"# 00:0c:29:00:00:01\nHWADDR=00:0C:29:00:00:01\r\nx: 00-0c-29-00-00-02 \"00:0c:29:00:00:02\"\nid=01:00:0c:29:00:00:01\n";
        assert_eq!(
            String::from_utf8(replace_macs(old, &moves)).unwrap(),
            "# 00:0c:29:00:00:01\nHWADDR=52:54:00:00:00:01\r\nx: 00-0c-29-00-00-01 \"00:0c:29:00:00:01\"\nid=01:00:0c:29:00:00:01\n"
        );
    }

    #[test]
    fn drivers_are_replaced_word_by_word() {
        let new = replace_drivers(
            b"Driver=vmxnet3 igb\n  driver: \"e1000\"\nDescription=vmxnet3\n",
            "virtio_net",
        );
        assert_eq!(
            String::from_utf8(new).unwrap(),
            "Driver=virtio_net igb\n  driver: \"virtio_net\"\nDescription=vmxnet3\n"
        );
    }
}
