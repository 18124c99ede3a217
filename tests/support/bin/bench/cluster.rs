// SPDX-License-Identifier: Apache-2.0
//! The table of `tests/bench --cluster [CONVERSIONS [NODES]]`: many conversions at once on a real
//! control plane, with node agents whose `guestfix` has nothing to do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::cluster::Cluster;
use tests::cluster::agent::Agent;

const HOUR: Duration = Duration::from_secs(3600);
/// Guests of one namespace.
const TOGETHER: usize = 50;
/// What picks the machines, as Forklift labels them.
const PROFILE: &str = r#"
apiVersion: guestfix.io/v1alpha1
kind: GuestConversionProfile
metadata: {name: forklift}
spec: {vmSelector: {matchLabels: {guestConverted: "false"}}}
"#;
/// Asks for leave to write, as `guestfix` does, and is done.
const INSTANT: &str = r#"#!/bin/sh
case " $* " in *" host "*) echo '{"filesystems": []}'; exit ;; esac
echo '{"schema":"guestfix.io/progress/v1","stage":"commit-pending","detail":"","done":0,"total":0}' >&2
read -r leave
echo '{"schema":"guestfix.io/report/v1","verb":"convert","readiness":"Ready","guest":"Debian GNU/Linux 12",
"verdicts":[],"changes":[],"concerns":[],"target":{"disk_bus":"virtio","nic_model":"virtio","firmware":"bios"},
"committed":true,"committed_bytes":4096,"undo":{"available":true,"id":"undo-0001"},"timings_ms":{"total":1}}'
"#;

/// Prints the table.
pub fn table(args: &[String]) {
    let number = |at: usize, or| {
        args.get(at)
            .map_or(or, |text: &String| text.parse().unwrap())
    };
    let (count, nodes) = (number(0, 1000_usize), number(1, 50_usize));
    let cluster = Cluster::start();
    let names: Vec<String> = (0..nodes).map(|n| format!("node-{n:02}")).collect();
    for name in &names {
        cluster.kubelets().add(name);
    }
    cluster.install();
    let spaces = guests(&cluster, count);
    let program = instant(cluster.dir());
    let options = ["--guestfix", program.to_str().unwrap()];
    let agents: Vec<Agent> = names
        .iter()
        .map(|name| cluster.run_node(name, &options))
        .collect();
    let mut controller = cluster.run_controller(&[]);
    controller.wait_until_ready();
    agents.iter().for_each(Agent::wait_until_ready);
    eprintln!("{nodes} agents are ready");

    let before = asked(&cluster);
    let start = Instant::now();
    cluster.apply(PROFILE);
    wait_for(&cluster, &spaces, count);
    let seconds = start.elapsed().as_secs_f64();
    let mut calls = asked(&cluster);
    for (what, times) in before {
        *calls.entry(what).or_default() -= times;
    }
    print(count, nodes, seconds, &calls, &mut controller);
}

/// Machines that would start, each with a bound claim that has an image in it.
fn guests(cluster: &Cluster, count: usize) -> Vec<String> {
    let admin = cluster.admin();
    let spaces: Vec<String> = (0..count.div_ceil(TOGETHER))
        .map(|_| cluster.namespace("scale"))
        .collect();
    let each = (0..count).map(|n| (&spaces[n / TOGETHER], format!("vm-{n:04}")));
    for (space, name) in each.clone() {
        let claim = json!({"metadata": {"name": name}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "immediate",
            "resources": {"requests": {"storage": "1Gi"}},
        }});
        let claims = format!("/api/v1/namespaces/{space}/persistentvolumeclaims");
        admin.create(&claims, &claim).unwrap();
        let volume = json!({"name": "root", "persistentVolumeClaim": {"claimName": name}});
        let machine = json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
            "metadata": {"name": name, "labels": {"guestConverted": "false"}},
            "spec": {"runStrategy": "Always", "template": {"spec": {"volumes": [volume]}}},
        });
        let machines = format!("/apis/kubevirt.io/v1/namespaces/{space}/virtualmachines");
        admin.create(&machines, &machine).unwrap();
    }
    for (space, name) in each {
        let path = format!("/api/v1/namespaces/{space}/persistentvolumeclaims/{name}");
        let volume = admin.wait(&path, HOUR, |answer| {
            let claim = answer.as_ref().ok()?;
            (claim["status"]["phase"] == "Bound").then(|| claim["spec"]["volumeName"].clone())
        });
        let dir = cluster.kubelets().storage(volume.as_str().unwrap());
        let image = std::fs::File::create(dir.join("disk.img")).unwrap();
        image.set_len(1 << 20).unwrap();
    }
    eprintln!("{count} machines are made");
    spaces
}

