// SPDX-License-Identifier: Apache-2.0
//! Triggers: what makes a conversion where nobody wrote one. It is made when the trigger is first
//! seen, before the import ends: from then on the claims are shut.

use std::collections::HashMap;

use kube::api::{ObjectMeta, PostParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};

use super::act::Hands;
use super::groups::{self, Member};
use super::observe::run_strategy;
use super::watch::{Stores, TriggerKind};
use crate::api::conversion::{AnnotatedDisks, Disk, ObjectName, ProfileName};
use crate::api::foreign::{self, Machine};
use crate::api::{GuestConversion, GuestConversionSpec, names};
use crate::brain::stand::Stand;

/// Conversions made by triggers that the store may not show yet, by namespace and guest.
#[derive(Debug, Default)]
pub struct Triggers(HashMap<(String, String), String>);

impl Triggers {
    /// Looks at one object and makes a conversion where it asks for one.
    pub async fn look(&mut self, hands: &Hands, kind: TriggerKind, namespace: &str, name: &str) {
        match kind {
            TriggerKind::Profile => {
                for machine in hands.stores.machines.state() {
                    self.machine(hands, &machine).await;
                }
            }
            TriggerKind::Machine => {
                let reference = ObjectRef::new_with(name, foreign::machines()).within(namespace);
                if let Some(machine) = hands.stores.machines.get(&reference) {
                    self.machine(hands, &machine).await;
                }
            }
            TriggerKind::Claim => {
                let reference = ObjectRef::new(name).within(namespace);
                if let Some(claim) = hands.stores.claims.get(&reference) {
                    self.disk(hands, &claim).await;
                }
            }
            TriggerKind::DataVolume => {
                let reference =
                    ObjectRef::new_with(name, foreign::data_volumes()).within(namespace);
                if let Some(volume) = hands.stores.volumes.get(&reference) {
                    let (name, annotations) = (volume.name_any(), volume.annotations().clone());
                    let uid = volume.uid().unwrap_or_default();
                    if let Err(wrong) = groups::read(&name, &annotations) {
                        let about = volume.object_ref(&foreign::data_volumes());
                        hands
                            .events
                            .warning_about(&about, "WrongAnnotation", &wrong)
                            .await;
                    }
                    self.annotated(hands, namespace, (&name, &uid), &annotations)
                        .await;
                }
            }
        }
    }

    async fn machine(&mut self, hands: &Hands, machine: &Machine) {
        let Some(conversion) = of_machine(&hands.stores, machine) else {
            return;
        };
        self.make(hands, &machine.name_any(), conversion).await;
    }

    async fn disk(
        &mut self,
        hands: &Hands,
        claim: &k8s_openapi::api::core::v1::PersistentVolumeClaim,
    ) {
        let namespace = claim.namespace().unwrap_or_default();
        let (name, uid) = (claim.name_any(), claim.uid().unwrap_or_default());
        match groups::read(&name, claim.annotations()) {
            Err(wrong) => hands.events.warning(claim, "WrongAnnotation", &wrong).await,
            Ok(_) => {
                let annotations = claim.annotations().clone();
                self.annotated(hands, &namespace, (&name, &uid), &annotations)
                    .await;
            }
        }
    }

    async fn annotated(
        &mut self,
        hands: &Hands,
        namespace: &str,
        (name, uid): (&str, &str),
        annotations: &std::collections::BTreeMap<String, String>,
    ) {
        let member = match groups::read(name, annotations) {
            Ok(Some(member)) => member,
            Ok(None) => return,
            // Told by whoever read the object.
            Err(_) => return,
        };
        // A claim carries the mark also where its DataVolume was what triggered.
        let claim = hands
            .stores
            .claims
            .get(&ObjectRef::new(name).within(namespace));
        let marked = claim.is_some_and(|c| c.annotations().contains_key(names::CONVERSION));
        if marked
            || annotations.contains_key(names::CONVERSION)
            || stands(&hands.stores, namespace, name, &member.guest)
        {
            return;
        }
        let profile = profile(annotations.get(names::PROFILE));
        let conversion = of_disk(namespace, uid, &member, annotations, profile);
        self.make(hands, &member.guest, conversion).await;
    }

