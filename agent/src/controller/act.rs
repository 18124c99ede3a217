// SPDX-License-Identifier: Apache-2.0
//! Doing what the brain decided: thin hands.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::lately::{Lately, SHOWN};
use super::watch::Stores;
use super::{holder, machine, observe, report};
use crate::api::status::GuestConversionStatus;
use crate::api::{GuestConversion, GuestConversionProfile, names};
use crate::brain::controller::Action;
use crate::brain::observed::Observed;
use crate::brain::stand::Stand;
use crate::ops::events::Events;

/// What the hands need.
pub struct Hands {
    /// The API server.
    pub client: Client,
    /// What is known.
    pub stores: Stores,
    /// The holder's image: our own.
    pub image: String,
    /// What people are told.
    pub events: Events,
    /// Namespaces that have a budget.
    pub budgets: Mutex<HashSet<String>>,
    /// What the stores may not show yet.
    pub lately: Lately,
}

impl std::fmt::Debug for Hands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hands")
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

/// What follows from an action.
#[derive(Debug)]
pub enum After {
    /// Decide again, on this newer conversion.
    Again(Box<GuestConversion>),
    /// Decide again when something changes.
    Pause,
    /// Decide again when something changes, or after this.
    PauseFor(Duration),
    /// The state claim was made: decide again with it.
    StateMade,
}

impl Hands {
    /// Does one thing, once: an object that is changed beside the conversion shows it a moment later.
    ///
    /// # Errors
    /// The API server's.
    pub async fn act(
        &self,
        conversion: &GuestConversion,
        seen: &Observed,
        action: Action,
    ) -> kube::Result<After> {
        let shown_later = shown_later(conversion, seen, &action);
        if shown_later
            .as_ref()
            .is_some_and(|what| self.lately.has(what))
        {
            return Ok(After::PauseFor(SHOWN));
        }
        let released = matches!(action, Action::ReleaseHolder);
        let after = self.at_once(conversion, seen, action).await?;
        if let Some(what) = shown_later {
            self.lately.note(what);
        }
        if released {
            // Another one may have to be made.
            self.lately.forget(&about("MakeHolder", conversion));
        }
        Ok(after)
    }

    async fn at_once(
        &self,
        conversion: &GuestConversion,
        seen: &Observed,
        action: Action,
    ) -> kube::Result<After> {
        match action {
            Action::Wait | Action::WaitFor(_) => Ok(After::Pause),
            Action::Hold => self.finalizers(conversion, true).await,
            Action::LetGo => self.finalizers(conversion, false).await,
            Action::Publish(status) => self.publish(conversion, *status).await,
            Action::HaltVm => {
                machine::halt(&self.client, &self.stores, conversion).await?;
                Ok(After::Pause)
            }
            Action::FinishVm { apply } => {
                machine::finish(&self.client, &self.stores, conversion, apply).await?;
                Ok(After::Pause)
            }
            Action::MakeState => self.make_state(conversion, seen).await,
            Action::MakeHolder => self.make_holder(conversion, seen).await,
            Action::DeleteHolder => {
                self.delete_holder(conversion).await?;
                Ok(After::Pause)
            }
            Action::ReleaseHolder => self.release_holder(conversion).await,
            Action::StoreReport => self.store_report(conversion).await,
            Action::Retire => self.retire(conversion).await,
        }
    }

    fn api(&self, conversion: &GuestConversion) -> Api<GuestConversion> {
        let namespace = conversion.namespace().unwrap_or_default();
        Api::namespaced(self.client.clone(), &namespace)
    }

