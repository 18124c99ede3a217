// SPDX-License-Identifier: Apache-2.0
//! The judgement: a pure function of verdicts and concerns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::inspect::{Category, Concern};
use crate::verify::{Outcome, Severity, Verdict};

/// Whether the guest will boot and behave on KubeVirt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Readiness {
    /// Every check passed and nothing is left to do.
    Ready,
    /// It boots; something is left for a person to know or do.
    ReadyWithWarnings,
    /// A required check failed, or a critical concern stands.
    NotReady,
}

impl Readiness {
    /// True unless not ready.
    pub fn is_ready(self) -> bool {
        self != Self::NotReady
    }
}

/// Judges.
pub fn judge(verdicts: &[Verdict], concerns: &[Concern]) -> Readiness {
    let failed = |severity| {
        verdicts
            .iter()
            .any(|v| v.severity == severity && v.result == Outcome::Fail)
    };
    let has = |category| concerns.iter().any(|c| c.category == category);
    if verdicts.is_empty() || failed(Severity::Required) || has(Category::Critical) {
        Readiness::NotReady
    } else if failed(Severity::Advised) || has(Category::Warning) {
        Readiness::ReadyWithWarnings
    } else {
        Readiness::Ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(severity: Severity, result: Outcome) -> Verdict {
        Verdict {
            check: "x".into(),
            severity,
            result,
            reader: "memory".into(),
            detail: String::new(),
        }
    }

    #[test]
    fn nothing_checked_is_not_ready() {
        assert_eq!(judge(&[], &[]), Readiness::NotReady);
    }

    #[test]
    fn the_worst_finding_decides() {
        let pass = verdict(Severity::Required, Outcome::Pass);
        let must = verdict(Severity::Required, Outcome::Fail);
        let should = verdict(Severity::Advised, Outcome::Fail);
        let warning = Concern::warning("w", "w");
        let critical = Concern::critical("c", "c");
        let p = std::slice::from_ref(&pass);
        assert_eq!(judge(p, &[]), Readiness::Ready);
        assert_eq!(
            judge(p, &[Concern::information("i", "i")]),
            Readiness::Ready
        );
        assert_eq!(judge(p, &[warning]), Readiness::ReadyWithWarnings);
        assert_eq!(
            judge(&[pass.clone(), should], &[]),
            Readiness::ReadyWithWarnings
        );
        assert_eq!(judge(&[pass.clone(), must], &[]), Readiness::NotReady);
        assert_eq!(judge(&[pass], &[critical]), Readiness::NotReady);
    }
}
