// SPDX-License-Identifier: Apache-2.0
//! The runs of this node: looked at, decided about, acted on, one conversion at a time each.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::child::{Child, End, Notify, Order};
use super::claims::Refusal;
use super::start::Starter;
use super::{report, tell};
use crate::api::foreign::Pod;
use crate::api::profile::GuestConversionProfileSpec;
use crate::api::{GuestConversion, GuestConversionProfile, Mode, names};
use crate::brain::node::{self, Action, Holder, Observed, Run, Why};
use crate::brain::outcome::{self, Outcome};
use crate::brain::stand::Stand;
use crate::ops::events::Events;
use crate::ops::lease::Tenure;
use crate::ops::metrics::{About, End as Ended, How, Metrics, Step};
use crate::ops::shutdown::Shutdown;

/// How often progress is written, at the most.
const PROGRESS: Duration = Duration::from_secs(3);
/// A run that cannot begin because another process still uses the disks is tried again after this.
const AGAIN_S: i64 = 5;
/// How often: what an agent that was killed left behind ends by itself.
const TRIES: u32 = 36;

/// What every decision needs.
pub struct Desk {
    /// The API server.
    pub client: Client,
    /// This node.
    pub node: String,
    /// Conversions assigned to it.
    pub conversions: Store<GuestConversion>,
    /// Profiles.
    pub profiles: Store<GuestConversionProfile>,
    /// Holder pods on it.
    pub pods: Store<Pod>,
    /// Whether our Lease is ours.
    pub tenure: Tenure,
    /// Whether the process is to end.
    pub stop: Shutdown,
    /// What people are told.
    pub events: Events,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Starts process trees.
    pub starter: Starter,
    /// The most that this node works on at a time, whatever profiles say.
    pub most: usize,
    /// The runs, by uid.
    pub runs: Mutex<HashMap<String, Entry>>,
    /// Uids being acted on.
    pub busy: Mutex<HashSet<String>>,
    /// Wakes the loop.
    pub wake: Notify,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// What is known of one run.
#[derive(Debug, Default)]
pub struct Entry {
    namespace: String,
    name: String,
    run: Run,
    child: Option<Child>,
    /// The child finishes an interrupted commit; the conversion's own verb comes after.
    recovering: bool,
    stopping: Option<Why>,
    told: Option<Instant>,
    began: Option<Instant>,
    tries: u32,
    end: Option<(Outcome, Value)>,
    /// The version that we wrote last, until the store shows it.
    wrote: Option<GuestConversion>,
}

impl Desk {
    /// Looks at every conversion once; each that is not being acted on gets a task.
    pub fn turn(self: &Arc<Self>) {
        let mut uids: HashMap<String, Option<Arc<GuestConversion>>> = HashMap::new();
        for uid in self.runs().keys() {
            uids.insert(uid.clone(), None);
        }
        for conversion in self.conversions.state() {
            let uid = conversion.uid().unwrap_or_default();
            // Those that have ended stay assigned, and there are more and more of them.
            if uids.contains_key(&uid) || !conversion.finished() {
                uids.insert(uid, Some(conversion));
            }
        }
        for (uid, conversion) in uids {
            if !self.busy().insert(uid.clone()) {
                continue;
            }
            let desk = Arc::clone(self);
            tokio::spawn(async move {
                let again = desk.one(&uid, conversion).await;
                desk.busy().remove(&uid);
                if again {
                    (desk.wake)();
                }
            });
        }
    }

