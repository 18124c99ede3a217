// SPDX-License-Identifier: Apache-2.0
//! Looking: what stands around a conversion, out of the stores.

use k8s_openapi::api::core::v1::{Node as KubeNode, PersistentVolumeClaim};
use k8s_openapi::jiff::Timestamp;
use kube::api::ApiResource;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};

use super::groups;
use super::watch::Stores;
use crate::api::condition::{self, Kind};
use crate::api::conversion::ProfileName;
use crate::api::foreign::{self, Machine, Pod};
use crate::api::profile::GuestConversionProfileSpec;
use crate::api::{GuestConversion, Mode, names};
use crate::brain::observed::{Bound, Claim, ClaimSeen, Holder, Node, Observed, Source, Vm};
use crate::brain::stand::Stand;

/// What stands around a conversion. One call to the API server at most, and only where a store
/// lacks what the status says there is, or a node is silent.
///
/// # Errors
/// Those of that call.
pub async fn observe(
    client: &Client,
    stores: &Stores,
    conversion: &GuestConversion,
) -> kube::Result<Observed> {
    let namespace = conversion.namespace().unwrap_or_default();
    let (source, claims, awaited) = claims(stores, conversion, &namespace);
    let working = conversion.node().is_none() && !conversion.finished();
    Ok(Observed {
        now: Timestamp::now(),
        profile: profile(stores, &conversion.spec.profile_ref.name),
        vm: machine(stores, conversion, &namespace).map(|m| vm(stores, &m, &namespace)),
        source,
        state: state(stores, conversion, &claims, &namespace),
        holder: holder(client, stores, conversion, &namespace).await?,
        node: node(client, stores, conversion).await?,
        users: if working {
            users(stores, &claims, &namespace)
        } else {
            Vec::new()
        },
        rival: if working {
            rival(stores, conversion, &claims)
        } else {
            None
        },
        claims,
        awaited,
    })
}

/// A profile. The one called default need not be written: it is then what every profile is that
/// says nothing.
fn profile(stores: &Stores, name: &str) -> Option<GuestConversionProfileSpec> {
    let found = stores
        .profiles
        .get(&ObjectRef::new(name))
        .map(|p| p.spec.clone());
    found.or_else(|| (name == ProfileName::default().name).then(GuestConversionProfileSpec::plain))
}

/// The VM that a conversion names.
pub fn machine(
    stores: &Stores,
    conversion: &GuestConversion,
    namespace: &str,
) -> Option<std::sync::Arc<Machine>> {
    let named = conversion.spec.virtual_machine_ref.as_ref()?;
    stores
        .machines
        .get(&within(&named.name, namespace, foreign::machines()))
}

fn within<K>(name: &str, namespace: &str, resource: ApiResource) -> ObjectRef<K>
where
    K: kube::Resource<DynamicType = ApiResource>,
{
    ObjectRef::new_with(name, resource).within(namespace)
}

fn vm(stores: &Stores, machine: &Machine, namespace: &str) -> Vm {
    let annotation = |key: &str| machine.annotations().get(key).cloned();
    let instance = within(&machine.name_any(), namespace, foreign::instances());
    let running = stores.instances.get(&instance).is_some_and(|instance| {
        let phase = instance.status.as_ref().map(|s| s.phase.as_str());
        !matches!(phase, Some("Succeeded" | "Failed"))
    });
    Vm {
        run_strategy: run_strategy(machine),
        restore: annotation(names::RESTORE_RUN_STRATEGY),
        conversion: annotation(names::CONVERSION),
        running,
    }
}

/// A machine's runStrategy, also where it is said in the older way.
pub fn run_strategy(machine: &Machine) -> String {
    match (&machine.spec.run_strategy, machine.spec.running) {
        (Some(strategy), _) => strategy.clone(),
        (None, Some(true)) => "Always".to_owned(),
        (None, _) => "Halted".to_owned(),
    }
}

