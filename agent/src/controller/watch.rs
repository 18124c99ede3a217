// SPDX-License-Identifier: Apache-2.0
//! What the controller watches: one stream per kind, each kept in a store, trimmed to what is read.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ApiResource;
use kube::runtime::reflector::{ObjectRef, Store, reflector, store::Writer};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::api::foreign::{self, DataVolume, Instance, Machine, Pod};
use crate::api::{GuestConversion, GuestConversionProfile, names};

/// How long stores of kinds that a cluster need not have are waited for.
const OPTIONAL: Duration = Duration::from_secs(5);

/// Everything that is watched.
pub struct Stores {
    /// Conversions.
    pub conversions: Store<GuestConversion>,
    /// Profiles.
    pub profiles: Store<GuestConversionProfile>,
    /// Every pod, as users of claims; holders among them.
    pub pods: Store<Pod>,
    /// Claims.
    pub claims: Store<PersistentVolumeClaim>,
    /// VirtualMachines.
    pub machines: Store<Machine>,
    /// VirtualMachineInstances.
    pub instances: Store<Instance>,
    /// DataVolumes.
    pub volumes: Store<DataVolume>,
    /// When each node agent's Lease was last seen renewed.
    pub pulses: Arc<Pulses>,
}

#[cfg(test)]
impl Stores {
    /// Stores of a cluster with nothing in it.
    pub(super) fn empty() -> Self {
        Self {
            conversions: Writer::default().as_reader(),
            profiles: Writer::default().as_reader(),
            pods: Writer::new(foreign::pods()).as_reader(),
            claims: Writer::default().as_reader(),
            machines: Writer::new(foreign::machines()).as_reader(),
            instances: Writer::new(foreign::instances()).as_reader(),
            volumes: Writer::new(foreign::data_volumes()).as_reader(),
            pulses: Arc::default(),
        }
    }
}

impl Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

/// Something changed that a conversion may care about, or that may be a trigger.
#[derive(Debug, Clone)]
pub enum Touched {
    /// Decide about this conversion anew.
    Conversion(ObjectRef<GuestConversion>),
    /// Look for triggers on this object: kind, namespace, name.
    Trigger(TriggerKind, String, String),
    /// A node agent's Lease shows what its node can mount.
    Lease(Box<Lease>),
}

/// What can trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TriggerKind {
    /// A VirtualMachine.
    Machine,
    /// A DataVolume.
    DataVolume,
    /// A PersistentVolumeClaim.
    Claim,
    /// A profile: every machine is looked at anew.
    Profile,
}

/// Where what was touched goes.
pub type Sink = UnboundedSender<Touched>;

/// Begins to watch. Returns when what every cluster has was listed.
///
/// # Errors
/// When a watch's task ends, which only happens when the process ends.
pub async fn start(client: &Client, namespace: &str, sink: &Sink) -> Result<Stores, String> {
    let all = watcher::Config::default().any_semantic();
    let conversions = follow(Api::all(client.clone()), all.clone(), (), trim, {
        let sink = sink.clone();
        move |c: &GuestConversion| tell(&sink, Touched::Conversion(ObjectRef::from_obj(c)))
    });
    let profiles = follow(Api::all(client.clone()), all.clone(), (), trim, {
        let sink = sink.clone();
        move |p: &GuestConversionProfile| trigger(&sink, TriggerKind::Profile, p)
    });
    let pods = follow_dynamic(client, foreign::pods(), {
        let sink = sink.clone();
        move |pod: &Pod| by_annotation(&sink, pod)
    });
    let claims = follow(Api::all(client.clone()), all.clone(), (), trim, {
        let (sink, conversions) = (sink.clone(), conversions.clone());
        move |claim: &PersistentVolumeClaim| {
            by_annotation(&sink, claim);
            by_claim(&sink, &conversions, claim);
            trigger(&sink, TriggerKind::Claim, claim);
        }
    });
    let volumes = follow_dynamic(client, foreign::data_volumes(), {
        let (sink, conversions) = (sink.clone(), conversions.clone());
        move |volume: &DataVolume| {
            by_claim(&sink, &conversions, volume);
            trigger(&sink, TriggerKind::DataVolume, volume);
        }
    });
    let machines = follow_dynamic(client, foreign::machines(), {
        let (sink, conversions) = (sink.clone(), conversions.clone());
        move |machine: &Machine| {
            by_machine(&sink, &conversions, machine);
            trigger(&sink, TriggerKind::Machine, machine);
        }
    });
    let instances = follow_dynamic(client, foreign::instances(), {
        let (sink, conversions) = (sink.clone(), conversions.clone());
        move |instance: &Instance| by_machine(&sink, &conversions, instance)
    });
    let pulses = Arc::new(Pulses::default());
    let leases: Store<Lease> = follow(
        Api::namespaced(client.clone(), namespace),
        all,
        (),
        |_| (),
        {
            let (sink, pulses) = (sink.clone(), Arc::clone(&pulses));
            move |lease: &Lease| {
                pulses.beat(lease);
                tell(&sink, Touched::Lease(Box::new(lease.clone())));
            }
        },
    );
    ready(&conversions).await?;
    ready(&profiles).await?;
    ready(&pods).await?;
    ready(&claims).await?;
    ready(&leases).await?;
    // A cluster without KubeVirt or CDI has no such kinds: their watches keep asking.
    let optional = async {
        let _ = machines.wait_until_ready().await;
        let _ = instances.wait_until_ready().await;
        let _ = volumes.wait_until_ready().await;
    };
    if tokio::time::timeout(OPTIONAL, optional).await.is_err() {
        tracing::warn!("KubeVirt's or CDI's objects cannot be listed: going on without them");
    }
    Ok(Stores {
        conversions,
        profiles,
        pods,
        claims,
        machines,
        instances,
        volumes,
        pulses,
    })
}

