// SPDX-License-Identifier: Apache-2.0
//! Conditions: their types, their reasons and how a set of them is made.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

/// The types of conditions, in the order a conversion reaches them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Kind {
    /// Every disk is there and whole.
    DisksReady,
    /// The holder pod runs on a node.
    NodeAssigned,
    /// The guest was read.
    Inspected,
    /// It is decided what to change.
    Planned,
    /// The disks are written.
    Converted,
    /// Every check passed on what was re-read.
    Verified,
    /// The run has ended, however.
    Finished,
    /// The guest will boot: True only by Convert, Unknown until verified.
    Ready,
}

impl Kind {
    /// As written in the object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DisksReady => "DisksReady",
            Self::NodeAssigned => "NodeAssigned",
            Self::Inspected => "Inspected",
            Self::Planned => "Planned",
            Self::Converted => "Converted",
            Self::Verified => "Verified",
            Self::Finished => "Finished",
            Self::Ready => "Ready",
        }
    }
}

/// A condition's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It is not known.
    Unknown,
}

impl Is {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Finds a condition.
pub fn find(conditions: &[Condition], kind: Kind) -> Option<&Condition> {
    conditions.iter().find(|c| c.type_ == kind.as_str())
}

/// True when the condition stands and is True.
pub fn is_true(conditions: &[Condition], kind: Kind) -> bool {
    find(conditions, kind).is_some_and(|c| c.status == "True")
}

/// A condition as it is to be written: the time of its last transition is kept where the status
/// is the one that stands already.
pub fn make(
    standing: &[Condition],
    kind: Kind,
    is: Is,
    (reason, message): (&str, &str),
    now: Timestamp,
) -> Condition {
    let since = find(standing, kind)
        .filter(|c| c.status == is.as_str())
        .map_or_else(|| Time(now), |c| c.last_transition_time.clone());
    Condition {
        type_: kind.as_str().to_owned(),
        status: is.as_str().to_owned(),
        reason: reason.to_owned(),
        message: clip(message, 2048),
        last_transition_time: since,
        observed_generation: None,
    }
}

/// The text, at most so many bytes of it.
pub fn clip(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub(3);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    format!("{}...", text.get(..end).unwrap_or_default())
}

/// `volume-group-incomplete` as a condition's reason: `VolumeGroupIncomplete`.
pub fn camel(code: &str) -> String {
    let mut out = String::new();
    for word in code.split(|c: char| !c.is_ascii_alphanumeric()) {
        let mut letters = word.chars();
        if let Some(first) = letters.next() {
            out.push(first.to_ascii_uppercase());
            out.push_str(letters.as_str());
        }
    }
    // A reason begins with a letter and is never empty.
    if out.starts_with(|c: char| c.is_ascii_alphabetic()) {
        out
    } else {
        format!("Code{out}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_reasons() {
        assert_eq!(camel("in-use"), "InUse");
        assert_eq!(camel("windows-hibernated"), "WindowsHibernated");
        assert_eq!(camel("4k"), "Code4k");
        assert_eq!(camel(""), "Code");
    }

    #[test]
    fn a_status_that_stays_keeps_its_time() {
        let early = Timestamp::from_second(1).unwrap();
        let late = Timestamp::from_second(9).unwrap();
        let first = make(&[], Kind::Ready, Is::Unknown, ("A", ""), early);
        let again = make(
            std::slice::from_ref(&first),
            Kind::Ready,
            Is::Unknown,
            ("B", ""),
            late,
        );
        assert_eq!(again.last_transition_time, Time(early));
        let turned = make(&[first], Kind::Ready, Is::True, ("C", ""), late);
        assert_eq!(turned.last_transition_time, Time(late));
    }

    #[test]
    fn clipped_text_ends_between_letters() {
        assert_eq!(clip("ééééé", 8), "éé...");
        assert_eq!(clip("short", 8), "short");
    }
}