/// The claims of the guest, in order, and how many are still awaited.
fn claims(
    stores: &Stores,
    conversion: &GuestConversion,
    namespace: &str,
) -> (Source, Vec<Claim>, usize) {
    if conversion.spec.mode == Mode::Undo {
        let (source, names) = undone(stores, conversion, namespace);
        let claims = names.into_iter().map(|name| claim(stores, name, namespace));
        return (source, claims.collect(), 0);
    }
    let (names, awaited) = claim_names(stores, conversion, namespace);
    let claims = names.into_iter().map(|name| claim(stores, name, namespace));
    (Source::NotAsked, claims.collect(), awaited)
}

fn claim_names(
    stores: &Stores,
    conversion: &GuestConversion,
    namespace: &str,
) -> (Vec<String>, usize) {
    let spec = &conversion.spec;
    if let Some(disks) = &spec.disks {
        return (disks.iter().map(|d| d.claim_name.clone()).collect(), 0);
    }
    let standing: Vec<String> = conversion
        .stands()
        .claims
        .into_iter()
        .map(|claim| claim.claim_name)
        .collect();
    if let Some(disks) = &spec.annotated_disks {
        let count = usize::try_from(disks.count).unwrap_or(usize::MAX);
        // Once all are known nobody can add or replace one by an annotation.
        if standing.len() == count {
            return (standing, 0);
        }
        let mut found = groups::members(stores, namespace, &disks.guest);
        found.truncate(count);
        let awaited = count.saturating_sub(found.len());
        return (found, awaited);
    }
    if !standing.is_empty() {
        return (standing, 0);
    }
    let machine = machine(stores, conversion, namespace);
    let claims = machine.iter().flat_map(|m| m.spec.template.spec.claims());
    (claims.map(str::to_owned).collect(), 0)
}

fn undone(stores: &Stores, conversion: &GuestConversion, namespace: &str) -> (Source, Vec<String>) {
    let name = conversion.spec.undo_of.as_deref().unwrap_or_default();
    let Some(source) = stores
        .conversions
        .get(&ObjectRef::new(name).within(namespace))
    else {
        return (Source::Missing, Vec::new());
    };
    let names = source
        .stands()
        .claims
        .into_iter()
        .map(|claim| claim.claim_name)
        .collect();
    if source.finished() {
        (Source::Found, names)
    } else {
        (Source::Unfinished, names)
    }
}

fn claim(stores: &Stores, name: String, namespace: &str) -> Claim {
    let seen = seen(stores, &name, namespace);
    Claim { name, seen }
}

fn seen(stores: &Stores, name: &str, namespace: &str) -> ClaimSeen {
    let volume = stores
        .volumes
        .get(&within(name, namespace, foreign::data_volumes()));
    let importing = volume.and_then(|volume| {
        let status = volume.status.clone().unwrap_or_default();
        (status.phase != "Succeeded").then(|| {
            let phase = if status.phase.is_empty() {
                "Pending"
            } else {
                &status.phase
            };
            format!("DataVolume {phase} {}", status.progress)
                .trim_end()
                .to_owned()
        })
    });
    let Some(claim) = stores.claims.get(&ObjectRef::new(name).within(namespace)) else {
        return importing.map_or(ClaimSeen::Missing, ClaimSeen::Importing);
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return ClaimSeen::Going;
    }
    if let Some(how) = importing.or_else(|| filled(&claim)) {
        return ClaimSeen::Importing(how);
    }
    bound(&claim).map_or(ClaimSeen::Unbound, ClaimSeen::Bound)
}

/// CDI's own pods still fill it: their annotation says so, also where there is no DataVolume.
fn filled(claim: &PersistentVolumeClaim) -> Option<String> {
    let phase = claim
        .annotations()
        .get("cdi.kubevirt.io/storage.pod.phase")?;
    (!phase.is_empty() && phase != "Succeeded").then(|| format!("import pod {phase}"))
}