    /// True when no process tree runs and every end is told.
    pub fn idle(&self) -> bool {
        self.runs().values().all(|entry| {
            let told = !matches!(entry.run, Run::Ended | Run::Stopping | Run::Stopped(_));
            entry.child.is_none() && told
        })
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides once and acts; true when there may be more to do at once.
    async fn one(&self, uid: &str, conversion: Option<Arc<GuestConversion>>) -> bool {
        let Some(conversion) = self.newest(uid, conversion).await else {
            return false;
        };
        let seen = self.observe(uid, &conversion);
        let action = node::next(&conversion, &seen);
        if action == Action::Wait {
            return self.tell_progress(uid, &conversion, &seen).await;
        }
        tracing::info!(
            namespace = conversion.namespace(),
            conversion = conversion.name_any(),
            uid,
            action = format!("{action:?}"),
            "acting"
        );
        match self.act(uid, &conversion, action).await {
            Ok(again) => again,
            Err(error) => {
                self.metrics.errors.inc();
                tracing::warn!(uid, conversion = conversion.name_any(), %error, "could not act");
                tokio::time::sleep(Duration::from_secs(1)).await;
                true
            }
        }
    }

    /// The newest version known; asked for where a run's conversion is not assigned here any more.
    async fn newest(
        &self,
        uid: &str,
        stored: Option<Arc<GuestConversion>>,
    ) -> Option<GuestConversion> {
        let (namespace, name, wrote) = {
            let mut runs = self.runs();
            let entry = runs.get_mut(uid);
            match (&stored, entry) {
                (Some(stored), Some(entry)) => {
                    let newer = entry.wrote.clone().filter(|w| version(w) > version(stored));
                    entry.wrote = newer.clone();
                    return Some(newer.unwrap_or_else(|| (**stored).clone()));
                }
                (Some(stored), None) => return Some((**stored).clone()),
                (None, Some(entry)) => (
                    entry.namespace.clone(),
                    entry.name.clone(),
                    entry.wrote.clone(),
                ),
                (None, None) => return None,
            }
        };
        let api: Api<GuestConversion> = Api::namespaced(self.client.clone(), &namespace);
        match api.get_opt(&name).await {
            Ok(Some(found)) if found.uid().as_deref() == Some(uid) => Some(found),
            // Deleted by force. What is being written is finished; the rest ends.
            Ok(_) => {
                let committing = self
                    .runs()
                    .get(uid)
                    .is_some_and(|entry| entry.run == Run::Committing);
                if committing {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    return wrote;
                }
                let mut runs = self.runs();
                if let Some(child) = runs.get(uid).and_then(|entry| entry.child.as_ref()) {
                    child.order(Order::Stop);
                }
                runs.remove(uid);
                None
            }
            Err(error) => {
                tracing::warn!(uid, name, %error, "cannot tell whose it is now");
                tokio::time::sleep(Duration::from_secs(1)).await;
                None
            }
        }
    }

    fn observe(&self, uid: &str, conversion: &GuestConversion) -> Observed {
        self.settle(uid, conversion);
        let profile = self.profile(conversion);
        let (run, working) = {
            let runs = self.runs();
            let working = runs.values().filter(|entry| entry.child.is_some()).count();
            (
                runs.get(uid)
                    .map(|entry| entry.run.clone())
                    .unwrap_or_default(),
                working,
            )
        };
        let most = usize::try_from(profile.spec.concurrency_per_node).unwrap_or(1);
        Observed {
            now: Timestamp::now(),
            node: self.node.clone(),
            leading: self.tenure.held(),
            draining: self.stop.begun(),
            slot: working < most.min(self.most),
            timeout_s: conversion
                .spec
                .timeout_seconds
                .unwrap_or(profile.spec.timeout_seconds),
            holder: self.holder(conversion),
            run,
        }
    }

    /// The profile; where it has gone meanwhile, one with what every profile has by itself.
    fn profile(&self, conversion: &GuestConversion) -> Arc<GuestConversionProfile> {
        let reference = ObjectRef::new(&conversion.spec.profile_ref.name);
        self.profiles.get(&reference).unwrap_or_else(|| {
            let plain = GuestConversionProfileSpec::plain();
            Arc::new(GuestConversionProfile::new("plain", plain))
        })
    }

    fn holder(&self, conversion: &GuestConversion) -> Holder {
        let Some(holder) = conversion.status.as_ref().and_then(|s| s.holder.as_ref()) else {
            return Holder::Gone;
        };
        let namespace = conversion.namespace().unwrap_or_default();
        let reference = ObjectRef::new_with(&holder.name, crate::api::foreign::pods());
        let Some(pod) = self.pods.get(&reference.within(&namespace)) else {
            return Holder::Gone;
        };
        let ours = pod.uid().as_deref() == Some(holder.uid.as_str())
            && pod.spec.node_name.as_deref() == Some(self.node.as_str())
            && pod.metadata.deletion_timestamp.is_none();
        let phase = pod.status.as_ref().map(|status| status.phase.as_str());
        match (ours, phase) {
            (true, Some("Running")) => Holder::Running,
            (true, Some("Pending")) => Holder::Waiting,
            _ => Holder::Gone,
        }
    }

    /// Takes in what the process tree said since.
    fn settle(&self, uid: &str, conversion: &GuestConversion) {
        let mut runs = self.runs();
        let Some(entry) = runs.get_mut(uid) else {
            return;
        };
        let Some(seen) = entry.child.as_ref().map(Child::seen) else {
            return;
        };
        match seen.end {
            Some(end) => {
                entry.child = None;
                self.metrics.in_progress.dec();
                entry.ended(conversion, end);
            }
            None if seen.asking && entry.run == Run::Working => entry.run = Run::Asking,
            None => {}
        }
    }

    async fn act(
        &self,
        uid: &str,
        conversion: &GuestConversion,
        action: Action,
    ) -> kube::Result<bool> {
        self.remember(uid, conversion);
        match action {
            Action::Wait => return Ok(false),
            Action::Start { recover } => self.start(uid, conversion, recover).await,
            Action::Stop(why) => self.stop_run(uid, why),
            Action::Abort => self.order(uid, Order::Kill),
            Action::Go => {
                self.order(uid, Order::Go);
                self.set(uid, Run::Committing);
            }
            Action::RecordCommit(commit) => {
                let progress = self.progress(uid);
                let patch = tell::commit(conversion, commit, &progress, Timestamp::now());
                let written = self.write(uid, conversion, patch).await?;
                if written && conversion.spec.mode == Mode::Undo {
                    self.set(uid, Run::Recorded);
                }
            }
            Action::TellEnd => return self.tell_end(uid, conversion).await,
            Action::TellStopped(why) => {
                let patch = tell::end(conversion, &Outcome::stopped(why), None, Timestamp::now());
                if self.write(uid, conversion, patch).await? {
                    self.set(uid, Run::Told);
                    self.told(conversion, uid, &Outcome::stopped(why), &Value::Null)
                        .await;
                }
            }
            Action::HandBack => {
                let patch = tell::hand_back(conversion, Timestamp::now());
                self.write(uid, conversion, patch).await?;
            }
            Action::Forget => {
                self.runs().remove(uid);
            }
        }
        Ok(true)
    }

    async fn start(&self, uid: &str, conversion: &GuestConversion, recover: bool) {
        let profile = self.profile(conversion);
        let (starter, wake) = (self.starter.clone(), Arc::clone(&self.wake));
        let own = conversion.clone();
        // Drivers may have to be copied first, and they are large.
        let started =
            tokio::task::spawn_blocking(move || starter.start(&own, &profile.spec, recover, wake));
        let started = started
            .await
            .unwrap_or_else(|e| Err(Refusal::new("NodeCannot", format!("starting: {e}"))));
        let mut runs = self.runs();
        let entry = runs.entry(uid.to_owned()).or_default();
        entry.namespace = conversion.namespace().unwrap_or_default();
        entry.name = conversion.name_any();
        entry.wrote.get_or_insert_with(|| conversion.clone());
        entry.began.get_or_insert_with(Instant::now);
        match started {
            Ok(child) => {
                entry.child = Some(child);
                entry.recovering = recover;
                // Recovering writes, and so does undoing: both were recorded before.
                let writes = recover || conversion.spec.mode == Mode::Undo;
                entry.run = if writes {
                    Run::Committing
                } else {
                    Run::Working
                };
                self.metrics.in_progress.inc();
            }
            Err(refusal) => {
                let outcome = Outcome::broken(&refusal.reason, &refusal.message);
                entry.end = Some((outcome, Value::Null));
                entry.run = Run::Ended;
            }
        }
    }

    fn stop_run(&self, uid: &str, why: Why) {
        let mut runs = self.runs();
        if let Some(entry) = runs.get_mut(uid) {
            entry.stopping = Some(why);
            entry.run = match &entry.child {
                Some(child) => {
                    child.order(Order::Stop);
                    Run::Stopping
                }
                None => Run::Stopped(why),
            };
        }
    }

    fn order(&self, uid: &str, order: Order) {
        if let Some(child) = self.runs().get(uid).and_then(|entry| entry.child.as_ref()) {
            child.order(order);
        }
    }

    fn set(&self, uid: &str, run: Run) {
        if let Some(entry) = self.runs().get_mut(uid) {
            entry.run = run;
        }
    }

    /// From now on there is a run of this conversion.
    fn remember(&self, uid: &str, conversion: &GuestConversion) {
        let mut runs = self.runs();
        let entry = runs.entry(uid.to_owned()).or_default();
        entry.namespace = conversion.namespace().unwrap_or_default();
        entry.name = conversion.name_any();
    }

    fn progress(&self, uid: &str) -> crate::api::status::Progress {
        let runs = self.runs();
        let child = runs.get(uid).and_then(|entry| entry.child.as_ref());
        child.map(Child::seen).unwrap_or_default().progress
    }

    /// Writes the progress where it is due; never twice in a short while.
    async fn tell_progress(
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
    async fn write(
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

    async fn tell_end(&self, uid: &str, conversion: &GuestConversion) -> kube::Result<bool> {
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

    async fn told(&self, conversion: &GuestConversion, uid: &str, end: &Outcome, document: &Value) {
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

fn version(conversion: &GuestConversion) -> u64 {
    conversion
        .resource_version()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

impl Entry {
    /// The process tree ended: what that means for the run.
    fn ended(&mut self, conversion: &GuestConversion, end: End) {
        let text = |at: &str| {
            end.document
                .pointer(at)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let code = text("/code");
        if let Some(why) = self.stopping.take() {
            self.run = Run::Stopped(why);
            return;
        }
        // An agent that was killed leaves a process tree behind that still holds the disks.
        if matches!(code, "in-use" | "busy") && self.tries < TRIES {
            self.tries = self.tries.saturating_add(1);
            let later = SignedDuration::from_secs(AGAIN_S);
            let now = Timestamp::now();
            self.run = Run::Later(now.checked_add(later).unwrap_or(now));
            return;
        }
        if self.recovering && end.code == 0 {
            self.recovered(conversion, text("/outcome") == "rolled-forward", &end);
            return;
        }
        let mut outcome = outcome::read(conversion, end.code, &end.document);
        if outcome.reason == "GuestfixDied" && !end.tail.is_empty() {
            outcome.message =
                crate::api::condition::clip(&format!("{}: {}", outcome.message, end.tail), 1024);
        }
        self.end = Some((outcome, end.document));
        self.run = Run::Ended;
    }

    fn recovered(&mut self, conversion: &GuestConversion, forward: bool, end: &End) {
        self.recovering = false;
        if conversion.spec.mode != Mode::Undo {
            // What was rolled forward is verified by converting once more: nothing is left to do.
            self.run = Run::Recovered;
            return;
        }
        let outcome = if forward {
            outcome::undone(1)
        } else {
            Outcome::broken(
                "UndoInterrupted",
                "an undo was interrupted and no journal of it is left: it was finished or never \
                 begun; look at the guest with mode Plan before another undo",
            )
        };
        self.end = Some((outcome, end.document.clone()));
        self.run = Run::Ended;
    }
}
