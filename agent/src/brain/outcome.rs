// SPDX-License-Identifier: Apache-2.0
//! How a run of `guestfix` ended, as conditions: a pure function of the mode, the exit code and
//! the document that it printed.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::node::Why;
use crate::api::condition::{Is, Kind, camel, clip};
use crate::api::status::{Changes, Concern, Guest, Phase, Undo};
use crate::api::{GuestConversion, Mode, condition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// How many concerns stand in a status; the report has them all.
const CONCERNS: usize = 16;

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// For people.
    pub phase: Phase,
    /// Why: a condition's reason.
    pub reason: String,
    /// Why, in words.
    pub message: String,
    /// Ready, as Convert decides it: none where the mode does not.
    pub ready: Option<bool>,
    /// The conditions reached: kind and whether it holds.
    pub reached: Vec<(Kind, bool)>,
    /// What the guest is.
    pub guest: Option<Guest>,
    /// What an operator should know, the gravest first.
    pub concerns: Vec<Concern>,
    /// How many changes.
    pub changes: Option<Changes>,
    /// The VM recommended.
    pub target: Option<Value>,
    /// Whether there is a way back.
    pub undo: Option<Undo>,
}

impl Outcome {
    /// The conditions of the node for this end, on top of those that stand.
    pub fn conditions(&self, standing: &[Condition], now: Timestamp) -> Vec<Condition> {
        let words = (self.reason.as_str(), self.message.as_str());
        let mut out: Vec<Condition> = self
            .reached
            .iter()
            .map(|(kind, holds)| {
                let is = if *holds { Is::True } else { Is::False };
                condition::make(standing, *kind, is, words, now)
            })
            .collect();
        let ready = match self.ready {
            Some(true) => Is::True,
            Some(false) => Is::False,
            None => Is::Unknown,
        };
        out.push(condition::make(standing, Kind::Ready, ready, words, now));
        out.push(condition::make(
            standing,
            Kind::Finished,
            Is::True,
            words,
            now,
        ));
        out
    }

    /// A run that was stopped, or never begun.
    pub fn stopped(why: Why) -> Self {
        let (phase, reason, message) = match why {
            Why::TimedOut => (
                Phase::Failed,
                "TimedOut",
                "it took too long; nothing was written",
            ),
            _ => (
                Phase::Cancelled,
                "Cancelled",
                "cancelled; nothing was written",
            ),
        };
        Self {
            phase,
            reason: reason.to_owned(),
            message: message.to_owned(),
            ready: Some(false),
            ..Self::default()
        }
    }

    /// A run that could not be begun, or that ended without a word.
    pub fn broken(reason: &str, message: &str) -> Self {
        Self {
            phase: Phase::Failed,
            reason: reason.to_owned(),
            message: message.to_owned(),
            ready: Some(false),
            ..Self::default()
        }
    }
}

/// Reads the end of a run.
pub fn read(conversion: &GuestConversion, exit: i32, document: &Value) -> Outcome {
    let schema = text(document, "/schema");
    if schema.is_empty() {
        let message = format!("guestfix ended with exit code {exit} and without a document");
        return Outcome::broken("GuestfixDied", &message);
    }
    if schema == "guestfix.io/error/v1" {
        return error(document);
    }
    let mut outcome = match conversion.spec.mode {
        Mode::Convert => convert(document),
        Mode::Inspect => looked(
            document,
            &[Kind::Inspected],
            "Inspected",
            "the guest was read",
        ),
        Mode::Plan => planned(document),
        Mode::Boot => booted(document),
        Mode::Undo => undone(
            document
                .pointer("/undone")
                .and_then(Value::as_u64)
                .unwrap_or(0),
        ),
    };
    outcome.concerns = concerns(document);
    outcome.guest = guest(document);
    outcome.target = document
        .pointer("/target")
        .filter(|t| t.is_object())
        .cloned();
    outcome
}

fn error(document: &Value) -> Outcome {
    let code = text(document, "/code");
    let hint = text(document, "/hint");
    let mut message = text(document, "/message").to_owned();
    if !hint.is_empty() {
        message.push_str("; ");
        message.push_str(hint);
    }
    let reason = reason(code);
    let cancelled = text(document, "/kind") == "cancelled";
    Outcome {
        phase: if cancelled {
            Phase::Cancelled
        } else {
            Phase::Failed
        },
        reason,
        message: clip(&message, 1024),
        ready: Some(false),
        ..Outcome::default()
    }
}

fn convert(document: &Value) -> Outcome {
    let readiness = text(document, "/readiness");
    let ready = readiness != "NotReady" && !readiness.is_empty();
    let changed = count(document, true);
    let message = if ready {
        format!("{changed} changes made, every required check passed on what was re-read")
    } else {
        failed(document)
    };
    let committed = document.pointer("/committed") == Some(&Value::Bool(true));
    let reached = vec![
        (Kind::Inspected, true),
        (Kind::Planned, true),
        (Kind::Converted, ready || committed),
        (Kind::Verified, ready),
    ];
    Outcome {
        phase: if ready {
            Phase::Succeeded
        } else {
            Phase::Failed
        },
        reason: if ready {
            readiness.to_owned()
        } else {
            why_not(document)
        },
        message,
        ready: Some(ready),
        reached,
        changes: Some(Changes {
            total: count(document, false),
            changed,
        }),
        undo: Some(Undo {
            available: document.pointer("/undo/available") == Some(&Value::Bool(true)),
            id: Some(text(document, "/undo/id").to_owned()).filter(|id| !id.is_empty()),
        }),
        ..Outcome::default()
    }
}

