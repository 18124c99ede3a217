// SPDX-License-Identifier: Apache-2.0
//! `guestfix state`.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::args::{Common, StateArgs, StateVerb};
use super::output::Output;
use crate::disk::home::{self, StateEntry};
use crate::error::Result;
use crate::report::text;

/// The document `guestfix.io/state/v1`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct StateDocument {
    /// Always `guestfix.io/state/v1`.
    pub schema: String,
    /// The guests that are kept (`list`), or that were or would be removed (`prune`).
    pub guests: Vec<StateEntry>,
}

pub(super) fn run(common: &Common, args: &StateArgs, output: &Output) -> Result<u8> {
    let guests = match &args.verb {
        StateVerb::List => home::list(&common.state_dir)?,
        StateVerb::Prune {
            days,
            dry_run: true,
        } => {
            let all = home::list(&common.state_dir)?;
            all.into_iter()
                .filter(|e| !e.pending && !e.busy && outdated(e, *days))
                .collect()
        }
        StateVerb::Prune {
            days,
            dry_run: false,
        } => home::prune(&common.state_dir, |entry| outdated(entry, *days))?,
    };
    let document = StateDocument {
        schema: "guestfix.io/state/v1".to_owned(),
        guests,
    };
    output.result(&document, render);
    Ok(0)
}

/// Kept for disks that are all gone, or not written for that many days.
fn outdated(entry: &StateEntry, days: Option<u64>) -> bool {
    let gone = !entry.disks.is_empty()
        && entry
            .disks
            .iter()
            .all(|disk| !std::path::Path::new(&disk.path).exists());
    let old = days.is_some_and(|days| {
        let written = UNIX_EPOCH.checked_add(Duration::from_secs(entry.modified));
        let age = written.and_then(|at| SystemTime::now().duration_since(at).ok());
        age.is_some_and(|age| age.as_secs() / 86_400 >= days)
    });
    gone || old
}

fn render(document: &StateDocument) -> String {
    let mut out = String::new();
    for guest in &document.guests {
        let disks: Vec<&str> = guest.disks.iter().map(|disk| disk.path.as_str()).collect();
        let pending = if guest.pending {
            ", an interrupted commit waits for recover"
        } else {
            ""
        };
        let busy = if guest.busy { ", in use" } else { "" };
        let _ = writeln!(
            out,
            "{}  {} to undo, {}{pending}{busy}  {}",
            guest.id,
            guest.undo_depth,
            text::size(guest.bytes),
            disks.join(" ")
        );
    }
    if document.guests.is_empty() {
        out.push_str("Nothing.\n");
    }
    out
}
