// SPDX-License-Identifier: Apache-2.0
//! What is picked from a whole bundle, release by release.

use drivers::{
    Bundle, DigestKind, Flag, Package, RegData, RegEntry, Release, Role, SignatureCheck, Vouch,
};
use tests::virtio_win::{self as bundle, Infs};

/// Release, architecture and roles that its folders serve, among others.
const RELEASES: &[(&str, &str)] = &[
    ("xp", "x86"),
    ("2k3", "amd64"),
    ("2k8", "amd64"),
    ("w7", "x86"),
    ("w7", "amd64"),
    ("2k8R2", "amd64"),
    ("w8", "x86"),
    ("2k12", "amd64"),
    ("w8.1", "amd64"),
    ("2k12R2", "amd64"),
    ("w10", "x86"),
    ("w10", "amd64"),
    ("w10", "arm64"),
    ("2k16", "amd64"),
    ("2k19", "amd64"),
    ("2k22", "amd64"),
    ("w11", "amd64"),
    ("w11", "arm64"),
    ("2k25", "amd64"),
];

fn release(name: &str, arch: &str) -> Release {
    format!("{name}/{arch}").parse().unwrap()
}

fn dword(entries: &[RegEntry], key: &str, name: &str) -> Option<u32> {
    let own = |e: &&RegEntry| {
        e.key.eq_ignore_ascii_case(key)
            && e.name
                .as_deref()
                .is_some_and(|n| n.eq_ignore_ascii_case(name))
    };
    match entries.iter().find(own)?.data {
        Some(RegData::Dword(value)) => Some(value),
        _ => None,
    }
}

fn has_id(package: &Package, id: &str) -> bool {
    let mut ids = package.devices.iter().flat_map(|device| &device.ids);
    ids.any(|own| own.id.eq_ignore_ascii_case(id))
}

#[test]
fn every_release_takes_the_disk_driver_of_its_own_folder() {
    for infs in bundle::sources() {
        let bundle = Bundle::open(&bundle::tree(infs)).unwrap();
        for (name, arch) in RELEASES {
            let what = format!("{infs:?} {name}/{arch}");
            let release = release(name, arch);
            let picks = bundle.pick(&release, &[Role::Block]).unwrap();
            let pick = picks
                .of(Role::Block)
                .unwrap_or_else(|| panic!("{what}: {:?}", picks.missing));
            let path = pick.package.inf.path.to_lowercase();
            let want = format!("viostor/{name}/{arch}/viostor.inf").to_lowercase();
            assert_eq!(path, want, "{what}");
            assert!(
                pick.fit.exact && pick.is_vouched(),
                "{what}: {:?}",
                pick.flags
            );
            assert!(pick.flags.is_empty(), "{what}: {:?}", pick.flags);
            let Vouch::Catalog {
                digests, signature, ..
            } = &pick.package.files[0].vouch
            else {
                panic!("{what}: {:?}", pick.package.files[0])
            };
            let old = release.needs_sha1();
            assert_eq!(
                digests[..],
                [if old {
                    DigestKind::Sha1
                } else {
                    DigestKind::Sha256
                }],
                "{what}"
            );
            assert_eq!(
                signature.as_ref().unwrap().check,
                SignatureCheck::ChainConsistent,
                "{what}"
            );
        }
    }
}

#[test]
fn disk_drivers_say_what_windows_writes_for_them() {
    for infs in bundle::sources() {
        let bundle = Bundle::open(&bundle::tree(infs)).unwrap();
        let picks = bundle
            .pick(&release("2k22", "amd64"), &[Role::Block, Role::Scsi])
            .unwrap();
        for (role, name, bus, messages, old, new) in [
            (
                Role::Block,
                "viostor",
                1,
                257,
                "1001&SUBSYS_00021AF4",
                "1042&SUBSYS_11001AF4",
            ),
            (
                Role::Scsi,
                "vioscsi",
                10,
                258,
                "1004&SUBSYS_00081AF4",
                "1048&SUBSYS_11001AF4",
            ),
        ] {
            let pick = picks.of(role).unwrap();
            let service = pick.service().unwrap();
            assert_eq!(
                (service.name.as_str(), service.start, service.service_type),
                (name, 0, 1)
            );
            assert_eq!(service.load_order_group.as_deref(), Some("SCSI miniport"));
            assert_eq!(dword(&service.registry, "Parameters", "BusType"), Some(bus));
            assert_eq!(
                dword(&service.registry, "Parameters\\PnpInterface", "5"),
                Some(1)
            );
            let install = &pick.package.installs[0];
            let key = "Interrupt Management\\MessageSignaledInterruptProperties";
            assert_eq!(dword(&install.hardware, key, "MSISupported"), Some(1));
            assert_eq!(
                dword(&install.hardware, key, "MessageNumberLimit"),
                Some(messages)
            );
            for id in [old, &old[..4], new, &new[..4]] {
                let rev = if id == old {
                    "&REV_00"
                } else if id == new {
                    "&REV_01"
                } else {
                    ""
                };
                let id = format!("PCI\\VEN_1AF4&DEV_{id}{rev}");
                assert!(has_id(&pick.package, &id), "{infs:?}: {id}");
            }
            let file = &pick.package.files[0];
            assert_eq!(file.place.name.to_lowercase(), format!("{name}.sys"));
            let image = file.image.as_ref().unwrap();
            assert_eq!(
                (image.subsystem, image.version),
                (1, Some([100, 95, 104, 20348]))
            );
            assert_eq!(pick.package.version.dotted(), "100.95.104.20348");
            assert_eq!(
                pick.package.class_guid,
                "{4d36e97b-e325-11ce-bfc1-08002be10318}"
            );
            assert_eq!(
                bundle.read(&file.member).unwrap().len() as u64,
                file.member.len
            );
        }
    }
}