fn instant(dir: &Path) -> PathBuf {
    let program = dir.join("instant");
    tests::tool::script(&program, INSTANT);
    program
}

/// Until every machine has its runStrategy back, and every holder is gone.
fn wait_for(cluster: &Cluster, spaces: &[String], count: usize) {
    let mut done = 0;
    for (index, space) in spaces.iter().enumerate() {
        let path = format!("/apis/kubevirt.io/v1/namespaces/{space}/virtualmachines");
        let own = TOGETHER.min(count - index * TOGETHER);
        cluster.admin().wait(&path, HOUR, |answer| {
            let items = answer.as_ref().ok()?["items"].as_array()?;
            let converted = |vm: &&Value| vm["metadata"]["labels"]["guestConverted"] == "true";
            (items.iter().filter(converted).count() == own).then_some(())
        });
        let pods = format!("/api/v1/namespaces/{space}/pods");
        cluster.admin().wait(&pods, HOUR, |answer| {
            let items = answer.as_ref().ok()?["items"].as_array()?;
            items.is_empty().then_some(())
        });
        done += own;
        eprintln!("{done} of {count} are converted");
    }
}

/// How often each of our accounts asked what so far. A watch goes on and on, and Leases are renewed
/// whether there is work or not: neither is counted here.
fn asked(cluster: &Cluster) -> BTreeMap<(String, String), i64> {
    let mut out = BTreeMap::new();
    for event in cluster.audit() {
        let text = |at: &str| event.pointer(at).and_then(Value::as_str).unwrap_or("");
        let account =
            text("/user/username").strip_prefix("system:serviceaccount:guestfix-system:guestfix-");
        let (Some(account), "ResponseComplete") = (account, text("/stage")) else {
            continue;
        };
        let (verb, resource) = (text("/verb"), text("/objectRef/resource"));
        if verb == "watch" || resource == "leases" || resource.is_empty() {
            continue;
        }
        let part = text("/objectRef/subresource");
        let slash = if part.is_empty() { "" } else { "/" };
        let code = event["responseStatus"]["code"].as_i64().unwrap_or(0);
        let refused = if code < 400 {
            String::new()
        } else {
            format!(" ({code})")
        };
        let what = format!("{verb} {resource}{slash}{part}{refused}");
        *out.entry((account.to_owned(), what)).or_default() += 1;
    }
    out
}

fn print(
    count: usize,
    nodes: usize,
    seconds: f64,
    calls: &BTreeMap<(String, String), i64>,
    controller: &mut Agent,
) {
    let every = |times: i64| times as f64 / count as f64;
    let total: i64 = calls.values().sum();
    let lists: i64 = calls
        .iter()
        .filter(|((_, what), _)| what.starts_with("list "))
        .map(|(_, times)| times)
        .sum();
    let process = controller.process();
    let (peak, cpu) = (process.peak_mib(), process.cpu_seconds());
    let p99 = quantile(&controller.get("/metrics").unwrap(), 0.99);
    println!("| {count} conversions, {nodes} nodes | measured | aim |\n|---|---|---|");
    println!("| API calls per conversion | {:.2} | 12 |", every(total));
    println!("| lists after the start, in all | {lists} | 0 |");
    println!("| controller's peak memory, MiB | {peak} | 100 |");
    println!("| p99 of a reconciliation, s | at most {p99} | |");
    println!("| controller's processor time, s | {cpu:.1} | |");
    println!("| all of it, s | {seconds:.0} | |\n");
    println!("| account | call | per conversion |\n|---|---|---|");
    for ((account, what), times) in calls.iter().filter(|(_, times)| **times > 0) {
        println!("| {account} | {what} | {:.3} |", every(*times));
    }
}

/// The upper end of the histogram's bucket that the quantile lies in.
fn quantile(metrics: &str, wanted: f64) -> String {
    let buckets: Vec<(&str, f64)> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("guestfix_reconcile_duration_seconds_bucket{le=\""))
        .filter_map(|line| line.split_once("\"} "))
        .map(|(end, times)| (end, times.trim().parse().unwrap()))
        .collect();
    let all = buckets.last().map_or(0.0, |(_, times)| *times);
    let found = buckets.iter().find(|(_, times)| *times >= wanted * all);
    found.map_or("?", |(end, _)| end).to_owned()
}