/// What binds a claim.
pub fn bound(claim: &PersistentVolumeClaim) -> Option<Bound> {
    let spec = claim.spec.as_ref()?;
    let phase = claim.status.as_ref()?.phase.as_deref()?;
    let volume = spec.volume_name.clone().filter(|v| !v.is_empty())?;
    let modes = spec.access_modes.iter().flatten();
    (phase == "Bound").then(|| Bound {
        uid: claim.uid().unwrap_or_default(),
        volume,
        block: spec.volume_mode.as_deref() == Some("Block"),
        shared: modes.into_iter().any(|mode| mode == "ReadWriteMany"),
    })
}

/// The state claim's name, once the guest's first claim is bound.
pub fn state_name(claims: &[Claim]) -> Option<String> {
    Some(names::state_claim(&claims.first()?.bound()?.uid))
}

fn state(
    stores: &Stores,
    conversion: &GuestConversion,
    claims: &[Claim],
    namespace: &str,
) -> Option<Claim> {
    let name = state_name(claims)?;
    let claim = stores
        .claims
        .get(&ObjectRef::new(&name).within(namespace))?;
    let seen = bound(&claim).map_or(ClaimSeen::Unbound, ClaimSeen::Bound);
    // Modes that only read look through a pending journal, and do without where there is none.
    (conversion.needs_state() || seen != ClaimSeen::Unbound).then_some(Claim { name, seen })
}

async fn holder(
    client: &Client,
    stores: &Stores,
    conversion: &GuestConversion,
    namespace: &str,
) -> kube::Result<Holder> {
    let name = names::holder(&conversion.name_any());
    let stored: Option<Pod> = stores
        .pods
        .get(&within(&name, namespace, foreign::pods()))
        .map(|pod| (*pod).clone());
    let expected = conversion.stands().holder.is_some() && !conversion.finished();
    let pod = match stored {
        None if expected => {
            let api: Api<Pod> = Api::namespaced_with(client.clone(), namespace, &foreign::pods());
            api.get_opt(&name).await?
        }
        stored => stored,
    };
    Ok(pod.map_or(Holder::Absent, |pod| {
        held(&pod, &conversion.uid().unwrap_or_default())
    }))
}

fn held(pod: &Pod, conversion: &str) -> Holder {
    let uid = pod.uid().unwrap_or_default();
    let ours = pod
        .labels()
        .get(names::CONVERSION_UID)
        .is_some_and(|u| u == conversion);
    if !ours {
        let (gone, held) = (false, false);
        return Holder::Going { uid, gone, held };
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Holder::Going {
            uid,
            gone: pod.metadata.deletion_grace_period_seconds == Some(0),
            held: pod.finalizers().iter().any(|f| f == names::HOLD),
        };
    }
    let status = pod.status.clone().unwrap_or_default();
    match (status.phase.as_str(), &pod.spec.node_name) {
        ("Running", Some(node)) => Holder::Running {
            uid,
            node: node.clone(),
        },
        ("Failed" | "Succeeded", _) => Holder::Ended { uid },
        _ => Holder::Waiting {
            uid,
            why: waiting(&status),
        },
    }
}

fn waiting(status: &foreign::PodStatus) -> String {
    let scheduled = status.conditions.iter().find(|c| c.kind == "PodScheduled");
    match scheduled {
        Some(c) if c.status == "False" => format!("the holder cannot be scheduled: {}", c.message),
        Some(_) => "the kubelet mounts the disks".to_owned(),
        None => "the holder waits for the scheduler".to_owned(),
    }
}