#[test]
fn every_role_of_a_new_windows_is_served_and_fwcfg_by_one_driver_only() {
    for infs in bundle::sources() {
        let bundle = Bundle::open(&bundle::tree(infs)).unwrap();
        let picks = bundle.pick(&release("w11", "amd64"), Role::ALL).unwrap();
        let missing: Vec<Role> = picks.missing.iter().map(|m| m.role).collect();
        assert_eq!(
            missing,
            [Role::Crypto, Role::Ivshmem, Role::PciSerial],
            "{infs:?}"
        );
        let fwcfg = picks.of(Role::Fwcfg).unwrap();
        assert_eq!(fwcfg.package.inf_name(), "fwcfg.inf");
        assert_eq!(fwcfg.service().unwrap().name, "FwCfg");
        assert!(
            !picks
                .packages()
                .iter()
                .any(|p| p.inf_name() == "qemufwcfg.inf")
        );
        assert_eq!(picks.agent.unwrap().name(), "qemu-ga-x86_64.msi");
    }
}

#[test]
fn a_release_without_a_folder_takes_the_nearest_and_says_so() {
    let bundle = Bundle::open(&bundle::tree(Infs::Own)).unwrap();
    let vista: Release = "vista/amd64".parse().unwrap();
    let picks = bundle.pick(&vista, &[Role::Block]).unwrap();
    let pick = picks.of(Role::Block).unwrap();
    assert_eq!(pick.package.inf.path, "viostor/2k8/amd64/viostor.inf");
    assert!(matches!(pick.flags[0], Flag::NearVersion { .. }));
    assert!(
        pick.reason.contains("Windows Server 2008"),
        "{}",
        pick.reason
    );
}

#[test]
fn templates_of_the_real_drivers_are_read_wholly() {
    if !bundle::sources().contains(&Infs::Real) {
        return;
    }
    let bundle = Bundle::open(&bundle::tree(Infs::Real)).unwrap();
    let survey = bundle.survey().unwrap();
    assert!(survey.damaged.is_empty(), "{:?}", survey.damaged);
    for row in &survey.rows {
        assert_eq!(row.problem, None, "{}", row.inf);
        assert!(!row.roles.is_empty(), "{}", row.inf);
        assert!(row.flags.is_empty(), "{}: {:?}", row.inf, row.flags);
    }
    let picks = bundle.pick(&release("2k22", "amd64"), Role::ALL).unwrap();
    let rng = picks.of(Role::Rng).unwrap();
    let names: Vec<String> = rng
        .package
        .files
        .iter()
        .map(|f| f.place.below_windows("store").unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "System32\\DriverStore\\FileRepository\\store\\viorng.sys",
            "System32\\viorngum.dll"
        ]
    );
    let net = picks.of(Role::Net).unwrap();
    assert_eq!(net.service().unwrap().name, "netkvm");
    assert!(net.package.installs[0].software.len() > 100);
    let vsock = picks.of(Role::Vsock).unwrap();
    let services: Vec<(&str, bool)> = vsock.package.installs[0]
        .services
        .iter()
        .map(|s| (s.name.as_str(), s.associated))
        .collect();
    assert_eq!(
        services,
        [("VirtioSocket", true), ("VirtioSocketWSP", false)]
    );
}

#[test]
fn another_program_finds_the_same_signatures_good() {
    let tree = bundle::tree(Infs::Own);
    let root = tree.join("cert/root.pem");
    let bundle = Bundle::open(&tree).unwrap();
    for name in ["w7", "2k22"] {
        let picks = bundle
            .pick(&release(name, "amd64"), &[Role::Block])
            .unwrap();
        let package = &picks.picks[0].package;
        let catalog = tree.join(&package.catalog.as_ref().unwrap().path);
        let file = tree.join(&package.files[0].member.path);
        let paths = [&root, &catalog, &file].map(|path| path.to_str().unwrap());
        let [root, catalog, file] = paths;
        let out = tests::tool::run(
            "osslsigncode",
            &["verify", "-CAfile", root, "-catalog", catalog, "-in", file],
        );
        assert!(out.contains("Succeeded"), "{out}");
    }
}
