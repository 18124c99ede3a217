// SPDX-License-Identifier: Apache-2.0
//! A Lease: who of several may act.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt};

use super::shutdown::Shutdown;

/// Who wants which Lease, and for how long at a time.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The Lease.
    pub name: String,
    /// Who we are: no two processes alike.
    pub identity: String,
    /// How long it lasts without being renewed.
    pub lasts: Duration,
    /// What is written on it.
    pub annotations: BTreeMap<String, String>,
}

/// Whether the Lease is ours: until when at the latest.
#[derive(Debug, Clone, Default)]
pub struct Tenure(Arc<Mutex<Option<Instant>>>);

impl Tenure {
    /// It is ours and fresh.
    pub fn held(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }

    fn until(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// What was last seen of another's Lease, and when by our own clock.
type Seen = Option<(String, Instant)>;

/// Takes and renews the Lease until the end is told, then gives it up.
pub async fn keep(api: Api<Lease>, claim: Claim, tenure: Tenure, stop: Shutdown) {
    let pause = claim.lasts.checked_div(5).unwrap_or(claim.lasts);
    let mut seen: Seen = None;
    loop {
        let asked = Instant::now();
        // A server that does not answer must not keep us from asking again.
        let patience = claim.lasts.checked_div(3).unwrap_or(pause);
        let asking = tokio::time::timeout(patience, step(&api, &claim, &mut seen));
        let Ok(answer) = asking.await else {
            tracing::warn!(lease = claim.name, "the API server does not answer");
            continue;
        };
        match answer {
            // Others may take it when it has expired: we stop believing well before that.
            Ok(true) => {
                let fresh = claim
                    .lasts
                    .saturating_mul(2)
                    .checked_div(3)
                    .unwrap_or(pause);
                tenure.set(asked.checked_add(fresh));
            }
            Ok(false) => tenure.set(None),
            Err(error) => tracing::warn!(%error, lease = claim.name, "cannot renew the Lease"),
        }
        tokio::select! {
            () = stop.wait() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    if tenure.held() {
        tenure.set(None);
        if let Err(error) = give_up(&api, &claim).await {
            tracing::info!(%error, lease = claim.name, "the Lease was left to expire");
        }
    }
}

/// One attempt: true when the Lease is ours now.
async fn step(api: &Api<Lease>, claim: &Claim, seen: &mut Seen) -> kube::Result<bool> {
    let Some(found) = api.get_opt(&claim.name).await? else {
        let lease = filled(Lease::default(), claim);
        return match api.create(&PostParams::default(), &lease).await {
            Ok(_) => Ok(true),
            Err(error) if conflict(&error) => Ok(false),
            Err(error) => Err(error),
        };
    };
    if !ours(&found, claim) && !expired(&found, seen) {
        return Ok(false);
    }
    // The version read goes along: of two that try, one fails.
    let lease = filled(found, claim);
    match api
        .replace(&claim.name, &PostParams::default(), &lease)
        .await
    {
        Ok(_) => {
            *seen = None;
            Ok(true)
        }
        Err(error) if conflict(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn ours(lease: &Lease, claim: &Claim) -> bool {
    let holder = lease
        .spec
        .as_ref()
        .and_then(|s| s.holder_identity.as_deref());
    holder == Some(claim.identity.as_str())
}

/// Expired by our own clock: nobody renewed it for as long as it lasts since we first saw it so.
fn expired(lease: &Lease, seen: &mut Seen) -> bool {
    let spec = lease.spec.clone().unwrap_or_default();
    if spec.holder_identity.as_deref().is_none_or(str::is_empty) {
        return true;
    }
    let stamp = format!("{:?} {:?}", spec.holder_identity, spec.renew_time);
    let lasts = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
    match seen {
        Some((have, since)) if *have == stamp => since.elapsed() >= Duration::from_secs(lasts),
        _ => {
            *seen = Some((stamp, Instant::now()));
            false
        }
    }
}

fn filled(mut lease: Lease, claim: &Claim) -> Lease {
    let mine = ours(&lease, claim);
    let annotations = lease.annotations_mut();
    annotations.extend(claim.annotations.clone());
    lease.metadata = ObjectMeta {
        name: Some(claim.name.clone()),
        managed_fields: None,
        ..lease.metadata
    };
    let now = MicroTime(Timestamp::now());
    let before = lease.spec.take().unwrap_or_default();
    let turns = before.lease_transitions.unwrap_or(0);
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(claim.identity.clone()),
        lease_duration_seconds: i32::try_from(claim.lasts.as_secs()).ok(),
        renew_time: Some(now.clone()),
        acquire_time: if mine { before.acquire_time } else { Some(now) },
        lease_transitions: Some(if mine { turns } else { turns.saturating_add(1) }),
        ..before
    });
    lease
}

async fn give_up(api: &Api<Lease>, claim: &Claim) -> kube::Result<()> {
    let mut lease = api.get(&claim.name).await?;
    if !ours(&lease, claim) {
        return Ok(());
    }
    if let Some(spec) = &mut lease.spec {
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
    }
    api.replace(&claim.name, &PostParams::default(), &lease)
        .await
        .map(|_| ())
}
