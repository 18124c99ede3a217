// SPDX-License-Identifier: Apache-2.0
//! The guest's VirtualMachine: halted while its disks are written, given back when Ready.

use std::sync::Arc;

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::observe::{machine, run_strategy};
use super::watch::Stores;
use crate::api::foreign::{self, Machine};
use crate::api::{GuestConversion, names};
use crate::brain::stand::Stand;

/// The machine that a conversion names.
struct Named {
    machine: Arc<Machine>,
    api: Api<DynamicObject>,
}

impl Named {
    fn by(conversion: &GuestConversion, client: &Client, stores: &Stores) -> Option<Self> {
        let namespace = conversion.namespace().unwrap_or_default();
        let machine = machine(stores, conversion, &namespace)?;
        let api = Api::namespaced_with(client.clone(), &namespace, &foreign::machines());
        Some(Self { machine, api })
    }

    /// One that has gone meanwhile needs nothing.
    async fn merge(&self, patch: &Value) -> kube::Result<()> {
        let params = PatchParams {
            field_manager: Some(names::CONTROLLER.to_owned()),
            ..PatchParams::default()
        };
        let patched = self
            .api
            .patch(&self.machine.name_any(), &params, &Patch::Merge(patch))
            .await;
        super::act::absent_is_fine(patched.map(|_| ()))
    }
}

/// Sets runStrategy to Halted and writes down what it was.
///
/// # Errors
/// The API server's.
pub async fn halt(
    client: &Client,
    stores: &Stores,
    conversion: &GuestConversion,
) -> kube::Result<()> {
    let Some(named) = Named::by(conversion, client, stores) else {
        return Ok(());
    };
    let machine = &named.machine;
    let patch = json!({
        // What it was is written down for the version that it was read at.
        "metadata": {
            "resourceVersion": machine.resource_version(),
            "annotations": {names::RESTORE_RUN_STRATEGY: run_strategy(machine)},
        },
        "spec": strategy(machine, "Halted"),
    });
    named.merge(&patch).await
}

/// A runStrategy, said as the machine says it: the older word excludes the newer one.
fn strategy(machine: &Machine, strategy: &str) -> Value {
    match machine.spec.running {
        Some(_) if matches!(strategy, "Always" | "Halted") => {
            json!({"running": strategy == "Always"})
        }
        Some(_) => json!({"running": null, "runStrategy": strategy}),
        None => json!({"runStrategy": strategy}),
    }
}

/// Marks the machine as converted, gives its runStrategy back, and writes the recommended target
/// where that was asked for.
///
/// # Errors
/// The API server's.
pub async fn finish(
    client: &Client,
    stores: &Stores,
    conversion: &GuestConversion,
    apply: bool,
) -> kube::Result<()> {
    let Some(named) = Named::by(conversion, client, stores) else {
        return Ok(());
    };
    let machine = &named.machine;
    let mut metadata = json!({
        "labels": {names::GUEST_CONVERTED: "true"},
        "annotations": {
            names::CONVERSION: conversion.name_any(),
            names::RESTORE_RUN_STRATEGY: null,
        },
    });
    let mut spec = machine
        .annotations()
        .get(names::RESTORE_RUN_STRATEGY)
        .filter(|word| RUN_STRATEGIES.contains(&word.as_str()))
        .map_or_else(|| json!({}), |word| strategy(machine, word));
    if apply {
        let whole = named.api.get(&machine.name_any()).await?;
        let target = conversion.stands().target.unwrap_or_default();
        put(
            &mut metadata,
            "resourceVersion",
            json!(whole.resource_version()),
        );
        put(&mut spec, "template", template(&whole.data, &target));
    }
    named
        .merge(&json!({"metadata": metadata, "spec": spec}))
        .await
}

/// What an annotation may ask for.
const RUN_STRATEGIES: [&str; 5] = ["Always", "RerunOnFailure", "Manual", "Once", "Halted"];

