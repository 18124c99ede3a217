// SPDX-License-Identifier: Apache-2.0
//! Progress on stderr: a bar on a terminal, JSON lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::ProgressMode;
use crate::pipeline::progress::{Progress, ProgressLine, Silent, Stage};

/// The listener for a mode.
pub(super) fn listener(mode: ProgressMode) -> Box<dyn Progress> {
    match mode {
        ProgressMode::Auto if std::io::stderr().is_terminal() => Box::new(Bar::new()),
        ProgressMode::Auto | ProgressMode::Json => Box::new(Lines),
        ProgressMode::None => Box::new(Silent),
    }
}

struct Lines;

impl Progress for Lines {
    fn step(&self, stage: Stage, detail: &str, done: u64, total: u64) {
        let line = ProgressLine {
            schema: "guestfix.io/progress/v1".to_owned(),
            stage,
            detail: detail.to_owned(),
            done,
            total,
        };
        if let Ok(mut text) = serde_json::to_string(&line) {
            text.push('\n');
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
    }
}

struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {prefix:8} {wide_msg} {elapsed}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }
}

impl Progress for Bar {
    fn step(&self, stage: Stage, detail: &str, done: u64, total: u64) {
        self.0.set_prefix(format!("{stage:?}").to_lowercase());
        let count = if total > 0 {
            format!("[{done}/{total}] ")
        } else {
            String::new()
        };
        self.0.set_message(format!("{count}{detail}"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
