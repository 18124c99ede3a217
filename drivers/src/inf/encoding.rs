// SPDX-License-Identifier: Apache-2.0
//! An INF's bytes as text: UTF-16 with a byte order mark, UTF-8, or the ANSI code page 1252.

use crate::error::{Error, Result};

/// 0x80 to 0x9F of code page 1252; the rest is Latin-1. `\u{FFFD}` where nothing is assigned.
/// <https://www.unicode.org/Public/MAPPINGS/VENDORS/MICSFT/WINDOWS/CP1252.TXT>
const HIGH: [char; 32] = [
    '€', '\u{FFFD}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{FFFD}', 'Ž',
    '\u{FFFD}', '\u{FFFD}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{FFFD}',
    'ž', 'Ÿ',
];

/// The text, without a byte order mark and up to an old end-of-file mark (0x1A).
///
/// # Errors
/// `Corrupt`/`inf-encoding` for an odd number of UTF-16 bytes, lone surrogates and NULs.
pub(super) fn decode(bytes: &[u8]) -> Result<String> {
    let text = match bytes {
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8_or_ansi(rest),
        [first, 0, ..] if *first != 0 => utf16(bytes, u16::from_le_bytes)?,
        _ => utf8_or_ansi(bytes),
    };
    let text = match text.split_once('\u{1A}') {
        Some((before, _)) => before.to_owned(),
        None => text,
    };
    if let Some(at) = text.find('\0') {
        return Err(broken("a NUL character stands in it").at(offset(at)));
    }
    Ok(text)
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(broken("UTF-16 with half a character at its end"));
    }
    let units = pairs.iter().map(|pair| unit(*pair));
    char::decode_utf16(units)
        .collect::<Result<String, _>>()
        .map_err(|_| broken("UTF-16 with half a pair of surrogates"))
}

fn utf8_or_ansi(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| ansi(*byte)).collect(),
    }
}

fn ansi(byte: u8) -> char {
    let high = byte.checked_sub(0x80).map(usize::from);
    let special = high.and_then(|at| HIGH.get(at));
    special.copied().unwrap_or(char::from(byte))
}

fn broken(what: &str) -> Error {
    Error::corrupt("inf-encoding", format!("the INF is no text: {what}"))
}

fn offset(at: usize) -> u64 {
    u64::try_from(at).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_in_five_encodings() {
        let text = "[Version]\r\nProvider=\"Müller™\"\r\n";
        let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let ansi: Vec<u8> = text
            .chars()
            .map(|c| match c {
                '™' => 0x99,
                'ü' => 0xFC,
                c => c as u8,
            })
            .collect();
        assert_eq!(decode(&[&[0xFF, 0xFE], &le[..]].concat()).unwrap(), text);
        assert_eq!(decode(&[&[0xFE, 0xFF], &be[..]].concat()).unwrap(), text);
        assert_eq!(decode(&le).unwrap(), text);
        assert_eq!(decode(&ansi).unwrap(), text);
        assert_eq!(decode(text.as_bytes()).unwrap(), text);
        assert_eq!(
            decode(&[&[0xEF, 0xBB, 0xBF], text.as_bytes()].concat()).unwrap(),
            text
        );
    }

    #[test]
    fn what_is_no_text_is_refused_and_an_end_mark_ends_it() {
        assert_eq!(decode(b"[a]\x1A\0\0").unwrap(), "[a]");
        assert_eq!(decode(b"[aa]\n\0").unwrap_err().code, "inf-encoding");
        assert!(decode(&[0xFF, 0xFE, 0x41]).is_err());
        assert!(decode(&[0xFF, 0xFE, 0x00, 0xD8]).is_err());
    }
}
