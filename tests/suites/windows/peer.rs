// SPDX-License-Identifier: Apache-2.0
//! virt-v2v-in-place on the same disk: every value that it sets is set by a conversion too, or is
//! among those that `docs/windows.md` gives a reason for. Where virt-v2v is installed, and only in
//! the long run of the tests: its appliance is emulated.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use guestfix::hive::{Dirty, Hive, Key, typed};
use tests::case::Case;
use tests::virtio_win::{self, Infs};
use tests::windows::{CONFIG, NtfsMount, Windows, named, peer};

/// Values by the key's path and their own name in lower case.
type Values = BTreeMap<(String, String), String>;

/// Keys of values that are not set here, or otherwise, each with the words of `docs/windows.md` that
/// say why.
const EXPLAINED: [(&str, &str); 7] = [
    (
        "controlset001\\control\\crashcontrol",
        "CrashControl\\AutoReboot",
    ),
    ("controlset001\\services\\firstboot", "Services\\firstboot"),
    ("controlset001\\services\\rhelscsi", "Services\\rhelscsi"),
    ("driverdatabase\\driverinffiles\\guestor.inf", "guestor.inf"),
    (
        "driverdatabase\\driverpackages\\guestor.inf_",
        "guestor.inf",
    ),
    ("driverdatabase\\deviceids\\pci\\ven_1af4", "guestor.inf"),
    (
        "policies\\microsoft\\windows\\deviceinstall\\settings",
        "SuppressNewHWUI",
    ),
];

fn values(path: &Path) -> Values {
    let hive = Hive::open(fs::read(path).unwrap(), &[], Dirty::Accept).unwrap();
    let mut out = Values::new();
    collect(hive.root().unwrap(), "", &mut out);
    out
}

fn collect(key: Key<'_>, path: &str, out: &mut Values) {
    for value in key.values().unwrap() {
        let value = value.unwrap();
        let name = value.name().unwrap().to_lowercase();
        let shown = match typed::string(&value) {
            // Case tells no two files and no two services apart.
            Ok(text) => text.to_lowercase(),
            Err(_) => format!("{:x?}", value.data().unwrap()),
        };
        out.insert((path.to_owned(), name), shown);
    }
    for sub in key.subkeys().unwrap() {
        let sub = sub.unwrap();
        let name = sub.name().unwrap().to_lowercase();
        let below = if path.is_empty() {
            name
        } else {
            format!("{path}\\{name}")
        };
        collect(sub, &below, out);
    }
}

/// Both hives of a disk, and the drivers in `System32\drivers`.
fn state(disk: &Path, root: u32, dir: &Path) -> (BTreeMap<&'static str, Values>, Vec<String>) {
    let volume = NtfsMount::new(disk, root, dir);
    let hives = ["SYSTEM", "SOFTWARE"];
    let hives = hives.map(|name| (name, values(&volume.path().join(CONFIG).join(name))));
    let drivers = fs::read_dir(volume.path().join("Windows/System32/drivers")).unwrap();
    let drivers = drivers.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    (
        hives.into(),
        drivers.map(|name| name.to_lowercase()).collect(),
    )
}

/// virt-v2v converts nothing with less than 100 MiB free.
const MIB: u64 = 400;

/// What virt-v2v set and a conversion does not.
fn missing(windows: &Windows) -> Vec<String> {
    let case = Case::windows(windows, |_| {});
    let (bundle, root) = (virtio_win::tree(Infs::Own), windows.root());
    let (before, drivers) = state(case.disk(), root, case.dir());
    let copy = case.dir().join("theirs.img");
    fs::copy(case.disk(), &copy).unwrap();
    let theirs = peer::command(&copy, &bundle, case.dir()).output().unwrap();
    assert!(
        theirs.status.success(),
        "{}",
        String::from_utf8_lossy(&theirs.stderr)
    );
    let (theirs, their_drivers) = state(&copy, root, case.dir());
    case.verb("convert")
        .arg("--drivers")
        .arg(&bundle)
        .run()
        .expect(0);
    let (ours, our_drivers) = state(case.disk(), root, case.dir());
    let mut out: Vec<String> = their_drivers
        .into_iter()
        .filter(|name| !drivers.contains(name) && !our_drivers.contains(name))
        .collect();
    let mut set = 0;
    for (hive, values) in theirs {
        let changed = values
            .into_iter()
            .filter(|(at, value)| before[hive].get(at) != Some(value));
        for ((key, name), value) in changed {
            set += 1;
            let own = ours[hive].get(&(key.clone(), name.clone()));
            let contains = own.is_some_and(|own| *own == value || own.contains(&value));
            if !contains && !EXPLAINED.iter().any(|(start, _)| key.starts_with(start)) {
                out.push(format!("{hive}\\{key} {name}={value}, here {own:?}"));
            }
        }
    }
    println!("virt-v2v set {set} values");
    assert!(set > 10, "virt-v2v set {set} values");
    out
}

fn compared(windows: Windows) {
    if !tests::full() || !peer::is_installed() {
        println!("not compared: with GUESTFIX_FULL and virt-v2v only");
        return;
    }
    let missing = missing(&windows.sized(MIB));
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn what_virt_v2v_sets_in_windows_7_is_set_here_too() {
    compared(Windows::bios(named("w7/x86")));
}

#[test]
fn what_virt_v2v_sets_in_windows_10_is_set_here_too() {
    compared(Windows::efi(named("w10/amd64")));
}

#[test]
fn what_is_not_set_has_its_reason_in_the_documentation() {
    let page = fs::read_to_string(tests::workspace().join("docs/windows.md")).unwrap();
    for (_, words) in EXPLAINED {
        assert!(page.contains(words), "{words}");
    }
}
