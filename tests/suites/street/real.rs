// SPDX-License-Identifier: Apache-2.0
//! The Debian 12 guests on ext4.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::cli::Cli;
use tests::digest::content_digest;
use tests::guest::Guest;
use tests::tool::{self, LoopDevice, Mounted};

const VMWARE: &str = "bookworm-bios-ext4";
const CLOUD: &str = "bookworm-cloud";
const ROOT_OFFSET: u64 = 1 << 20;

struct Bench {
    dir: tempfile::TempDir,
    disk: PathBuf,
    state: PathBuf,
}

impl Bench {
    fn new(guest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Guest::get(guest).fresh_copy(dir.path());
        let state = dir.path().join("state");
        Self { dir, disk, state }
    }

    fn verb(&self, verb: &str) -> Cli {
        Cli::new(verb, &[&self.disk], &self.state)
    }

    fn sha256(&self) -> String {
        content_digest(&self.disk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Every document validates against its published schema.
fn valid(document: &Value) -> &Value {
    let schema = document["schema"]
        .as_str()
        .expect("a document says its schema");
    let name = schema.trim_start_matches("guestfix.io/").replace('/', ".");
    let path = tests::workspace().join(format!("docs/schema/{name}.json"));
    let published: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    if let Err(error) = jsonschema::validate(&published, document) {
        panic!("{schema}: {error} at {}", error.instance_path());
    }
    document
}

fn strings<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry[key].as_str().unwrap())
        .collect()
}

#[test]
fn inspect_sees_what_vmware_left_and_writes_nothing() {
    let bench = Bench::new(VMWARE);
    let before = bench.sha256();
    let run = bench.verb("inspect").run();
    let facts = run.expect(0);
    valid(&facts);
    assert_eq!(facts["guest"]["distro"], "debian");
    assert_eq!(facts["guest"]["version"], "12");
    assert_eq!(facts["guest"]["arch"], "x86_64");
    assert_eq!(facts["firmware"], "bios");
    assert_eq!(facts["root"], "disk0p1");
    assert_eq!(strings(&facts["volumes"], "name"), ["disk0p1", "disk0p5"]);
    let kernel = &facts["kernels"][0];
    assert_eq!(kernel["default"], true);
    assert_eq!(kernel["drivers"]["virtio_blk"], "root-only");
    assert_eq!(kernel["initramfs"]["generator"], "initramfs-tools");
    assert_eq!(facts["network"][0]["name"], "ens192");
    assert_eq!(facts["network"][0]["addresses"][0], "192.0.2.10/24");
    let packages = facts["vmware"]["packages"].as_array().unwrap();
    assert!(
        packages.contains(&Value::from("open-vm-tools")),
        "{packages:?}"
    );
    assert_eq!(bench.sha256(), before);
}

#[test]
fn doctor_explains_why_it_would_not_boot() {
    let bench = Bench::new(VMWARE);
    let report = bench.verb("doctor").run().expect(1);
    valid(&report);
    assert_eq!(report["readiness"], "NotReady");
    let failed: Vec<&str> = report["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|v| v["result"] == "fail" && v["severity"] == "required")
        .map(|v| v["check"].as_str().unwrap())
        .collect();
    assert!(failed.contains(&"initramfs-drivers"), "{failed:?}");
    assert!(!report["changes"].as_array().unwrap().is_empty());
}

#[test]
fn convert_verify_convert_again_undo() {
    let bench = Bench::new(VMWARE);
    let original = bench.sha256();

    let report = bench.verb("convert").run().expect(0);
    valid(&report);
    assert_eq!(report["committed"], true);
    assert_ne!(report["readiness"], "NotReady");
    assert_eq!(report["undo"]["available"], true);
    let converted = bench.sha256();
    assert_ne!(converted, original);
    tool::run(
        "e2fsck",
        &[
            "-fn",
            &format!("{}?offset={ROOT_OFFSET}", bench.disk.display()),
        ],
    );

    let verify = bench.verb("verify").run().expect(0);
    valid(&verify);
    let facts = bench.verb("inspect").run().expect(0);
    assert_eq!(facts["kernels"][0]["drivers"]["virtio_blk"], "initramfs");
    assert_eq!(facts["kernels"][0]["drivers"]["virtio_scsi"], "initramfs");
    assert_eq!(facts["vmware"]["packages"].as_array().unwrap().len(), 0);

    let again = bench.verb("convert").run().expect(0);
    valid(&again);
    assert_eq!(again["committed"], false);
    assert_eq!(
        bench.sha256(),
        converted,
        "the second convert wrote to the disk"
    );
    for change in again["changes"].as_array().unwrap() {
        assert_eq!(change["outcome"], "AlreadySo", "{change}");
    }

    let undo = bench.verb("undo").run().expect(0);
    valid(&undo);
    assert_eq!(undo["remaining"], 0);
    assert_eq!(bench.sha256(), original, "undo is exact to the last bit");
}

#[test]
fn a_dry_run_does_everything_but_write() {
    let bench = Bench::new(VMWARE);
    let before = bench.sha256();
    let report = bench.verb("convert").arg("--dry-run").run().expect(0);
    assert_eq!(report["committed"], false);
    assert_ne!(report["readiness"], "NotReady");
    assert!(
        report["changes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["outcome"] == "Changed")
    );
    assert_eq!(bench.sha256(), before);
}

#[test]
fn a_reviewed_plan_is_converted_exactly_or_not_at_all() {
    let bench = Bench::new(VMWARE);
    let plan = bench.path("plan.json");
    let shown = bench.verb("plan").arg("-o").arg(&plan).run().expect(0);
    valid(&shown);
    let diffs = serde_json::to_string(&shown).unwrap();
    assert!(diffs.contains("UUID="), "{diffs}");

    let other = bench
        .verb("convert")
        .arg("--plan")
        .arg(&plan)
        .arg("--no-guest-code")
        .run();
    assert_eq!(other.expect(3)["code"], "plan-outdated");
    bench
        .verb("convert")
        .arg("--plan")
        .arg(&plan)
        .run()
        .expect(0);
}

#[test]
fn without_guest_code_vmware_tools_are_disabled_and_not_removed() {
    let bench = Bench::new(VMWARE);
    let report = bench.verb("convert").arg("--no-guest-code").run().expect(0);
    let kinds = strings(&report["changes"], "kind");
    assert!(!kinds.contains(&"run-guest-program"), "{kinds:?}");
    let mounted = Mounted::new(&bench.disk, ROOT_OFFSET, &bench.path("mnt"));
    let unit = mounted
        .path()
        .join("etc/systemd/system/open-vm-tools.service");
    assert_eq!(std::fs::read_link(unit).unwrap(), Path::new("/dev/null"));
}

#[test]
fn rewritten_files_keep_owner_mode_links_and_xattrs() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let bench = Bench::new(VMWARE);
    {
        let mounted = Mounted::new(&bench.disk, ROOT_OFFSET, &bench.path("mnt"));
        let fstab = mounted.path().join("etc/fstab");
        std::fs::hard_link(&fstab, mounted.path().join("etc/fstab.link")).unwrap();
        std::fs::set_permissions(&fstab, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::chown(&fstab, Some(7), Some(8)).unwrap();
        tool::attribute(&fstab, "user.kept", b"yes");
    }
    bench.verb("convert").run().expect(0);
    let mounted = Mounted::new(&bench.disk, ROOT_OFFSET, &bench.path("mnt"));
    let fstab = mounted.path().join("etc/fstab");
    let meta = std::fs::metadata(&fstab).unwrap();
    assert_eq!(
        (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.nlink()),
        (0o640, 7, 8, 2)
    );
    let text = std::fs::read_to_string(mounted.path().join("etc/fstab.link")).unwrap();
    assert!(text.contains("UUID="), "{text}");
    let shown = tool::run("getfattr", &["-n", "user.kept", fstab.to_str().unwrap()]);
    assert!(shown.contains("user.kept=\"yes\""), "{shown}");
}

#[test]
fn a_feature_that_our_reader_refuses_is_read_through_a_private_mount() {
    let bench = Bench::new(VMWARE);
    let set = format!("{}?offset={ROOT_OFFSET}", bench.disk.display());
    tool::run("debugfs", &["-w", "-R", "feature large_dir", &set]);
    let original = bench.sha256();
    let facts = bench.verb("inspect").run().expect(0);
    assert_eq!(facts["guest"]["distro"], "debian");
    let report = bench.verb("convert").run().expect(0);
    assert_eq!(report["committed"], true);
    assert_eq!(report["verdicts"][0]["reader"], "private mount");
    let again = bench.verb("convert").run().expect(0);
    assert_eq!(again["committed"], false);
    bench.verb("undo").run().expect(0);
    assert_eq!(bench.sha256(), original);
}

#[test]
fn a_guest_that_already_has_virtio_keeps_its_initramfs() {
    let bench = Bench::new(CLOUD);
    let plan = bench.verb("plan").run().expect(0);
    let kinds = strings(&plan["changes"], "kind");
    assert!(!kinds.contains(&"append-initramfs"), "{kinds:?}");
    let doctor = bench.verb("doctor").run().expect(0);
    assert_ne!(doctor["readiness"], "NotReady");
    bench
        .verb("convert")
        .arg("--initramfs")
        .arg("keep")
        .run()
        .expect(0);
}

#[test]
fn a_block_device_is_converted_and_undone() {
    let bench = Bench::new(VMWARE);
    let before = bench.sha256();
    let device = LoopDevice::new(&bench.disk);
    let verb = |verb: &str| Cli::new(verb, &[device.path()], &bench.state);

    // Somebody has it open for writing: a lock on another device node would not tell.
    let user = std::fs::File::options()
        .write(true)
        .open(device.path())
        .unwrap();
    let error = verb("convert").run().expect(3);
    assert_eq!(error["code"], "in-use", "{error}");
    drop(user);
    let error = bench.verb("convert").run().expect(3);
    assert_eq!(error["code"], "in-use", "the file below it: {error}");
    assert_eq!(bench.sha256(), before);

    verb("convert").run().expect(0);
    assert_ne!(content_digest(device.path()), before);
    verb("verify").run().expect(0);
    verb("undo").run().expect(0);
    assert_eq!(content_digest(device.path()), before);
    drop(device);
    assert_eq!(bench.sha256(), before, "and in the file below it");
}

#[test]
fn inspect_and_plan_need_no_root() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new(VMWARE);
    for path in [bench.dir.path(), &bench.disk] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let binary = bench.path("guestfix");
    std::fs::copy(tests::cli::binary(), &binary).unwrap();
    for verb in ["inspect", "plan", "doctor"] {
        let command = bench.verb(verb).command();
        let output = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&binary)
            .args(command.get_args())
            .output()
            .unwrap();
        let expected = if verb == "doctor" { 1 } else { 0 };
        assert_eq!(output.status.code(), Some(expected), "{verb}: {output:?}");
    }
}
