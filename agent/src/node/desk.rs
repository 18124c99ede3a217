// SPDX-License-Identifier: Apache-2.0
//! The runs of this node: looked at, decided about, acted on, one conversion at a time each.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::child::{Child, Notify, Order};
use super::claims::Refusal;
use super::entry::Entry;
use super::start::Starter;
use super::tell;
use crate::api::foreign::Pod;
use crate::api::profile::GuestConversionProfileSpec;
use crate::api::{GuestConversion, GuestConversionProfile, Mode};
use crate::brain::node::{self, Action, Holder, Observed, Run, Why};
use crate::brain::outcome::Outcome;
use crate::brain::stand::Stand;
use crate::ops::events::Events;
use crate::ops::lease::Tenure;
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::Shutdown;

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

    pub(super) fn runs(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
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
            // Its end is what is waited for, and that wakes us.
            Action::Abort => {
                self.order(uid, Order::Kill);
                return Ok(false);
            }
            Action::Go => {
                self.order(uid, Order::Go);
                self.set(uid, Run::Committing);
            }
            Action::RecordCommit(commit) => {
                let progress = self.progress(uid);
                let patch = tell::commit(conversion, commit, &progress, Timestamp::now());
                let written = self.write(uid, conversion, patch).await?;
                let first = conversion.commit().is_none();
                if written && first && conversion.spec.mode == Mode::Undo {
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

    pub(super) fn set(&self, uid: &str, run: Run) {
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
}

fn version(conversion: &GuestConversion) -> u64 {
    conversion
        .resource_version()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}
