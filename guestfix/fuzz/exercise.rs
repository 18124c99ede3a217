// SPDX-License-Identifier: Apache-2.0
//! What hostile bytes are put through: open, replay, walk, text, edit. Nothing may panic, and what
//! was sound before an edit is sound after it.

use guestfix::hive::{self, Dirty, Editor, Hive, Key, ValueType, typed};

/// Stands between a hive and each of its logs in one input.
pub const MARK: &[u8] = b"GFIXLOG!";

const NOW: u64 = 0x1d2_9627_f1c8_a860;
const SEED: (u32, u32) = (0x7A4E_55C5, 0x82EF_4D88);

/// Runs one input as it is, and once more with right checksums and hashes, which a mutation would
/// hardly ever hit.
pub fn fuzz_hive(bytes: &[u8]) {
    let mut parts = split(bytes);
    run(&parts);
    for part in &mut parts {
        repair(part);
    }
    run(&parts);
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut out = vec![Vec::new()];
    let mut rest = bytes;
    while let Some((first, more)) = rest.split_first() {
        if rest.starts_with(MARK) && out.len() < 4 {
            out.push(Vec::new());
            rest = &rest[MARK.len()..];
        } else {
            out.last_mut().unwrap().push(*first);
            rest = more;
        }
    }
    out
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let raw = bytes.get(at..at + 4).map(|raw| raw.try_into().unwrap());
    u32::from_le_bytes(raw.unwrap_or_default())
}

fn repair(bytes: &mut [u8]) {
    if bytes.len() < 512 || !bytes.starts_with(b"regf") {
        return;
    }
    let mut at = 512;
    while bytes.get(at..at + 4) == Some(b"HvLE") {
        let size = word(bytes, at + 4) as usize;
        let Some(entry) = bytes.get_mut(at..at.saturating_add(size)) else {
            break;
        };
        if size < 40 {
            break;
        }
        let body = marvin(&entry[40..]);
        entry[24..32].copy_from_slice(&body.to_le_bytes());
        let head = marvin(&entry[..32]);
        entry[32..40].copy_from_slice(&head.to_le_bytes());
        at += size;
    }
    let sum = (0..127).fold(0, |sum, index| sum ^ word(bytes, index * 4));
    let sum = match sum {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        other => other,
    };
    bytes[508..512].copy_from_slice(&sum.to_le_bytes());
}

/// Marvin32 once more, so that a mistake in one shows by the other.
fn marvin(bytes: &[u8]) -> u64 {
    let (mut low, mut high) = SEED;
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(4), 0);
    padded.extend([0; 4]);
    for at in (0..padded.len()).step_by(4) {
        low = low.wrapping_add(word(&padded, at));
        high ^= low;
        low = low.rotate_left(20).wrapping_add(high);
        high = high.rotate_left(9) ^ low;
        low = low.rotate_left(27).wrapping_add(high);
        high = high.rotate_left(19);
    }
    u64::from(high) << 32 | u64::from(low)
}

fn run(parts: &[Vec<u8>]) {
    let logs: Vec<&[u8]> = parts[1..].iter().map(Vec::as_slice).collect();
    let strict = Hive::open(parts[0].clone(), &logs, Dirty::Refuse);
    let Ok(mut hive) = Hive::open(parts[0].clone(), &logs, Dirty::Accept) else {
        assert!(strict.is_err(), "refused by the laxer policy only");
        return;
    };
    let sound = hive.check().is_ok();
    let mut left = 2000;
    let names = hive
        .root()
        .map(|root| walk(root, 0, &mut left))
        .unwrap_or_default();
    let text = hive::export(&hive, "", "HKLM");
    assert!(sound || text.is_err(), "text of a hive that is not sound");
    let _ = typed::live_control_sets(&hive);
    let before = hive.clone();
    if !edit(&mut hive, &names) {
        return;
    }
    if sound {
        hive.check().expect("an edit broke a sound hive");
        let bytes = hive.bytes().to_vec();
        let again = Hive::open(bytes.clone(), &logs, Dirty::Refuse).expect("an edit left it dirty");
        assert_eq!(again.bytes(), bytes);
        hive::diff(&before, &hive).expect("sound hives compare");
    }
}

/// Reads everything at most `left` keys deep and wide; the names of the first few subkeys.
fn walk(key: Key<'_>, depth: usize, left: &mut usize) -> Vec<String> {
    let mut names = Vec::new();
    let _ = (
        key.class(),
        key.security(),
        key.link_target(),
        key.timestamp(),
    );
    for value in key.values().into_iter().flatten().take(200) {
        let Ok(value) = value else { break };
        let _ = (value.name(), value.kind(), hive::data_text(&value));
        let _ = (typed::string(&value), typed::multi_string(&value));
        let _ = (typed::dword(&value), typed::qword(&value));
    }
    for sub in key.subkeys().into_iter().flatten() {
        let Ok(sub) = sub else { break };
        if *left == 0 {
            break;
        }
        *left -= 1;
        if names.len() < 4 {
            names.extend(sub.name());
        }
        if depth < 40 {
            walk(sub, depth + 1, left);
        }
    }
    names
}

/// Whether the edit could be finished.
fn edit(hive: &mut Hive, names: &[String]) -> bool {
    let Ok(mut edit) = hive.edit(NOW) else {
        return false;
    };
    for (index, name) in names.iter().enumerate() {
        let _ = steps(&mut edit, name, index);
    }
    let _ = edit.create_key("guestfix\\was\\here");
    let _ = edit.set_value("guestfix", "v", ValueType::BINARY, &[7; 20_000]);
    edit.finish().is_ok()
}

fn steps(edit: &mut Editor<'_>, name: &str, index: usize) -> guestfix::Result<()> {
    let mut descriptor = vec![1, 0, 0, 0x80];
    descriptor.resize(24, 0);
    edit.set_value(name, "v", ValueType::SZ, &vec![index as u8; 100 * index])?;
    edit.set_security(name, &descriptor)?;
    edit.set_class(name, Some("class"))?;
    edit.create_key(&format!("{name}\\sub"))?;
    match index {
        0 => edit.rename_key(name, "a name that is longer than the one before")?,
        1 => drop(edit.delete_key(name)?),
        _ => drop(edit.delete_value(name, "")?),
    }
    Ok(())
}