async fn ready<K: Resource + Clone + Send + Sync + 'static>(store: &Store<K>) -> Result<(), String>
where
    K::DynamicType: Eq + Hash + Clone,
{
    store.wait_until_ready().await.map_err(|e| e.to_string())
}

fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    dyntype: K::DynamicType,
    trim: fn(&mut K),
    touched: impl Fn(&K) + Send + 'static,
) -> Store<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Send + Sync,
{
    let writer = Writer::new(dyntype);
    let store = writer.as_reader();
    let stream = reflector(writer, watcher(api, config).modify(trim))
        .default_backoff()
        .touched_objects();
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(item) = stream.next().await {
            match item {
                Ok(object) => touched(&object),
                Err(error) => tracing::debug!(%error, "a watch was interrupted"),
            }
        }
    });
    store
}

fn follow_dynamic<K>(
    client: &Client,
    resource: ApiResource,
    touched: impl Fn(&K) + Send + 'static,
) -> Store<K>
where
    K: Resource<DynamicType = ApiResource>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    let api = Api::all_with(client.clone(), &resource);
    let config = watcher::Config::default().any_semantic();
    follow(api, config, resource, trim, touched)
}

/// Nobody here reads who wrote which field, and it is half of an object.
fn trim<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
    if let Some(annotations) = &mut object.meta_mut().annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

fn tell(sink: &Sink, touched: Touched) {
    // Nobody listens only when the process ends.
    let _ = sink.unbounded_send(touched);
}

fn trigger<K: Resource>(sink: &Sink, kind: TriggerKind, object: &K) {
    let namespace = object.namespace().unwrap_or_default();
    tell(sink, Touched::Trigger(kind, namespace, object.name_any()));
}

/// Holders and state claims name their conversion.
fn by_annotation<K: Resource>(sink: &Sink, object: &K) {
    let Some(name) = object.annotations().get(names::CONVERSION) else {
        return;
    };
    if object.labels().contains_key(names::CONVERSION_UID) {
        let namespace = object.namespace().unwrap_or_default();
        tell(
            sink,
            Touched::Conversion(ObjectRef::new(name).within(&namespace)),
        );
    }
}

fn by_claim<K: Resource>(sink: &Sink, conversions: &Store<GuestConversion>, object: &K) {
    let (namespace, name) = (object.namespace(), object.name_any());
    let guest = object.annotations().get(names::GUEST).unwrap_or(&name);
    for conversion in conversions.state() {
        if conversion.namespace() == namespace && concerns(&conversion, &name, guest) {
            tell(sink, Touched::Conversion(ObjectRef::from_obj(&*conversion)));
        }
    }
}

fn concerns(conversion: &GuestConversion, claim: &str, guest: &str) -> bool {
    let spec = &conversion.spec;
    let named = spec
        .disks
        .iter()
        .flatten()
        .any(|disk| disk.claim_name == claim);
    let annotated = spec
        .annotated_disks
        .as_ref()
        .is_some_and(|disks| disks.guest == guest);
    let written = conversion.status.iter().flat_map(|s| &s.claims);
    named || annotated || written.into_iter().any(|c| c.claim_name == claim)
}

fn by_machine<K: Resource>(sink: &Sink, conversions: &Store<GuestConversion>, object: &K) {
    let (namespace, name) = (object.namespace(), object.name_any());
    for conversion in conversions.state() {
        let machine = conversion.spec.virtual_machine_ref.as_ref();
        if conversion.namespace() == namespace && machine.is_some_and(|vm| vm.name == name) {
            tell(sink, Touched::Conversion(ObjectRef::from_obj(&*conversion)));
        }
    }
}

/// When each Lease was last seen renewed, by our own clock: clocks of machines differ.
#[derive(Debug, Default)]
pub struct Pulses(Mutex<HashMap<String, Pulse>>);

#[derive(Debug, Clone)]
struct Pulse {
    stamp: String,
    seen: Instant,
    lasts: Duration,
}

impl Pulses {
    /// A Lease was seen.
    pub fn beat(&self, lease: &Lease) {
        let Some(spec) = &lease.spec else { return };
        let held = spec
            .holder_identity
            .as_deref()
            .is_some_and(|h| !h.is_empty());
        let stamp = format!("{:?} {:?}", spec.holder_identity, spec.renew_time);
        let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
        let mut pulses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !held {
            pulses.remove(&lease.name_any());
            return;
        }
        let fresh = Pulse {
            stamp,
            seen: Instant::now(),
            lasts: Duration::from_secs(seconds),
        };
        let pulse = pulses
            .entry(lease.name_any())
            .or_insert_with(|| fresh.clone());
        if pulse.stamp != fresh.stamp {
            *pulse = fresh;
        }
    }

    /// The Lease of this name has not expired.
    pub fn alive(&self, lease: &str) -> bool {
        let pulses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pulses
            .get(lease)
            .is_some_and(|pulse| pulse.seen.elapsed() < pulse.lasts)
    }
}
