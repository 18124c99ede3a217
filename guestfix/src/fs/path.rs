// SPDX-License-Identifier: Apache-2.0
//! Paths inside a guest: bytes, absolute, normalised, and unable to leave the root.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An absolute path in a guest. Guest names need not be UTF-8, so it is bytes.
///
/// Always begins with `/`; empty, `.` and `..` components are gone (`..` at the root stays at the
/// root, as the kernel does it).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GuestPath(#[serde(with = "serde_bytes")] Vec<u8>);

impl GuestPath {
    /// Normalises any spelling.
    pub fn new(path: impl AsRef<[u8]>) -> Self {
        let mut out = Self(Vec::new());
        for component in path.as_ref().split(|byte| *byte == b'/') {
            out.step(component);
        }
        out
    }

    /// `/`.
    pub fn root() -> Self {
        Self(Vec::new())
    }

    fn step(&mut self, component: &[u8]) {
        match component {
            b"" | b"." => {}
            b".." => {
                let keep = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                self.0.truncate(keep);
            }
            name => {
                self.0.push(b'/');
                self.0.extend_from_slice(name);
            }
        }
    }

    /// This path with further components, `..` among them resolved by spelling.
    #[must_use]
    pub fn join(&self, relative: impl AsRef<[u8]>) -> Self {
        let mut out = self.clone();
        for component in relative.as_ref().split(|byte| *byte == b'/') {
            out.step(component);
        }
        out
    }

    /// The directory above; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let cut = self.0.iter().rposition(|byte| *byte == b'/')?;
        Some(Self(self.0.get(..cut)?.to_vec()))
    }

    /// The last component; `None` for the root.
    pub fn file_name(&self) -> Option<&[u8]> {
        let cut = self.0.iter().rposition(|byte| *byte == b'/')?;
        self.0.get(cut.checked_add(1)?..)
    }

    /// The components from the root down.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|component| !component.is_empty())
    }

    /// The path as bytes, `/` for the root.
    pub fn as_bytes(&self) -> &[u8] {
        if self.0.is_empty() { b"/" } else { &self.0 }
    }

    /// The path as text where it is UTF-8, escaped elsewhere.
    pub fn display(&self) -> String {
        String::from_utf8_lossy(self.as_bytes()).into_owned()
    }

    /// The rest below `prefix` as a path of its own, when this path lies at or below it.
    pub fn below(&self, prefix: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(prefix.0.as_slice())?;
        (rest.is_empty() || rest.first() == Some(&b'/')).then(|| Self(rest.to_vec()))
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display())
    }
}

impl fmt::Debug for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.display())
    }
}

impl From<&str> for GuestPath {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_leaves_the_root() {
        for (spelling, want) in [
            ("/", "/"),
            ("", "/"),
            ("..", "/"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("etc//./fstab/", "/etc/fstab"),
            ("/a/../../b", "/b"),
        ] {
            assert_eq!(GuestPath::new(spelling).display(), want, "{spelling:?}");
        }
    }

    #[test]
    fn below_respects_component_borders() {
        let boot = GuestPath::new("/boot");
        assert_eq!(
            GuestPath::new("/boot/x").below(&boot),
            Some(GuestPath::new("/x"))
        );
        assert_eq!(
            GuestPath::new("/boot").below(&boot),
            Some(GuestPath::root())
        );
        assert_eq!(GuestPath::new("/boots").below(&boot), None);
        assert_eq!(
            GuestPath::new("/x").below(&GuestPath::root()),
            Some(GuestPath::new("/x"))
        );
    }

    #[test]
    fn parents_and_names() {
        let path = GuestPath::new("/etc/fstab");
        assert_eq!(path.parent(), Some(GuestPath::new("/etc")));
        assert_eq!(path.file_name(), Some(&b"fstab"[..]));
        assert_eq!(GuestPath::new("/etc").parent(), Some(GuestPath::root()));
        assert_eq!(GuestPath::root().parent(), None);
    }
}
