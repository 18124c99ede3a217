// SPDX-License-Identifier: Apache-2.0
//! Another reader of INFs: Wine's SetupAPI installs the disk drivers' sections, and what it writes
//! for their services is what is read here.

use drivers::{Bundle, RegData, RegEntry, Role, Service};
use tests::virtio_win as bundle;
use tests::wine::Wine;

/// `reg query` prints numbers in hex and texts as they are.
fn shown(data: &RegData) -> String {
    match data {
        RegData::Dword(number) => format!("REG_DWORD    {number:#x}"),
        RegData::Sz(text) => format!("REG_SZ    {text}"),
        RegData::ExpandSz(text) => format!("REG_EXPAND_SZ    {text}"),
        other => panic!("{other:?}"),
    }
}

fn has(listing: &str, key: &str, line: &str) -> bool {
    let blocks = listing.split("\n\n").map(str::trim_start);
    let ends = format!("Services\\{key}");
    blocks
        .filter(|block| {
            block
                .lines()
                .next()
                .is_some_and(|head| head.ends_with(&ends))
        })
        .any(|block| block.lines().any(|have| have.trim() == line))
}

fn is_as_read(service: &Service, listing: &str) {
    let own = &service.name;
    let mut wanted = vec![
        (
            own.clone(),
            format!("Type    REG_DWORD    {:#x}", service.service_type),
        ),
        (
            own.clone(),
            format!("Start    REG_DWORD    {:#x}", service.start),
        ),
        (
            own.clone(),
            format!("ErrorControl    REG_DWORD    {:#x}", service.error_control),
        ),
    ];
    let group = service.load_order_group.as_deref().unwrap_or_default();
    wanted.push((own.clone(), format!("Group    REG_SZ    {group}")));
    let entry = |entry: &RegEntry| {
        let (name, data) = entry.name.as_ref().zip(entry.data.as_ref())?;
        let key = format!("{own}\\{}", entry.key);
        Some((
            key.trim_end_matches('\\').to_owned(),
            format!("{name}    {}", shown(data)),
        ))
    };
    wanted.extend(service.registry.iter().filter_map(entry));
    for (key, line) in wanted {
        assert!(has(listing, &key, &line), "{key}: {line}\n{listing}");
    }
}

#[test]
fn wine_writes_for_a_service_what_is_read_in_its_inf() {
    let Some(wine) = Wine::start() else { return };
    for infs in bundle::sources() {
        let tree = bundle::tree(infs);
        let bundle = Bundle::open(&tree).unwrap();
        let release = "2k19/amd64".parse().unwrap();
        let picks = bundle.pick(&release, &[Role::Block, Role::Scsi]).unwrap();
        assert_eq!(picks.picks.len(), 2);
        for pick in &picks.picks {
            let (package, service) = (&pick.package, pick.service().unwrap());
            let folder = format!("{infs:?}-{}", service.name);
            let files = package.files.iter().map(|file| &file.member);
            for member in files.chain([&package.inf]) {
                let to = wine.windows(&folder).join(member.name());
                std::fs::copy(tree.join(&member.path), to).unwrap();
            }
            let section = &package.installs[0].section;
            let inf = format!("C:\\windows\\{folder}\\{}", package.inf_name());
            wine.run(&[
                "rundll32",
                "setupapi,InstallHinfSection",
                section,
                "132",
                &inf,
            ]);
            let key = format!(
                "HKLM\\System\\CurrentControlSet\\Services\\{}",
                service.name
            );
            is_as_read(service, &wine.run(&["reg", "query", &key, "/s"]));
            wine.run(&["reg", "delete", &key, "/f"]);
        }
    }
}
