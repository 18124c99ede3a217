// SPDX-License-Identifier: Apache-2.0
//! What the desk says: patches of statuses, events, metrics.

use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::child::Child;
use super::desk::Desk;
use super::{report, tell};
use crate::api::{GuestConversion, Mode, names};
use crate::brain::node::{Observed, Run};
use crate::brain::outcome::Outcome;
use crate::ops::metrics::{About, End as Ended, How, Step};

/// How often progress is written, at the most.
const PROGRESS: Duration = Duration::from_secs(3);

impl Desk {
    pub(super) fn progress(&self, uid: &str) -> crate::api::status::Progress {
        let runs = self.runs();
        let child = runs.get(uid).and_then(|entry| entry.child.as_ref());
        child.map(Child::seen).unwrap_or_default().progress
    }

    /// Writes the progress where it is due; never twice in a short while.
    pub(super) async fn tell_progress(
        &self,
        uid: &str,
        conversion: &GuestConversion,
        seen: &Observed,
    ) -> bool {
        let due = {
            let mut runs = self.runs();
            let Some(entry) = runs.get_mut(uid) else {
                return false;
            };
            let last = entry.told.or(entry.began);
            let due = matches!(entry.run, Run::Working | Run::Committing)
                && seen.leading
                && last.is_some_and(|at| at.elapsed() >= PROGRESS);
            if due {
                entry.told = Some(Instant::now());
            }
            due
        };
        let progress = self.progress(uid);
        let stands = conversion.status.as_ref().and_then(|s| s.progress.as_ref());
        if !due || progress.stage.is_empty() || stands == Some(&progress) {
            return false;
        }
        let patch = tell::working(conversion, &progress, Timestamp::now());
        // Progress is never worth a second try.
        let _ = self.write(uid, conversion, patch).await;
        false
    }

    /// True when it was written; false when there is a newer version: decide on that one.
    pub(super) async fn write(
        &self,
        uid: &str,
        conversion: &GuestConversion,
        patch: Value,
    ) -> kube::Result<bool> {
        let namespace = conversion.namespace().unwrap_or_default();
        let api: Api<GuestConversion> = Api::namespaced(self.client.clone(), &namespace);
        let params = PatchParams::apply(names::NODE).force();
        let name = conversion.name_any();
        match api
            .patch_status(&name, &params, &Patch::Apply(&patch))
            .await
        {
            Ok(written) => {
                if let Some(entry) = self.runs().get_mut(uid) {
                    entry.wrote = Some(written);
                }
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                if let Some(newer) = api.get_opt(&name).await?
                    && let Some(entry) = self.runs().get_mut(uid)
                {
                    entry.wrote = Some(newer);
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn tell_end(
        &self,
        uid: &str,
        conversion: &GuestConversion,
    ) -> kube::Result<bool> {
        let end = self.runs().get(uid).and_then(|entry| entry.end.clone());
        let Some((outcome, document)) = end else {
            self.set(uid, Run::Idle);
            return Ok(true);
        };
        let handover = report::pack(&document);
        let patch = tell::end(conversion, &outcome, handover, Timestamp::now());
        if self.write(uid, conversion, patch).await? {
            self.set(uid, Run::Told);
            self.told(conversion, uid, &outcome, &document).await;
        }
        Ok(true)
    }

    pub(super) async fn told(
        &self,
        conversion: &GuestConversion,
        uid: &str,
        end: &Outcome,
        document: &Value,
    ) {
        let good = end.phase == crate::api::status::Phase::Succeeded && end.ready != Some(false);
        if good {
            self.events
                .normal(conversion, &end.reason, &end.message)
                .await;
        } else {
            self.events
                .warning(conversion, &end.reason, &end.message)
                .await;
        }
        let result = format!("{:?}", end.phase).to_lowercase();
        if conversion.spec.mode == Mode::Undo {
            self.metrics.rollbacks.get_or_create(&How { result }).inc();
        } else {
            let family = end.guest.as_ref().and_then(|guest| guest.family.clone());
            let ended = Ended {
                result,
                reason: end.reason.clone(),
                os_family: family.unwrap_or_else(|| "unknown".to_owned()),
            };
            self.metrics.conversions.get_or_create(&ended).inc();
        }
        for concern in &end.concerns {
            let (id, category) = (concern.id.clone(), concern.category.clone());
            self.metrics
                .concerns
                .get_or_create(&About { id, category })
                .inc();
        }
        let bytes = document
            .pointer("/committed_bytes")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        self.metrics.bytes_written.inc_by(bytes);
        let timings = document.pointer("/timings_ms").and_then(Value::as_object);
        for (step, millis) in timings.into_iter().flatten() {
            let seconds = millis.as_f64().unwrap_or(0.0) / 1000.0;
            let step = Step { step: step.clone() };
            self.metrics.duration.get_or_create(&step).observe(seconds);
        }
        tracing::info!(
            namespace = conversion.namespace(),
            conversion = conversion.name_any(),
            uid,
            reason = end.reason,
            message = end.message,
            "ended"
        );
    }
}
