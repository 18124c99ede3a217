// SPDX-License-Identifier: Apache-2.0
//! The only place that prints: text for people, or one JSON document.

use std::io::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::args::Format;
use crate::error::{Error, Kind};

/// The document `guestfix.io/error/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct ErrorDocument {
    /// Always `guestfix.io/error/v1`.
    pub schema: String,
    /// Whose fault it is.
    pub kind: Kind,
    /// Stable identifier.
    pub code: String,
    /// What happened, with its causes.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// The disk or volume.
    pub disk: Option<String>,
    /// Byte offset.
    pub offset: Option<u64>,
}

impl From<&Error> for ErrorDocument {
    fn from(error: &Error) -> Self {
        let mut message = error.message.clone();
        for cause in &error.causes {
            message.push_str(": ");
            message.push_str(cause);
        }
        Self {
            schema: "guestfix.io/error/v1".to_owned(),
            kind: error.kind,
            code: error.code.clone(),
            message,
            hint: error.advice().to_owned(),
            disk: error.disk.clone(),
            offset: error.offset,
        }
    }
}

/// Where results go.
#[derive(Debug)]
pub(super) struct Output {
    format: Format,
}

impl Output {
    /// Prints in that format.
    pub(super) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints a result: as a document, or as the text that `text` makes of it.
    pub(super) fn result<T: Serialize>(&self, document: &T, text: impl FnOnce(&T) -> String) {
        let body = match self.format {
            Format::Text => text(document),
            Format::Json => json(document),
        };
        // A closed pipe (`guestfix ... | head`) is the reader's choice and no error of ours.
        let _ = std::io::stdout().lock().write_all(body.as_bytes());
    }

    /// Prints an error: text to stderr, a document to stdout.
    pub(super) fn error(&self, error: &Error) {
        match self.format {
            Format::Json => self.result(&ErrorDocument::from(error), |_| String::new()),
            Format::Text => {
                let text = format!("guestfix: {error}\n  what to do: {}\n", error.advice());
                let _ = std::io::stderr().lock().write_all(text.as_bytes());
            }
        }
    }
}

fn json<T: Serialize>(document: &T) -> String {
    match serde_json::to_string_pretty(document) {
        Ok(mut text) => {
            text.push('\n');
            text
        }
        Err(error) => format!(
            "{{\"schema\":\"guestfix.io/error/v1\",\"kind\":\"internal\",\"code\":\"internal\",\"message\":\"{error}\"}}\n"
        ),
    }
}