/// The template's part that the target changes: buses, cards, firmware.
fn template(machine: &Value, target: &Value) -> Value {
    let at = |path: &str| machine.pointer(path).cloned();
    let word = |key: &str| {
        target
            .pointer(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let mut devices = json!({});
    if let Some(Value::Array(mut disks)) = at("/spec/template/spec/domain/devices/disks") {
        for disk in disks.iter_mut().filter_map(|disk| disk.get_mut("disk")) {
            set(disk, "bus", word("/disk_bus"));
        }
        put(&mut devices, "disks", disks.into());
    }
    if let Some(Value::Array(mut cards)) = at("/spec/template/spec/domain/devices/interfaces") {
        for card in &mut cards {
            set(card, "model", word("/nic_model"));
        }
        put(&mut devices, "interfaces", cards.into());
    }
    let secure = target.pointer("/secure_boot") == Some(&Value::Bool(true));
    let bootloader = match word("/firmware") {
        "efi" => json!({"efi": {"secureBoot": secure}, "bios": null}),
        _ => json!({"bios": {}, "efi": null}),
    };
    let mut domain = json!({"devices": devices, "firmware": {"bootloader": bootloader}});
    // KubeVirt accepts Secure Boot only together with SMM.
    if word("/firmware") == "efi" && secure {
        put(&mut domain, "features", json!({"smm": {"enabled": true}}));
    }
    json!({"spec": {"domain": domain}})
}

fn set(object: &mut Value, key: &str, word: &str) {
    if !word.is_empty() {
        put(object, key, word.into());
    }
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// Marks a machine that triggered the conversion, so that it does not again.
///
/// # Errors
/// The API server's.
pub async fn mark(
    client: &Client,
    stores: &Stores,
    conversion: &GuestConversion,
) -> kube::Result<()> {
    let Some(named) = Named::by(conversion, client, stores) else {
        return Ok(());
    };
    if named.machine.annotations().contains_key(names::CONVERSION) {
        return Ok(());
    }
    let annotations = json!({names::CONVERSION: conversion.name_any()});
    named
        .merge(&json!({"metadata": {"annotations": annotations}}))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_changes_buses_cards_and_firmware_only() {
        let machine = json!({"spec": {"template": {"spec": {"domain": {"devices": {
            "disks": [
                {"name": "a", "bootOrder": 1, "disk": {"bus": "sata"}},
                {"name": "cd", "cdrom": {"bus": "sata"}},
            ],
            "interfaces": [{"name": "n", "model": "e1000e", "masquerade": {}}],
        }}}}}});
        let target = json!({
            "disk_bus": "virtio", "nic_model": "virtio", "firmware": "efi", "secure_boot": false,
        });
        let patch = template(&machine, &target);
        let domain = patch.pointer("/spec/domain").unwrap();
        assert_eq!(
            domain.pointer("/devices/disks/0/disk/bus"),
            Some(&json!("virtio"))
        );
        assert_eq!(
            domain.pointer("/devices/disks/0/bootOrder"),
            Some(&json!(1))
        );
        assert_eq!(
            domain.pointer("/devices/disks/1/cdrom/bus"),
            Some(&json!("sata"))
        );
        assert_eq!(
            domain.pointer("/devices/interfaces/0/model"),
            Some(&json!("virtio"))
        );
        assert_eq!(
            domain.pointer("/firmware/bootloader/efi/secureBoot"),
            Some(&json!(false))
        );
    }

    #[test]
    fn a_machine_that_says_running_is_answered_in_that_word() {
        let mut old = Machine::new("m", &foreign::machines(), Default::default());
        old.spec.running = Some(true);
        assert_eq!(strategy(&old, "Halted"), json!({"running": false}));
        assert_eq!(strategy(&old, "Always"), json!({"running": true}));
        old.spec.running = None;
        assert_eq!(strategy(&old, "Manual"), json!({"runStrategy": "Manual"}));
    }
}
