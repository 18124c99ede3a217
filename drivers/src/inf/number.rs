// SPDX-License-Identifier: Apache-2.0
//! Numbers as INFs write them: decimal, signed, or hexadecimal behind `0x`.

/// The number's 32 bits; `None` for what is none.
pub(super) fn dword(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u32::from_str_radix(digits, 16).ok();
    }
    if let Ok(value) = text.parse::<u32>() {
        return Some(value);
    }
    text.parse::<i32>().ok().map(i32::cast_unsigned)
}

/// A byte of a binary value: hexadecimal with or without `0x`.
pub(super) fn byte(text: &str) -> Option<u8> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    u8::from_str_radix(digits.unwrap_or(text), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_spelling() {
        assert_eq!(dword("0x0000000A"), Some(10));
        assert_eq!(dword(" 258 "), Some(258));
        assert_eq!(dword("-1"), Some(u32::MAX));
        assert_eq!(dword("0x1FFFFFFFF"), None);
        assert_eq!(dword("ten"), None);
        assert_eq!(byte("ff"), Some(255));
        assert_eq!(byte("0x10"), Some(16));
        assert_eq!(byte("100"), None);
    }
}
