// SPDX-License-Identifier: Apache-2.0
//! The loop: look, decide, do, until there is nothing to do now.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use kube::ResourceExt;
use kube::runtime::controller::{Action as Requeue, Config, applier};
use kube::runtime::reflector::ObjectRef;

use super::act::{After, Hands};
use super::observe::{observe, state_name};
use crate::api::GuestConversion;
use crate::api::condition::{Is, Kind};
use crate::brain::controller::{Action, next};
use crate::brain::observed::{Claim, ClaimSeen, Observed};
use crate::brain::publication::Publication;
use crate::brain::stand::Stand;
use crate::ops::metrics::{Call, Metrics};

/// So many things are done in a row before others get their turn.
const ROW: usize = 12;
/// Nothing waits longer for being looked at again: a watch may have missed something.
const LONGEST: Duration = Duration::from_secs(300);
/// So many conversions are worked on at a time.
const AT_ONCE: u16 = 16;

/// What the loop works with.
#[derive(Debug)]
pub struct Desk {
    hands: Arc<Hands>,
    metrics: Arc<Metrics>,
    /// The newest versions that we wrote, which the store may not show yet.
    recent: Mutex<HashMap<String, GuestConversion>>,
    /// How often in a row each conversion failed.
    failures: Mutex<HashMap<String, u32>>,
}

impl Desk {
    /// An empty one.
    pub fn new(hands: Arc<Hands>, metrics: Arc<Metrics>) -> Self {
        Self {
            hands,
            metrics,
            recent: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    fn newest(&self, stored: &GuestConversion) -> GuestConversion {
        let uid = stored.uid().unwrap_or_default();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        match recent.get(&uid) {
            Some(written) if version(written) > version(stored) => written.clone(),
            Some(_) => {
                recent.remove(&uid);
                stored.clone()
            }
            None => stored.clone(),
        }
    }

    fn wrote(&self, conversion: &GuestConversion) {
        let uid = conversion.uid().unwrap_or_default();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.insert(uid, conversion.clone());
    }

    fn failed(&self, conversion: &GuestConversion, failed: bool) -> u32 {
        let uid = conversion.uid().unwrap_or_default();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if !failed {
            failures.remove(&uid);
            return 0;
        }
        let count = failures.entry(uid).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

/// Versions grow: the API server's numbers may be compared.
fn version(conversion: &GuestConversion) -> u64 {
    conversion
        .resource_version()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

/// Works on what is due until the stream ends.
pub async fn work(desk: Arc<Desk>, due: impl Stream<Item = ObjectRef<GuestConversion>> + Send) {
    let store = desk.hands.stores.conversions.clone();
    // Not debounced: who changes an object all the time would keep it from being looked at.
    let config = Config::default().concurrency(AT_ONCE);
    let due = due.map(Ok::<_, std::convert::Infallible>);
    let work = applier(
        |conversion, desk: Arc<Desk>| Box::pin(async move { once(&desk, &conversion).await }),
        |conversion, error: &kube::Error, desk: Arc<Desk>| after_error(&desk, &conversion, error),
        desk,
        store,
        due,
        config,
    );
    work.for_each(|_| async {}).await;
}

async fn once(desk: &Desk, stored: &GuestConversion) -> kube::Result<Requeue> {
    let began = Instant::now();
    let result = decide(desk, stored).await;
    desk.metrics
        .reconcile
        .observe(began.elapsed().as_secs_f64());
    if result.is_ok() {
        desk.failed(stored, false);
    }
    result
}

async fn decide(desk: &Desk, stored: &GuestConversion) -> kube::Result<Requeue> {
    let mut conversion = desk.newest(stored);
    let mut state_made = false;
    for _ in 0..ROW {
        let mut seen = observe(&desk.hands.client, &desk.hands.stores, &conversion).await?;
        if state_made && seen.state.is_none() {
            seen.state = state_name(&seen.claims).map(|name| Claim {
                name,
                seen: ClaimSeen::Unbound,
            });
        }
        let action = next(&conversion, &seen);
        match action {
            Action::Wait => return Ok(Requeue::requeue(LONGEST)),
            Action::WaitFor(seconds) => {
                let pause = Duration::from_secs(seconds.max(1)).min(LONGEST);
                return Ok(Requeue::requeue(pause));
            }
            _ => {}
        }
        say(desk, &conversion, &action);
        let making = matches!(action, Action::MakeState | Action::MakeHolder);
        let done = match desk.hands.act(&conversion, &seen, action).await {
            Err(kube::Error::Api(status)) if making && matches!(status.code, 403 | 422) => {
                tell_refusal(desk, &conversion, &seen, &status.message).await?;
                return Err(kube::Error::Api(status));
            }
            other => other?,
        };
        match done {
            After::Again(newer) => {
                desk.wrote(&newer);
                conversion = *newer;
            }
            After::StateMade => state_made = true,
            After::Pause => return Ok(Requeue::requeue(LONGEST)),
            After::PauseFor(pause) => return Ok(Requeue::requeue(pause)),
        }
    }
    Ok(Requeue::requeue(Duration::from_secs(1)))
}

/// A quota, or somebody's admission policy: it is tried again, and until then people can see why.
async fn tell_refusal(
    desk: &Desk,
    conversion: &GuestConversion,
    seen: &Observed,
    message: &str,
) -> kube::Result<()> {
    let mut wish = Publication::standing(conversion, seen.now);
    wish.set(Kind::NodeAssigned, Is::False, ("Refused", message));
    if wish.wanted().is_some() {
        let publish = Action::Publish(Box::new(wish.into_status()));
        if let After::Again(newer) = desk.hands.act(conversion, seen, publish).await? {
            desk.wrote(&newer);
        }
    }
    Ok(())
}

fn say(desk: &Desk, conversion: &GuestConversion, action: &Action) {
    let text = format!("{action:?}");
    let word = text.split(['(', ' ']).next().unwrap_or_default().to_owned();
    tracing::info!(
        namespace = conversion.namespace(),
        conversion = conversion.name_any(),
        uid = conversion.uid(),
        node = conversion.node(),
        action = word,
        "acting"
    );
    desk.metrics
        .actions
        .get_or_create(&Call { action: word })
        .inc();
}

fn after_error(desk: &Desk, conversion: &GuestConversion, error: &kube::Error) -> Requeue {
    let code = match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    };
    // Somebody was faster: the watch will tell.
    if code == 409 || code == 404 {
        tracing::debug!(conversion = conversion.name_any(), %error, "looked at too early");
        return Requeue::requeue(Duration::from_millis(300));
    }
    desk.metrics.errors.inc();
    let times = desk.failed(conversion, true).min(8);
    let pause = Duration::from_millis(250).saturating_mul(2_u32.saturating_pow(times));
    tracing::warn!(
        namespace = conversion.namespace(),
        conversion = conversion.name_any(),
        uid = conversion.uid(),
        %error,
        "could not act; trying again"
    );
    Requeue::requeue(pause)
}
