// SPDX-License-Identifier: Apache-2.0
//! From the moment a conversion exists until it has finished, its claims are its own.

use super::{forbidden, installed, machine, machines, pods};
use serde_json::{Value, json};
use tests::cluster::Cluster;
use tests::cluster::install::{conversions, pod, the_run, with_label};

fn on_claim(claim: &str) -> Value {
    json!({"name": "disk", "persistentVolumeClaim": {"claimName": claim}})
}

fn on_data_volume(name: &str) -> Value {
    json!({"name": "disk", "dataVolume": {"name": name}})
}

/// Reports `status` as its administrator can.
fn report(cluster: &Cluster, namespace: &str, name: &str, status: Value) {
    let path = format!("{}/{name}/status", conversions(namespace));
    cluster
        .admin()
        .merge(&path, &json!({"status": status}))
        .unwrap();
}

fn finished() -> Value {
    json!({"conditions": [{"type": "Finished", "status": "True", "reason": "Done", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
}

#[test]
fn a_machine_is_refused_a_claim_until_its_conversion_has_finished() {
    let cluster = installed();
    let space = cluster.namespace("machine");
    cluster.conversion(&space, "run", &["root", "data"], json!({}));
    let path = machines(&space);

    let admin = cluster.admin();
    let by_claim = machine("by-claim", &[on_claim("data")]);
    let by_volume = machine("by-volume", &[on_data_volume("root")]);
    forbidden(
        admin.create(&path, &by_claim),
        "claim data belongs to GuestConversion run",
    );
    forbidden(
        admin.create(&path, &by_volume),
        "claim root belongs to GuestConversion run",
    );
    admin
        .create(&path, &machine("other", &[on_claim("another")]))
        .unwrap();

    report(cluster, &space, "run", finished());
    cluster.soon(|| admin.create(&path, &by_claim));
    admin.create(&path, &by_volume).unwrap();
}

#[test]
fn the_machine_that_a_conversion_names_is_refused_whatever_its_volumes() {
    let cluster = installed();
    let space = cluster.namespace("named");
    let by_name = json!({"virtualMachineRef": {"name": "web"}});
    cluster.conversion(&space, "run", &["root"], by_name);
    let admin = cluster.admin();
    forbidden(
        admin.create(&machines(&space), &machine("web", &[])),
        "has not finished",
    );
    admin
        .create(&machines(&space), &machine("webshop", &[]))
        .unwrap();
}

#[test]
fn claims_that_only_the_status_names_are_shut_too() {
    let cluster = installed();
    let space = cluster.namespace("status");
    let by_name = json!({"virtualMachineRef": {"name": "web"}});
    cluster.conversion(&space, "run", &["root"], by_name);
    let status = json!({"claims": [{"claimName": "found"}], "stateClaim": {"claimName": "state"}});
    report(cluster, &space, "run", status);
    let admin = cluster.admin();
    cluster.soon_refused(|| {
        admin.create(
            &format!("{}?dryRun=All", pods(&space)),
            &pod("a", &["found"]),
        )
    });
    forbidden(
        admin.create(&pods(&space), &pod("a", &["found"])),
        "claim found belongs",
    );
    forbidden(
        admin.create(&pods(&space), &pod("b", &["state"])),
        "claim state belongs",
    );
}

#[test]
fn a_gate_that_is_off_refuses_nothing() {
    let cluster = installed();
    let space = cluster.namespace("off");
    cluster.conversion(&space, "run", &["root"], json!({}));
    let admin = cluster.admin();
    forbidden(
        admin.create(&pods(&space), &pod("a", &["root"])),
        "claim root belongs",
    );
    let off = json!({"spec": {"gate": "Off"}});
    admin.merge(&the_run(&space), &off).unwrap();
    cluster.soon(|| admin.create(&pods(&space), &pod("a", &["root"])));
}

#[test]
fn a_conversion_shuts_nothing_in_another_namespace() {
    let cluster = installed();
    let (space, other) = (cluster.namespace("here"), cluster.namespace("there"));
    cluster.conversion(&space, "run", &["root"], json!({}));
    let admin = cluster.admin();
    forbidden(
        admin.create(&pods(&space), &pod("a", &["root"])),
        "claim root belongs",
    );
    admin.create(&pods(&other), &pod("a", &["root"])).unwrap();
}

#[test]
fn the_holder_and_the_importer_may_use_the_claims_and_nobody_else() {
    let cluster = installed();
    let space = cluster.namespace("holder");
    cluster.conversion(&space, "run", &["root"], json!({}));
    let path = pods(&space);
    let tenant = cluster.user(&space, "admin");
    forbidden(
        tenant.create(&path, &pod("a", &["root"])),
        "claim root belongs",
    );
    forbidden(
        cluster.admin().create(&path, &pod("a", &["root"])),
        "claim root belongs",
    );

    let controller = cluster.controller_account();
    forbidden(
        controller.create(&path, &pod("guestfix-hold-run", &["root"])),
        "claim root belongs",
    );
    let holder = with_label(
        &pod("guestfix-hold-run", &["root"]),
        "guestfix.io/holder",
        "true",
    );
    controller.create(&path, &holder).unwrap();

    let importer = cluster.importer();
    importer
        .create(&path, &pod("importer-root", &["root"]))
        .unwrap();
}

#[test]
fn a_machine_that_has_a_claim_already_can_be_updated_but_gets_no_other() {
    let cluster = installed();
    let space = cluster.namespace("running");
    let admin = cluster.admin();
    let path = machines(&space);
    admin
        .create(&path, &machine("web", &[on_claim("had")]))
        .unwrap();
    cluster.conversion(&space, "run", &["had", "new"], json!({}));
    cluster.soon_refused(|| {
        admin.create(
            &format!("{path}?dryRun=All"),
            &machine("b", &[on_claim("had")]),
        )
    });

    let web = format!("{path}/web");
    let labelled = json!({"metadata": {"labels": {"seen": "true"}}});
    admin.merge(&web, &labelled).unwrap();
    let plugged = json!({"spec": {"volumes": [on_claim("had"), on_claim("new")]}});
    forbidden(admin.merge(&web, &plugged), "claim new belongs");
}

#[test]
fn deleting_a_conversion_that_is_held_opens_nothing() {
    let cluster = installed();
    let space = cluster.namespace("deleted");
    cluster.conversion(&space, "run", &["root"], json!({}));
    let admin = cluster.admin();
    let one = the_run(&space);
    let held = json!({"metadata": {"finalizers": ["guestfix.io/release-disks"]}});
    admin.merge(&one, &held).unwrap();
    admin.delete(&one, None).unwrap();
    forbidden(
        admin.create(&pods(&space), &pod("a", &["root"])),
        "claim root belongs",
    );
    admin
        .merge(&one, &json!({"metadata": {"finalizers": null}}))
        .unwrap();
    cluster.soon(|| admin.create(&pods(&space), &pod("a", &["root"])));
}
