// SPDX-License-Identifier: Apache-2.0
//! The controller: groups disks, makes holder pods, gates and patches VMs. Unprivileged.

pub mod act;
pub mod groups;
pub mod holder;
pub mod labels;
pub mod lately;
pub mod machine;
pub mod observe;
pub mod reconcile;
pub mod report;
pub mod trigger;
pub mod watch;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::channel::mpsc::{self, UnboundedReceiver};
use futures::{StreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client};

use self::act::Hands;
use self::labels::Labels;
use self::lately::Lately;
use self::reconcile::Desk;
use self::trigger::Triggers;
use self::watch::Touched;
use crate::api::{GuestConversion, names};
use crate::ops::events::Events;
use crate::ops::health::{self, Health};
use crate::ops::lease::{self, Tenure};
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::Shutdown;

/// How the controller is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The namespace of guestfix itself.
    #[arg(long, default_value = names::NAMESPACE)]
    pub namespace: String,
    /// Who this process is among the replicas.
    #[arg(long, env = "POD_NAME")]
    pub identity: String,
    /// The image of holder pods: this program's own.
    #[arg(long, env = "GUESTFIX_IMAGE")]
    pub holder_image: String,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// How long the leader's Lease lasts without being renewed, seconds.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=300))]
    pub lease_seconds: u64,
}

/// Runs until told to end, or until the Lease is lost.
///
/// # Errors
/// What made it end otherwise, in words.
pub async fn run(client: Client, options: Options, stop: Shutdown) -> Result<(), String> {
    let metrics = Arc::new(Metrics::new("controller"));
    let health = Health::new(Arc::clone(&metrics));
    let served = health::serve(health.clone(), options.listen).await;
    served.map_err(|e| format!("cannot listen on {}: {e}", options.listen))?;
    // A standby is ready: it can take over.
    health.set_ready(true);
    let tenure = Tenure::default();
    let leases: Api<Lease> = Api::namespaced(client.clone(), &options.namespace);
    let claim = lease::Claim {
        name: names::CONTROLLER_LEASE.to_owned(),
        identity: options.identity.clone(),
        lasts: Duration::from_secs(options.lease_seconds),
        annotations: Default::default(),
    };
    let keeping = tokio::spawn(lease::keep(leases, claim, tenure.clone(), stop.clone()));
    while !tenure.held() && !stop.begun() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut lost = false;
    if !stop.begun() {
        tracing::info!(identity = options.identity, "leading");
        let work = lead(&client, &options, metrics);
        tokio::select! {
            result = work => result?,
            () = stop.wait() => {}
            () = lose(&tenure) => lost = true,
        }
    }
    stop.begin();
    let _ = keeping.await;
    if lost {
        return Err("the Lease was lost to another replica".to_owned());
    }
    Ok(())
}

async fn lose(tenure: &Tenure) {
    while tenure.held() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn lead(client: &Client, options: &Options, metrics: Arc<Metrics>) -> Result<(), String> {
    let (sink, touched) = mpsc::unbounded();
    let stores = watch::start(client, &options.namespace, &sink).await?;
    let hands = Arc::new(Hands {
        client: client.clone(),
        stores,
        image: options.holder_image.clone(),
        events: Events::new(client.clone(), names::CONTROLLER, &options.identity),
        budgets: Mutex::new(HashSet::new()),
        lately: Lately::default(),
    });
    let (due, queue) = mpsc::unbounded::<ObjectRef<GuestConversion>>();
    let sorting = sort(Arc::clone(&hands), touched, due);
    let desk = Arc::new(Desk::new(hands, metrics));
    let again = stream::empty();
    tokio::select! {
        () = sorting => {}
        () = reconcile::work(desk, stream::select(queue, again)) => {}
    }
    Err("a watch ended".to_owned())
}

/// Conversions go to the queue; triggers and Leases are looked at here, one after the other.
async fn sort(
    hands: Arc<Hands>,
    mut touched: UnboundedReceiver<Touched>,
    due: mpsc::UnboundedSender<ObjectRef<GuestConversion>>,
) {
    let (slow, mut slowly) = mpsc::unbounded::<Touched>();
    let looking = async {
        let mut triggers = Triggers::default();
        let mut labels = Labels::default();
        while let Some(touched) = slowly.next().await {
            match touched {
                Touched::Trigger(kind, namespace, name) => {
                    triggers.look(&hands, kind, &namespace, &name).await;
                }
                Touched::Lease(lease) => labels.copy(&hands.client, &lease).await,
                Touched::Conversion(_) => {}
            }
        }
    };
    let passing = async {
        while let Some(touched) = touched.next().await {
            let sent = match touched {
                Touched::Conversion(reference) => {
                    let waiting = observe::waiting_for(&hands.stores, &reference);
                    let mut all = waiting.into_iter().chain([reference]);
                    all.all(|reference| due.unbounded_send(reference).is_ok())
                }
                other => slow.unbounded_send(other).is_ok(),
            };
            if !sent {
                break;
            }
        }
    };
    tokio::join!(looking, passing);
}
