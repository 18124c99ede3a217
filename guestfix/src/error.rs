// SPDX-License-Identifier: Apache-2.0
//! One error type for three readers: a kind for machines, a hint for the operator, and position,
//! expected and actual for developers.
//!
//! Errors cross process boundaries, so the whole error is a serde value: causes are flattened to
//! text when they are attached.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose fault it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The command line is wrong (exit 2).
    Usage,
    /// Policy: doing it could lose data or has no consent (exit 3).
    Refused,
    /// Ours: the guest is one we cannot convert, or there is none (exit 4).
    Unsupported,
    /// The disk's: a structure on it is damaged (exit 5).
    Corrupt,
    /// The node's: it lacks a device, a driver, space or a permission (exit 6).
    Host,
    /// A bug of guestfix (exit 70).
    Internal,
    /// The user or the system asked us to stop (exit 130 or 143).
    Cancelled,
}

/// What went wrong, for machine, operator and developer.
///
/// `code` is a stable kebab-case word that scripts may match on; `message` says what happened,
/// `hint` what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// Whose fault it is.
    pub kind: Kind,
    /// Stable kebab-case identifier, for example `in-use`.
    pub code: String,
    /// One sentence without a full stop, in lower case.
    pub message: String,
    /// What the operator can do now.
    pub hint: Option<String>,
    /// The disk or volume concerned, by the name that `inspect` prints.
    pub disk: Option<String>,
    /// Byte offset on that disk or in that structure.
    pub offset: Option<u64>,
    /// The causes, outermost first.
    pub causes: Vec<String>,
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
            disk: None,
            offset: None,
            causes: Vec::new(),
        }
    }

    /// A damaged structure on the disk.
    pub fn corrupt(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, code, message)
    }

    /// Something guestfix does not support.
    pub fn unsupported(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, code, message)
    }

    /// Something guestfix will not do without consent.
    pub fn refused(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, code, message)
    }

    /// Something the host lacks or failed at.
    pub fn host(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::Host, code, message)
    }

    /// A bug of guestfix.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, "internal", message).hint(
            "this is a bug in guestfix; the disk was not changed. Please report it with the \
             command line and the output of the same command with -v",
        )
    }

    /// What a thread came to, which may have ended by a panic.
    ///
    /// # Errors
    /// Those of the thread; `internal` for a panic.
    pub(crate) fn joined<T>(ended: std::thread::Result<Result<T>>) -> Result<T> {
        ended.unwrap_or_else(|_| Err(Self::internal("a thread panicked")))
    }

    /// A failed system call or file operation on the host: what was being done, and its error.
    pub fn io(doing: impl Into<String>, source: impl fmt::Display) -> Self {
        Self::host("io", doing).because(source)
    }

    /// An error of a driver bundle. No `From`: a second one would leave `?` in closures without a
    /// type.
    pub fn of_bundle(error: drivers::Error) -> Self {
        let kind = match error.kind {
            drivers::Kind::Usage => Kind::Usage,
            drivers::Kind::Unsupported => Kind::Unsupported,
            drivers::Kind::Corrupt => Kind::Corrupt,
            drivers::Kind::Host => Kind::Host,
            _ => Kind::Internal,
        };
        Self {
            hint: error.hint,
            offset: error.offset,
            ..Self::new(kind, &error.code, error.message)
        }
    }

    /// Says what the operator can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the disk or volume.
    #[must_use]
    pub fn on(mut self, disk: impl Into<String>) -> Self {
        self.disk = Some(disk.into());
        self
    }

    /// Names the byte offset.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Attaches a cause.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Says what was being done; the former message becomes the first cause.
    #[must_use]
    pub fn context(mut self, doing: impl Into<String>) -> Self {
        let inner = std::mem::replace(&mut self.message, doing.into());
        self.causes.insert(0, inner);
        self
    }

    /// What to do next: the hint, or what helps with every error of this kind.
    pub fn advice(&self) -> &str {
        self.hint.as_deref().unwrap_or(match self.kind {
            Kind::Usage => "see guestfix --help",
            Kind::Refused => "see docs/runbook.md for this code; the disk was not changed",
            Kind::Unsupported => "the disk was not changed; docs/support-matrix.md says what works",
            Kind::Corrupt => {
                "the disk was not changed. Copy it again from its source, or repair it (e2fsck -f \
                 for ext4) and try again"
            }
            Kind::Host => "the disk was not changed; guestfix host shows what this machine offers",
            Kind::Internal => "the disk was not changed; please report this bug, with -v",
            Kind::Cancelled => "the disk was not changed; run the same command again",
        })
    }

    /// The exit code of the design's CLI contract.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Refused => 3,
            Kind::Unsupported => 4,
            Kind::Corrupt => 5,
            Kind::Host => 6,
            Kind::Internal => 70,
            Kind::Cancelled => 130,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(disk) = &self.disk {
            write!(f, "{disk}: ")?;
        }
        write!(f, "{}", self.message)?;
        if let Some(offset) = self.offset {
            write!(f, " (at byte {offset:#x})")?;
        }
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
