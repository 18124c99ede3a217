// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with a driver bundle, in the shape that `guestfix` reports errors in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// What was asked for makes no sense, for example a release that does not exist.
    Usage,
    /// The bundle is sound but holds no such thing, or is of a sort that is not read.
    Unsupported,
    /// The bundle is damaged: an ISO cut short, an INF that is no INF.
    Corrupt,
    /// The machine failed: a file that cannot be opened or read.
    Host,
}

/// What went wrong, for machine, operator and developer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// Whose fault it is.
    pub kind: Kind,
    /// Stable kebab-case word that scripts may match on.
    pub code: String,
    /// One sentence without a full stop, in lower case.
    pub message: String,
    /// What the operator can do now.
    pub hint: Option<String>,
    /// Byte offset in the file that `message` names.
    pub offset: Option<u64>,
}

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error of any kind.
    pub fn new(kind: Kind, code: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.to_owned(),
            message: message.into(),
            hint: None,
            offset: None,
        }
    }

    /// A damaged structure.
    pub fn corrupt(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, code, message)
    }

    /// A file operation that failed: what was being done, and the system's words.
    pub fn io(doing: impl fmt::Display, source: &std::io::Error) -> Self {
        Self::new(Kind::Host, "io", format!("{doing}: {source}"))
    }

    /// Says what the operator can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the byte offset.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Names the file in which it happened; a path in the bundle.
    #[must_use]
    pub fn within(mut self, file: &str) -> Self {
        self.message = format!("{file}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(offset) = self.offset {
            write!(f, " (at byte {offset:#x})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
