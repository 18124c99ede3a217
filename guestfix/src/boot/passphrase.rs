// SPDX-License-Identifier: Apache-2.0
//! What is typed when a guest asks for the passphrase of an encrypted disk.

use zeroize::Zeroizing;

/// A passphrase. It is shown nowhere, and forgotten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase")
    }
}

impl Passphrase {
    /// The bytes of a key, where somebody could type them.
    pub fn of_key(key: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(key).ok()?;
        let typed = !text.is_empty() && !text.chars().any(char::is_control);
        typed.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_typed_is_a_passphrase_and_none_is_shown() {
        for key in [&b""[..], b"two\nlines", b"\xff", b"\x1b[A"] {
            assert_eq!(Passphrase::of_key(key), None, "{key:?}");
        }
        let passphrase = Passphrase::of_key("geheim ä".as_bytes()).unwrap();
        assert_eq!(passphrase.text(), "geheim ä");
        assert!(!format!("{passphrase:?}").contains("geheim"));
    }
}
