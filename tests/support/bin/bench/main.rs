// SPDX-License-Identifier: Apache-2.0
//! Times guestfix on real guests, beside its peers where they are installed, and prints a table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cluster;
mod ours;
mod peer;
mod row;
mod volumes;
mod windows;

use tests::guest::Guest;

use ours::measure;
use row::Row;

const RUNS: usize = 5;
/// Of what takes half a minute.
const FEW: usize = 3;
const HUGE: Option<u64> = Some(10 << 40);

/// Debian 12, BIOS, ext4, initramfs-tools.
fn guest_a(peers: Option<&Row>) -> Vec<Row> {
    let guest = Guest::get("bookworm-bios-ext4");
    let run = |what: &str, verb: &[&str], len| measure(what, verb, &guest, len, RUNS);
    let splice = run("convert (splice), guest (a)", &["convert"], None);
    let theirs = peers.map(|start| peer::virt_v2v("(a)", &guest, &splice, start));
    let mut rows = vec![
        run("inspect, guest (a)", &["inspect"], None),
        splice,
        run(
            "convert --no-guest-code, guest (a)",
            &["convert", "--no-guest-code"],
            None,
        ),
        run("inspect, guest (a) on 10 TiB", &["inspect"], HUGE),
        run("convert (splice), guest (a) on 10 TiB", &["convert"], HUGE),
    ];
    rows.extend(theirs);
    rows
}

/// Debian 13, UEFI, xfs, dracut.
fn guest_b(peers: Option<&Row>) -> Vec<Row> {
    let guest = Guest::get("trixie-uefi-xfs");
    let splice = measure(
        "convert (splice), guest (b)",
        &["convert"],
        &guest,
        None,
        RUNS,
    );
    let mut rebuild = measure(
        "convert --initramfs rebuild, guest (b)",
        &["convert", "--initramfs", "rebuild"],
        &guest,
        None,
        FEW,
    );
    let alone = peer::dracut_alone("(b)", &guest, 2, FEW);
    let ratio = rebuild.median() / alone.median();
    rebuild.note = format!("{ratio:.2}x dracut alone; {}", rebuild.note);
    let theirs = peers.map(|start| peer::virt_v2v("(b)", &guest, &splice, start));
    let mut rows = vec![
        measure("inspect, guest (b)", &["inspect"], &guest, None, RUNS),
        splice,
        rebuild,
        alone,
    ];
    rows.extend(theirs);
    rows
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--cluster") => cluster::table(&args[1..]),
        Some("--hive") => tests::hive_bench::table(args.get(1).map(String::as_str)),
        Some("--hive-child") => tests::hive_bench::child(&args[1..]),
        Some("--volumes") => volumes::table(),
        Some("--volume") => volumes::child(&args[1], &args[2]),
        Some("--hive-make") => tests::hive_bench::make(&args[1]),
        Some("--windows") => row::print(&windows::rows(RUNS, peers().as_ref())),
        _ => guests(),
    }
}

/// With `--peers`, where they are installed: how long the peer's appliance takes to start.
fn peers() -> Option<Row> {
    if !std::env::args().any(|arg| arg == "--peers") {
        return None;
    }
    if !tests::windows::peer::is_installed() {
        println!("virt-v2v-in-place is not installed: no peer in this table.\n");
        return None;
    }
    Some(peer::appliance_start())
}

fn guests() {
    let start = peers();
    let mut rows = guest_a(start.as_ref());
    rows.extend(guest_b(start.as_ref()));
    rows.extend(windows::rows(RUNS, start.as_ref()));
    rows.extend(start);
    row::print(&rows);
}
