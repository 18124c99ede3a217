// SPDX-License-Identifier: Apache-2.0
//! Events: what a person sees with `kubectl describe`.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

use crate::api::condition::clip;

/// Writes events for one role.
#[derive(Clone)]
pub struct Events(Recorder);

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Events of a role (`guestfix-controller`, `guestfix-node`) of this instance.
    pub fn new(client: Client, role: &str, instance: &str) -> Self {
        let reporter = Reporter {
            controller: role.to_owned(),
            instance: Some(clip(instance, 128)),
        };
        Self(Recorder::new(client, reporter))
    }

    /// Something went as wished.
    pub async fn normal<K>(&self, object: &K, reason: &str, note: &str)
    where
        K: Resource,
        K::DynamicType: Default,
    {
        self.write(object, EventType::Normal, reason, note).await;
    }

    /// Something to be looked at.
    pub async fn warning<K>(&self, object: &K, reason: &str, note: &str)
    where
        K: Resource,
        K::DynamicType: Default,
    {
        self.write(object, EventType::Warning, reason, note).await;
    }

    /// The same, about what is only known by its reference.
    pub async fn warning_about(&self, about: &ObjectReference, reason: &str, note: &str) {
        self.publish(about, EventType::Warning, reason, note).await;
    }

    async fn write<K>(&self, object: &K, type_: EventType, reason: &str, note: &str)
    where
        K: Resource,
        K::DynamicType: Default,
    {
        let about = object.object_ref(&K::DynamicType::default());
        self.publish(&about, type_, reason, note).await;
    }

    /// An event that cannot be written is logged: nothing may depend on one.
    async fn publish(&self, about: &ObjectReference, type_: EventType, reason: &str, note: &str) {
        let event = Event {
            type_,
            reason: clip(reason, 128),
            note: Some(clip(note, 1000)),
            action: "GuestConversion".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.0.publish(&event, about).await {
            tracing::warn!(%error, object = about.name, "an event could not be written");
        }
    }
}