    fn in_namespace<K>(&self, conversion: &GuestConversion) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(
            self.client.clone(),
            &conversion.namespace().unwrap_or_default(),
        )
    }

    async fn finalizers(&self, conversion: &GuestConversion, hold: bool) -> kube::Result<After> {
        let mut all: Vec<String> = conversion.finalizers().to_vec();
        all.retain(|name| name != names::FINALIZER);
        if hold {
            all.push(names::FINALIZER.to_owned());
        }
        // The version goes along: the list is written whole.
        let patch = json!({"metadata": {
            "finalizers": all, "resourceVersion": conversion.resource_version(),
        }});
        let name = conversion.name_any();
        let patched = self
            .api(conversion)
            .patch(&name, &ours(), &Patch::Merge(&patch))
            .await?;
        Ok(if hold {
            After::Again(Box::new(patched))
        } else {
            After::Pause
        })
    }

    async fn publish(
        &self,
        conversion: &GuestConversion,
        status: GuestConversionStatus,
    ) -> kube::Result<After> {
        let ended = crate::api::condition::is_true(
            &status.conditions,
            crate::api::condition::Kind::Finished,
        );
        let patch = json!({
            "apiVersion": "guestfix.io/v1alpha1",
            "kind": "GuestConversion",
            // Decided on this version and on no other.
            "metadata": {"resourceVersion": conversion.resource_version()},
            "status": status,
        });
        let params = PatchParams::apply(names::CONTROLLER).force();
        let name = conversion.name_any();
        let api = self.api(conversion);
        let patched = api
            .patch_status(&name, &params, &Patch::Apply(&patch))
            .await?;
        if ended && !conversion.finished() {
            self.tell_end(&patched).await;
        }
        Ok(After::Again(Box::new(patched)))
    }

    async fn tell_end(&self, conversion: &GuestConversion) {
        let conditions = conversion.stands().conditions;
        let kind = crate::api::condition::Kind::Finished;
        if let Some(end) = crate::api::condition::find(&conditions, kind) {
            self.events
                .warning(conversion, &end.reason, &end.message)
                .await;
        }
    }

    async fn make_state(
        &self,
        conversion: &GuestConversion,
        seen: &Observed,
    ) -> kube::Result<After> {
        let Some(profile) = &seen.profile else {
            return Ok(After::Pause);
        };
        let namespace = conversion.namespace().unwrap_or_default();
        let first = seen
            .claims
            .first()
            .map(|claim| claim.name.as_str())
            .unwrap_or_default();
        let disk = self
            .stores
            .claims
            .get(&ObjectRef::new(first).within(&namespace));
        let class = profile
            .state_storage_class
            .clone()
            .or_else(|| disk.as_ref()?.spec.as_ref()?.storage_class_name.clone());
        let claim = holder::state(conversion, &seen.claims, profile, class.as_deref());
        match claim {
            Some(claim) => {
                self.create::<PersistentVolumeClaim>(conversion, claim)
                    .await?
            }
            None => return Ok(After::Pause),
        }
        Ok(After::StateMade)
    }

    async fn make_holder(
        &self,
        conversion: &GuestConversion,
        seen: &Observed,
    ) -> kube::Result<After> {
        let namespace = conversion.namespace().unwrap_or_default();
        self.budget(conversion, &namespace).await?;
        let machine = observe::machine(&self.stores, conversion, &namespace);
        let profile: ObjectRef<GuestConversionProfile> =
            ObjectRef::new(&conversion.spec.profile_ref.name);
        let profile = self.stores.profiles.get(&profile);
        let drivers = profile
            .as_ref()
            .and_then(|p| p.spec.drivers.as_ref()?.image.clone());
        let claims = (seen.claims.as_slice(), seen.state.as_ref());
        let pod = holder::pod(
            conversion,
            &self.image,
            claims,
            machine.as_deref(),
            drivers.as_deref(),
        );
        self.create::<Pod>(conversion, pod).await?;
        Ok(After::Pause)
    }

    /// Creates; what is there already is as good. Its watch tells when it is there. A refusal, of
    /// a quota for example, is told and tried again.
    async fn create<K>(&self, conversion: &GuestConversion, object: Value) -> kube::Result<()>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + serde::Serialize
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
        let params = PostParams {
            field_manager: Some(names::CONTROLLER.to_owned()),
            ..PostParams::default()
        };
        match self
            .in_namespace::<K>(conversion)
            .create(&params, &object)
            .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => {
                self.events
                    .warning(conversion, "Refused", &status.message)
                    .await;
                Err(kube::Error::Api(status))
            }
            Err(error) => Err(error),
        }
    }

    async fn budget(&self, conversion: &GuestConversion, namespace: &str) -> kube::Result<()> {
        let known = |set: &Mutex<HashSet<String>>| {
            set.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(namespace)
        };
        if known(&self.budgets) {
            return Ok(());
        }
        self.create::<PodDisruptionBudget>(conversion, holder::budget())
            .await?;
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.insert(namespace.to_owned());
        Ok(())
    }

    async fn delete_holder(&self, conversion: &GuestConversion) -> kube::Result<()> {
        let name = names::holder(&conversion.name_any());
        let api: Api<Pod> = self.in_namespace(conversion);
        absent_is_fine(
            api.delete(&name, &DeleteParams::default())
                .await
                .map(|_| ()),
        )
    }

    async fn release_holder(&self, conversion: &GuestConversion) -> kube::Result<After> {
        let name = names::holder(&conversion.name_any());
        let api: Api<Pod> = self.in_namespace(conversion);
        // Deleted first: between the two nothing else can take the claims.
        self.delete_holder(conversion).await?;
        let patch = json!({"metadata": {"finalizers": null}});
        let freed = api
            .patch(&name, &ours(), &Patch::Merge(&patch))
            .await
            .map(|_| ());
        absent_is_fine(freed)?;
        Ok(After::Pause)
    }

    async fn store_report(&self, conversion: &GuestConversion) -> kube::Result<After> {
        let handover = conversion.stands().handover.unwrap_or_default();
        let map = report::config_map(conversion, &handover);
        self.create::<ConfigMap>(conversion, map).await?;
        let patch = json!({"status": {
            "handover": null,
            "reportRef": {"configMap": names::report(&conversion.name_any())},
        }});
        let name = conversion.name_any();
        let api = self.api(conversion);
        let patched = api
            .patch_status(&name, &ours(), &Patch::Merge(&patch))
            .await?;
        Ok(After::Again(Box::new(patched)))
    }

    /// Marks what triggered it: without the conversion nothing else would tell that it was done.
    async fn retire(&self, conversion: &GuestConversion) -> kube::Result<After> {
        let namespace = conversion.namespace().unwrap_or_default();
        let patch = json!({"metadata": {"annotations": {
            names::CONVERSION: conversion.name_any(),
        }}});
        let claims: Api<PersistentVolumeClaim> = self.in_namespace(conversion);
        let annotated = conversion.spec.annotated_disks.is_some();
        for claim in conversion.stands().claims {
            let found = self
                .stores
                .claims
                .get(&ObjectRef::new(&claim.claim_name).within(&namespace));
            if found
                .is_some_and(|found| annotated || found.annotations().contains_key(names::CONVERT))
            {
                let marked = claims
                    .patch(&claim.claim_name, &ours(), &Patch::Merge(&patch))
                    .await;
                absent_is_fine(marked.map(|_| ()))?;
            }
        }
        machine::mark(&self.client, &self.stores, conversion).await?;
        let params = DeleteParams::default();
        let gone = self
            .api(conversion)
            .delete(&conversion.name_any(), &params)
            .await;
        absent_is_fine(gone.map(|_| ()))?;
        Ok(After::Pause)
    }
}

/// What the stores show of an action only later, in words; none where the conversion itself shows it.
fn shown_later(conversion: &GuestConversion, seen: &Observed, action: &Action) -> Option<String> {
    Some(match action {
        Action::MakeState => about("MakeState", conversion),
        Action::MakeHolder => about("MakeHolder", conversion),
        Action::HaltVm => about("HaltVm", conversion),
        Action::FinishVm { .. } => about("FinishVm", conversion),
        // Each holder is another.
        Action::ReleaseHolder => format!("ReleaseHolder {}", seen.holder.uid()?),
        _ => return None,
    })
}

fn about(what: &str, conversion: &GuestConversion) -> String {
    format!("{what} {}", conversion.uid().unwrap_or_default())
}

fn ours() -> PatchParams {
    PatchParams {
        field_manager: Some(names::CONTROLLER.to_owned()),
        ..PatchParams::default()
    }
}

/// What is gone already is as good as deleted.
pub fn absent_is_fine(result: kube::Result<()>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
