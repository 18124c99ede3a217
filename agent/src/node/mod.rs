// SPDX-License-Identifier: Apache-2.0
//! The node agent: runs one `guestfix` process tree per guest where its disks are mounted.
//! Privileged on its node, and next to nobody on the API server.

pub mod cgroup;
pub mod child;
pub mod claims;
pub mod command;
pub mod desk;
pub mod enter;
pub mod entry;
pub mod probe;
pub mod report;
pub mod start;
pub mod tell;
mod voice;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::reflector::{Store, reflector, store::Writer};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::Notify;

use self::cgroup::Groups;
use self::desk::Desk;
use self::start::Starter;
use crate::api::{foreign, names};
use crate::ops::events::Events;
use crate::ops::health::{self, Health};
use crate::ops::lease::{self, Tenure};
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::Shutdown;

/// How often everything is looked at without anything having changed: time passes, too.
const TICK: Duration = Duration::from_secs(1);

/// How the node agent is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// This node's name.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: String,
    /// The namespace of guestfix itself.
    #[arg(long, default_value = names::NAMESPACE)]
    pub namespace: String,
    /// Who this process is: no two alike, also on one node.
    #[arg(long, env = "POD_NAME")]
    pub identity: String,
    /// The kubelet's directory.
    #[arg(long, default_value = "/var/lib/kubelet")]
    pub kubelet_root: PathBuf,
    /// The program guestfix.
    #[arg(long, default_value = "/usr/bin/guestfix")]
    pub guestfix: PathBuf,
    /// Where runs that write nothing keep what they throw away.
    #[arg(long, default_value = "/var/lib/guestfix-agent")]
    pub state_dir: PathBuf,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, default_value = "0.0.0.0:8081")]
    pub listen: SocketAddr,
    /// How long this node's Lease lasts without being renewed, seconds.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(5..=600))]
    pub lease_seconds: u64,
    /// The most guests at a time, whatever profiles say.
    #[arg(long, default_value_t = 8)]
    pub max_parallel: usize,
}

/// Runs until told to end; a commit that has begun is finished first.
///
/// # Errors
/// What made it end otherwise, in words.
pub async fn run(client: Client, options: Options, stop: Shutdown) -> Result<(), String> {
    let metrics = Arc::new(Metrics::new("node"));
    let health = Health::new(Arc::clone(&metrics));
    let served = health::serve(health.clone(), options.listen).await;
    served.map_err(|e| format!("cannot listen on {}: {e}", options.listen))?;
    let filesystems = probe::filesystems(&options.guestfix).await?;
    std::fs::create_dir_all(&options.state_dir)
        .map_err(|e| format!("{}: {e}", options.state_dir.display()))?;
    sweep(&options.state_dir);
    let kubelet_root = std::fs::canonicalize(&options.kubelet_root)
        .map_err(|e| format!("{}: {e}", options.kubelet_root.display()))?;

    let tenure = Tenure::default();
    let kept = Shutdown::default();
    let keeping = tokio::spawn(lease::keep(
        Api::<Lease>::namespaced(client.clone(), &options.namespace),
        claim(&options, &filesystems),
        tenure.clone(),
        kept.clone(),
    ));
    let bell = Arc::new(Notify::new());
    let on_node = watcher::Config::default()
        .any_semantic()
        .fields(&format!("status.nodeName={}", options.node_name));
    let holders = watcher::Config::default()
        .any_semantic()
        .labels(&format!("{}=true", names::HOLDER))
        .fields(&format!("spec.nodeName={}", options.node_name));
    let everything = watcher::Config::default().any_semantic();
    let pods = Api::all_with(client.clone(), &foreign::pods());
    let conversions = follow(Api::all(client.clone()), on_node, (), &bell);
    let profiles = follow(Api::all(client.clone()), everything, (), &bell);
    let pods = follow(pods, holders, foreign::pods(), &bell);
    let ringing = Arc::clone(&bell);
    let desk = Arc::new(Desk {
        client: client.clone(),
        node: options.node_name.clone(),
        conversions,
        profiles,
        pods,
        tenure,
        stop: stop.clone(),
        events: Events::new(client, names::NODE, &options.identity),
        metrics,
        starter: Starter {
            kubelet_root,
            program: options.guestfix.clone(),
            state_dir: options.state_dir.clone(),
            groups: Groups::prepare(),
        },
        most: options.max_parallel.max(1),
        runs: Mutex::default(),
        busy: Mutex::default(),
        wake: Arc::new(move || ringing.notify_one()),
    });
    for ready in [
        desk.conversions.wait_until_ready().await.is_ok(),
        desk.profiles.wait_until_ready().await.is_ok(),
        desk.pods.wait_until_ready().await.is_ok(),
    ] {
        if !ready {
            return Err("a watch ended".to_owned());
        }
    }
    health.set_ready(true);
    tracing::info!(node = options.node_name, ?filesystems, "working");
    work(&desk, &bell, &stop).await;
    kept.begin();
    let _ = keeping.await;
    Ok(())
}

/// Takes away the keys that an agent left behind that was killed.
fn sweep(state_dir: &Path) {
    let runs = std::fs::read_dir(state_dir).into_iter().flatten().flatten();
    for run in runs.filter(|run| run.path().is_dir()) {
        for file in std::fs::read_dir(run.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            if file.file_name().to_string_lossy().starts_with("key") {
                let _ = std::fs::remove_file(file.path());
            }
        }
    }
}

async fn work(desk: &Arc<Desk>, bell: &Notify, stop: &Shutdown) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        desk.turn();
        // The Lease is kept until what was begun has ended and is told.
        if stop.begun() && desk.idle() {
            return;
        }
        tokio::select! {
            () = bell.notified() => {}
            _ = tick.tick() => {}
        }
    }
}

fn claim(options: &Options, filesystems: &[String]) -> lease::Claim {
    let annotation = (names::FILESYSTEMS.to_owned(), filesystems.join(","));
    lease::Claim {
        name: names::node_lease(&options.node_name),
        identity: options.identity.clone(),
        lasts: Duration::from_secs(options.lease_seconds),
        annotations: BTreeMap::from([annotation]),
    }
}

fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    dyntype: K::DynamicType,
    bell: &Arc<Notify>,
) -> Store<K>
where
    K: kube::Resource
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone + std::fmt::Debug + Send + Sync,
{
    let writer = Writer::new(dyntype);
    let store = writer.as_reader();
    let watch = watcher(api, config).modify(|object| object.meta_mut().managed_fields = None);
    let stream = reflector(writer, watch).default_backoff().touched_objects();
    let bell = Arc::clone(bell);
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(item) = stream.next().await {
            match item {
                Ok(_) => bell.notify_one(),
                Err(error) => tracing::warn!(%error, "a watch was interrupted"),
            }
        }
    });
    store
}