async fn node(
    client: &Client,
    stores: &Stores,
    conversion: &GuestConversion,
) -> kube::Result<Node> {
    let Some(node) = conversion.node().filter(|_| !conversion.finished()) else {
        return Ok(Node::default());
    };
    let alive = stores.pulses.alive(&names::node_lease(node));
    if alive || conversion.commit().is_none() {
        let out_of_service = false;
        return Ok(Node {
            alive,
            out_of_service,
        });
    }
    let api: Api<KubeNode> = Api::all(client.clone());
    let found = api.get_opt(node).await?;
    let out_of_service = found.is_none_or(|node| {
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        taints
            .iter()
            .any(|t| t.key == "node.kubernetes.io/out-of-service")
    });
    Ok(Node {
        alive,
        out_of_service,
    })
}

/// Who else uses the claims: pods that have not ended, other than holders and CDI's, and machines.
fn users(stores: &Stores, claims: &[Claim], namespace: &str) -> Vec<String> {
    let wanted = |name: Option<&str>| name.is_some_and(|n| claims.iter().any(|c| c.name == n));
    let pods = stores.pods.state_filter(|pod| {
        let phase = pod.status.as_ref().map(|s| s.phase.as_str());
        pod.namespace().as_deref() == Some(namespace)
            && !matches!(phase, Some("Succeeded" | "Failed"))
            && !pod.labels().contains_key(names::HOLDER)
            && pod.spec.volumes.iter().any(|volume| wanted(volume.claim()))
    });
    // CDI's importers are waited for by what they say of the claim.
    let others = pods.iter().filter(|pod| {
        pod.labels().get("app").map(String::as_str) != Some("containerized-data-importer")
    });
    let mut out: Vec<String> = others
        .map(|pod| format!("pod {}", pod.name_any()))
        .collect();
    let machines = stores.instances.state_filter(|instance| {
        let phase = instance.status.as_ref().map(|s| s.phase.as_str());
        instance.namespace().as_deref() == Some(namespace)
            && !matches!(phase, Some("Succeeded" | "Failed"))
            && instance
                .spec
                .volumes
                .iter()
                .any(|volume| wanted(volume.claim()))
    });
    out.extend(
        machines
            .iter()
            .map(|m| format!("VirtualMachineInstance {}", m.name_any())),
    );
    out.truncate(4);
    out
}

/// An unfinished conversion that came first and stands on one of the claims.
fn rival(stores: &Stores, conversion: &GuestConversion, claims: &[Claim]) -> Option<String> {
    let age = |c: &GuestConversion| (c.made_at(), c.name_any());
    let mine = age(conversion);
    let standing = stores.conversions.find(|other| {
        other.namespace() == conversion.namespace()
            && other.uid() != conversion.uid()
            && !other.finished()
            && age(other) < mine
            && stands_on(other, claims)
    })?;
    Some(standing.name_any())
}

/// Conversions that wait for another one of their namespace, and may go on now that this has ended.
pub fn waiting_for(
    stores: &Stores,
    ended: &ObjectRef<GuestConversion>,
) -> Vec<ObjectRef<GuestConversion>> {
    let finished = stores.conversions.get(ended).is_none_or(|c| c.finished());
    if !finished {
        return Vec::new();
    }
    let waiting = stores
        .conversions
        .state_filter(|other| other.namespace() == ended.namespace && waits_for_another(other));
    waiting.iter().map(|c| ObjectRef::from_obj(&**c)).collect()
}

fn waits_for_another(conversion: &GuestConversion) -> bool {
    let conditions = conversion.status.as_ref().map(|s| s.conditions.as_slice());
    condition::find(conditions.unwrap_or_default(), Kind::DisksReady).is_some_and(|c| {
        c.status == "False" && matches!(c.reason.as_str(), "AnotherConversion" | "UndoOfUnfinished")
    })
}

fn stands_on(other: &GuestConversion, claims: &[Claim]) -> bool {
    let named = other
        .spec
        .disks
        .iter()
        .flatten()
        .map(|d| d.claim_name.as_str());
    let written = other
        .status
        .iter()
        .flat_map(|s| &s.claims)
        .map(|c| c.claim_name.as_str());
    named
        .chain(written)
        .any(|name| claims.iter().any(|claim| claim.name == name))
}
