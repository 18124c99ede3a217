// SPDX-License-Identifier: Apache-2.0
//! What is put there, what is read of it afterwards, and the batch file itself under Wine.

use super::super::world::{World, check, policy, target};
use super::*;
use crate::plan::Bus;
use crate::plan::policy::FirstbootScript;
use crate::verify::Outcome;

fn server() -> World {
    let mut system = super::super::fixture::system();
    system.push(Edit::dword("Select", "LastKnownGood", 1));
    World::made(&system, &super::super::fixture::software())
}

fn own(world: &World, policy: &Policy) -> Vec<Change> {
    propose(&world.facts(), &target(Bus::Virtio), policy).changes
}

#[test]
fn the_service_starts_a_batch_file_that_is_there() {
    let policy = policy("2019/amd64");
    let world = server();
    let changes = own(&world, &policy);
    let world = world.apply(&changes);
    let facts = world.facts();
    assert_eq!(check(&facts, Bus::Virtio, "first-boot").0, Outcome::Pass);
    assert!(own(&world, &policy).is_empty());
    let runner = String::from_utf8(world.files["/Windows/guestfix/firstboot.cmd"].clone()).unwrap();
    assert!(runner.contains("set GF_BUILD=17763\r\n"));
    assert!(world.files.contains_key("/Windows/guestfix/qemu-ga.msi"));
    let hive = world.open("SYSTEM");
    let key = hive
        .key("ControlSet001\\Services\\GuestfixFirstboot")
        .unwrap()
        .unwrap();
    let start = key.value("Start").unwrap().unwrap();
    assert_eq!(crate::hive::typed::dword(&start).unwrap(), 2);
}

#[test]
fn a_first_boot_that_ran_is_told_and_not_done_again() {
    let ran = server()
        .file("/Windows/guestfix/firstboot.log", b"attempt 1\r\ndone\r\n")
        .file("/Windows/guestfix/state/attempts", b"1\r\n")
        .file("/Windows/guestfix/state/drivers", b"0\r\n")
        .file("/Windows/guestfix/state/agent", b"1603\r\n")
        .file("/Windows/guestfix/state/done", b"1\r\n");
    let facts = ran.facts();
    assert_eq!(told(&facts).unwrap().id, "first-boot-failed");
    let (result, detail) = check(&facts, Bus::Virtio, "first-boot");
    assert_eq!(
        (result, detail.as_str()),
        (Outcome::Fail, "failed at the first boot: agent (1603)")
    );
    assert!(own(&ran, &policy("2019/amd64")).is_empty());
    let again = Policy {
        firstboot: vec![FirstbootScript {
            name: "x.cmd".into(),
            content: b"echo x".to_vec(),
        }],
        ..policy("2019/amd64")
    };
    let world = ran.clone().apply(&own(&ran, &again));
    assert!(!world.files.contains_key("/Windows/guestfix/state/done"));
    assert!(
        world
            .files
            .contains_key("/Windows/guestfix/scripts/001-x.cmd")
    );
}

#[test]
fn a_script_that_windows_would_not_run_is_refused_beforehand() {
    let policy = Policy {
        firstboot: vec![FirstbootScript {
            name: "x.sh".into(),
            content: Vec::new(),
        }],
        ..Policy::default()
    };
    let out = propose(&server().facts(), &target(Bus::Virtio), &policy);
    assert_eq!(out.concerns[0].id, "firstboot-script-unknown");
}

const DONE: &str = "guestfix/state/done";

fn prepared(build: u32) -> Option<super::super::wine::Wine> {
    let wine = super::super::wine::Wine::start()?;
    wine.write("Drivers/VirtIO", "viostor.inf", "");
    wine.write("guestfix/scripts", "001-a.cmd", "echo one\r\nexit /b 3\r\n");
    wine.write("guestfix/scripts", "002-b.cmd", "echo two\r\n");
    wine.write("guestfix", RUNNER, &super::script::text(build, SERVICE));
    let key = format!("HKLM\\System\\CurrentControlSet\\Services\\{SERVICE}");
    wine.run(&[
        "reg",
        "add",
        &key,
        "/v",
        "Type",
        "/t",
        "REG_DWORD",
        "/d",
        "16",
        "/f",
    ]);
    Some(wine)
}

/// One start of the batch file on a machine of this maker. Wine keeps the machine's description
/// no longer than its server runs.
fn boot(wine: &super::super::wine::Wine, maker: &str) {
    let bios = "HKLM\\HARDWARE\\DESCRIPTION\\System\\BIOS";
    let set = format!("reg add {bios} /v SystemManufacturer /d {maker} /f");
    let start = "cmd /d /c C:\\windows\\guestfix\\firstboot.cmd";
    wine.run(&["cmd", "/d", "/c", &format!("{set} & {start}")]);
}

#[test]
fn under_wine_every_step_is_done_once_and_what_is_not_needed_any_more_goes() {
    // Each side of every release that the script tells apart.
    for build in [2600, 7601, 17763, 26100] {
        let Some(wine) = prepared(build) else { return };
        boot(&wine, "KubeVirt");
        goes_through(&wine, build);
    }
}

fn goes_through(wine: &super::super::wine::Wine, build: u32) {
    let log = wine.read("guestfix/firstboot.log").unwrap();
    let said = |line: &str| log.lines().filter(|have| have.ends_with(line)).count();
    assert!(log.contains("pnputil viostor.inf"), "{build}: {log}");
    // There is no pnputil: that step fails, and it alone.
    assert_eq!(
        wine.read("guestfix/state/drivers").unwrap().trim(),
        "9009",
        "{log}"
    );
    for step in ["network", "agent", "packages", "devices"] {
        assert_eq!(
            wine.read(&format!("guestfix/state/{step}")).unwrap().trim(),
            "0",
            "{log}"
        );
    }
    assert_eq!(said("001-a.cmd ended with 3"), 1, "{log}");
    assert_eq!(said("002-b.cmd ended with 0"), 1, "{log}");
    assert_eq!(wine.read(DONE).unwrap().trim(), "1");
    assert!(wine.read("guestfix/firstboot.cmd").is_none());
    assert!(wine.read("guestfix/ran/001-a.cmd").is_none());
    let key = format!("HKLM\\System\\CurrentControlSet\\Services\\{SERVICE}");
    assert!(!wine.run(&["reg", "query", &key]).contains("REG_DWORD"));
}

#[test]
fn under_wine_a_fourth_start_gives_up_and_an_old_machine_is_left_alone() {
    let Some(wine) = prepared(17763) else { return };
    boot(&wine, "VMware");
    assert!(
        wine.read("guestfix/firstboot.log")
            .unwrap()
            .contains("still on VMware")
    );
    assert!(wine.read("guestfix/state/attempts").is_none());
    wine.write("guestfix/state", "attempts", "3\r\n");
    boot(&wine, "KubeVirt");
    assert_eq!(wine.read(DONE).unwrap().trim(), "4");
    assert!(wine.read("guestfix/state/drivers").is_none());
    assert!(wine.read("guestfix/scripts/001-a.cmd").is_none());
}