fn looked(_: &Value, kinds: &[Kind], reason: &str, message: &str) -> Outcome {
    Outcome {
        phase: Phase::Succeeded,
        reason: reason.to_owned(),
        message: message.to_owned(),
        reached: kinds.iter().map(|kind| (*kind, true)).collect(),
        ..Outcome::default()
    }
}

fn planned(document: &Value) -> Outcome {
    let total = length(document, "/changes");
    let message = format!("{total} changes would be made");
    let mut outcome = looked(
        document,
        &[Kind::Inspected, Kind::Planned],
        "Planned",
        &message,
    );
    outcome.changes = Some(Changes { total, changed: 0 });
    outcome
}

fn booted(document: &Value) -> Outcome {
    let result = text(document, "/result");
    let why = text(document, "/reason");
    let good = result == "booted";
    Outcome {
        phase: if good {
            Phase::Succeeded
        } else {
            Phase::Failed
        },
        reason: camel(&format!("boot-{result}")),
        message: clip(format!("{result} {why}").trim(), 1024),
        ..Outcome::default()
    }
}

/// So many conversions were taken back.
pub fn undone(undone: u64) -> Outcome {
    Outcome {
        phase: Phase::Succeeded,
        reason: "Undone".to_owned(),
        message: format!("{undone} conversions were taken back, every byte of them"),
        // The disks are what VMware left: that guest is not ready.
        ready: Some(false),
        ..Outcome::default()
    }
}

/// The reason of a guest that is not ready: the first critical concern, or that a check failed.
fn why_not(document: &Value) -> String {
    let concerns = list(document, "/concerns");
    let critical = concerns.iter().find(|c| text(c, "/category") == "Critical");
    critical.map_or_else(
        || "CheckFailed".to_owned(),
        |concern| reason(text(concern, "/id")),
    )
}

/// A code or a concern's identifier as a reason. A bundle that is not there and one that has no
/// driver for the release are the same to whoever has to provide it.
fn reason(code: &str) -> String {
    match code {
        "no-driver-bundle" | "no-driver" | "no-bundle" => "NoDriverBundle".to_owned(),
        _ => camel(code),
    }
}

/// Which required checks failed, or which critical concerns stand.
fn failed(document: &Value) -> String {
    let verdicts = list(document, "/verdicts");
    let failed = verdicts
        .iter()
        .filter(|v| text(v, "/result") == "fail" && text(v, "/severity") != "advised")
        .map(|v| format!("{}: {}", text(v, "/check"), text(v, "/detail")));
    let critical = list(document, "/concerns")
        .iter()
        .filter(|c| text(c, "/category") == "Critical")
        .map(|c| text(c, "/message").to_owned());
    let all: Vec<String> = critical.chain(failed).collect();
    clip(&format!("not ready: {}", all.join("; ")), 1024)
}

fn concerns(document: &Value) -> Vec<Concern> {
    let grave = |category: &str| match category {
        "Critical" => 0,
        "Warning" => 1,
        _ => 2,
    };
    let mut out: Vec<Concern> = list(document, "/concerns")
        .iter()
        .map(|concern| Concern {
            id: clip(text(concern, "/id"), 128),
            category: text(concern, "/category").to_owned(),
            message: clip(text(concern, "/message"), 512),
        })
        .collect();
    out.sort_by_key(|concern| grave(&concern.category));
    out.truncate(CONCERNS);
    out
}

fn guest(document: &Value) -> Option<Guest> {
    let (name, family) = match document.pointer("/guest")? {
        Value::String(name) => (name.as_str(), None),
        _ => (
            text(document, "/guest/pretty_name"),
            Some(text(document, "/guest/family").to_owned()),
        ),
    };
    (!name.is_empty()).then(|| Guest {
        name: clip(name, 256),
        family,
    })
}

fn count(document: &Value, changed_only: bool) -> u32 {
    let changes = list(document, "/changes");
    let counted = changes.iter().filter(|change| {
        text(change, "/kind") != "topic" && (!changed_only || text(change, "/outcome") == "Changed")
    });
    u32::try_from(counted.count()).unwrap_or(u32::MAX)
}

fn length(document: &Value, at: &str) -> u32 {
    u32::try_from(list(document, at).len()).unwrap_or(u32::MAX)
}

fn list<'a>(document: &'a Value, at: &str) -> &'a [Value] {
    document
        .pointer(at)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(document: &'a Value, at: &str) -> &'a str {
    document
        .pointer(at)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