    async fn make(&mut self, hands: &Hands, guest: &str, conversion: GuestConversion) {
        let namespace = conversion.namespace().unwrap_or_default();
        let key = (namespace.clone(), guest.to_owned());
        if let Some(made) = self.0.get(&key) {
            let reference = ObjectRef::new(made).within(&namespace);
            // Until the store shows it nobody can tell what became of it.
            match hands.stores.conversions.get(&reference) {
                None => return,
                Some(standing) if !standing.finished() => return,
                Some(_) => {}
            }
        }
        let api: Api<GuestConversion> = Api::namespaced(hands.client.clone(), &namespace);
        let params = PostParams {
            field_manager: Some(names::CONTROLLER.to_owned()),
            ..PostParams::default()
        };
        match api.create(&params, &conversion).await {
            Ok(made) => {
                tracing::info!(namespace, conversion = made.name_any(), "triggered");
                self.0.insert(key, made.name_any());
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => tracing::warn!(%error, namespace, guest, "cannot make a conversion"),
        }
    }
}

fn profile(named: Option<&String>) -> ProfileName {
    named
        .filter(|name| groups::object_name(name))
        .map_or_else(ProfileName::default, |name| ProfileName {
            name: name.clone(),
        })
}

/// A conversion stands on the disk already, or was made for this guest, or has been there.
fn stands(stores: &Stores, namespace: &str, claim: &str, guest: &str) -> bool {
    let uid = stores
        .claims
        .get(&ObjectRef::new(claim).within(namespace))
        .and_then(|c| c.uid());
    stores
        .conversions
        .find(|c| {
            let mut written = c.status.iter().flat_map(|status| &status.claims);
            let same = |seen: &crate::api::status::Claim| {
                seen.claim_name == claim && (seen.uid.is_none() || uid.is_none() || seen.uid == uid)
            };
            let annotated = c.spec.annotated_disks.as_ref();
            let awaited = !c.finished() && annotated.is_some_and(|disks| disks.guest == guest);
            c.namespace().as_deref() == Some(namespace) && (awaited || written.any(same))
        })
        .is_some()
}

/// A machine that asks for it by annotation while it is halted, or by a profile's selector.
fn of_machine(stores: &Stores, machine: &Machine) -> Option<GuestConversion> {
    let annotations = machine.annotations();
    if annotations.contains_key(names::CONVERSION) || machine.metadata.deletion_timestamp.is_some()
    {
        return None;
    }
    let asked = annotations.get(names::CONVERT).is_some_and(|v| v == "true")
        && run_strategy(machine) == "Halted";
    let selecting = stores.profiles.find(|p| {
        let selector = p.spec.vm_selector.as_ref();
        selector.is_some_and(|s| {
            !s.match_labels.is_empty()
                && s.match_labels
                    .iter()
                    .all(|(k, v)| machine.labels().get(k) == Some(v))
        })
    });
    let profile = match (asked, selecting) {
        (true, _) => profile(annotations.get(names::PROFILE)),
        // Nobody asked for this one: it is left alone while it runs.
        (false, Some(_)) if runs(stores, machine) => return None,
        (false, Some(selecting)) => ProfileName {
            name: selecting.name_any(),
        },
        (false, None) => return None,
    };
    let disks: Vec<Disk> = machine.spec.template.spec.claims().map(Disk::of).collect();
    let (name, uid) = (machine.name_any(), machine.uid().unwrap_or_default());
    let spec = GuestConversionSpec {
        virtual_machine_ref: Some(ObjectName { name: name.clone() }),
        // Named at once: the claims are shut from the first moment.
        disks: (!disks.is_empty()).then_some(disks),
        profile_ref: profile,
        ..GuestConversionSpec::default()
    };
    Some(new(
        &machine.namespace().unwrap_or_default(),
        &name,
        &uid,
        spec,
    ))
}

fn runs(stores: &Stores, machine: &Machine) -> bool {
    let name = ObjectRef::new_with(&machine.name_any(), foreign::instances());
    let namespace = machine.namespace().unwrap_or_default();
    stores.instances.get(&name.within(&namespace)).is_some()
}

fn of_disk(
    namespace: &str,
    uid: &str,
    member: &Member,
    annotations: &std::collections::BTreeMap<String, String>,
    profile: ProfileName,
) -> GuestConversion {
    let machine = annotations.get(names::GUEST).map(|guest| ObjectName {
        name: guest.clone(),
    });
    let spec = GuestConversionSpec {
        virtual_machine_ref: machine,
        annotated_disks: Some(AnnotatedDisks {
            guest: member.guest.clone(),
            count: member.count,
        }),
        profile_ref: profile,
        ..GuestConversionSpec::default()
    };
    new(namespace, &member.guest, uid, spec)
}

fn new(namespace: &str, guest: &str, uid: &str, spec: GuestConversionSpec) -> GuestConversion {
    GuestConversion {
        metadata: ObjectMeta {
            name: Some(names::triggered(guest, uid)),
            namespace: Some(namespace.to_owned()),
            finalizers: Some(vec![names::FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}
