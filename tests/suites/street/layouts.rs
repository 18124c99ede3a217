// SPDX-License-Identifier: Apache-2.0
//! Layouts of LVM and md by chance: what the kernel wrote we read, and what we wrote the kernel
//! reads, parity and provisioning included. The kernel is the one of libguestfs' appliance, which is
//! emulated, so only the long run of the tests does it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use guestfix::digest::sha256_hex;
use guestfix::disk::Storage;
use guestfix::volume::{Assembled, Volume};
use tests::tool;

use super::stacks::assembled;

/// Layouts that one appliance makes: with their disks as many as it has letters for.
const LAYOUTS: usize = 6;
/// Members of a layout.
const MOST_DISKS: usize = 4;
/// Writes to each volume, and the bytes of the longest.
const WRITES: usize = 40;
const LONGEST: usize = 200_000;
/// The script that the appliance runs is a disk of its own, filled up with line ends.
const SCRIPT: usize = 64 << 10;

/// What every script begins with. `settled` waits until an array or a group does nothing; `told`
/// says what the kernel reads of a volume; `checked` has parity and mirrors compared.
const WORDS: &str = r#"
exec 2>&1
modprobe dm-raid; modprobe dm-mirror; modprobe dm-thin-pool
vgchange -an; mdadm --stop --scan
told() {
    sync; blockdev --flushbufs "$2"
    echo "SUM $1 $(blockdev --getsize64 "$2") $(sha256sum <"$2")"
}
fill() { dd if=/dev/urandom of="$1" bs=64k count="${2:-999999}" status=none; }
settled() {
    for _ in $(seq 200); do
        busy=$(lvs --noheadings -a -o sync_percent "$1" | tr -d ' \n' | sed 's/100\.00//g')
        [ -z "$busy" ] && return
        sleep 0.3
    done
    echo "STILL BUSY $1: $busy"
}
checked_array() {
    [ -e "/sys/block/${2#/dev/}/md/sync_action" ] || return 0
    echo check >"/sys/block/${2#/dev/}/md/sync_action"
    until grep -q idle "/sys/block/${2#/dev/}/md/sync_action"; do sleep 0.3; done
    echo "MISMATCH $1 $(cat "/sys/block/${2#/dev/}/md/mismatch_cnt")"
}
checked_volume() {
    case $(lvs --noheadings -o segtype "$2/$3" | tr -d ' ') in
        raid0*) return ;;
        raid*) ;;
        *) return ;;
    esac
    lvchange --syncaction check "$2/$3"
    sleep 0.5
    until lvs --noheadings -o raid_sync_action "$2/$3" | grep -q idle; do sleep 0.3; done
    echo "MISMATCH $1 $(lvs --noheadings -o raid_mismatch_count "$2/$3" | tr -d ' ')"
}
"#;

/// One layout: scripts that make it, and that find it again and say what it holds.
struct Layout {
    disks: Vec<PathBuf>,
    make: String,
    find: String,
}

/// The name that the appliance knows a disk by: the kernel's own names come as its probing ends.
fn label(index: usize) -> String {
    format!("disk{}", char::from(b'a' + u8::try_from(index).unwrap()))
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

/// `mdadm --create` of the members, and its number.
fn array(rng: &mut Rng, index: usize, members: &[String]) -> String {
    let most = members.len();
    let level = loop {
        let (level, least) = pick(
            rng,
            &[
                ("linear", 2),
                ("0", 2),
                ("1", 2),
                ("5", 3),
                ("6", 4),
                ("10", 2),
            ],
        );
        if most >= least {
            break level;
        }
    };
    let metadata = pick(rng, &["0.90", "1.0", "1.1", "1.2"]);
    let chunk = 4 << rng.u32(0..8);
    let chunk = match level {
        "linear" | "1" => String::new(),
        _ => format!("--chunk={chunk}"),
    };
    let layout = match level {
        "5" => pick(rng, &["la", "ra", "ls", "rs"]),
        "6" => pick(rng, &["la", "ra", "ls", "rs"]),
        "10" => pick(rng, &["n2", "f2", "o2"]),
        _ => "",
    };
    let layout = match layout {
        "" => String::new(),
        layout => format!("--layout={layout}"),
    };
    let clean = if matches!(level, "linear" | "0") {
        ""
    } else {
        "--assume-clean --bitmap=none"
    };
    format!(
        "yes | mdadm --create /dev/md{index} --homehost=any --run --level={level} --metadata={metadata} \
         {chunk} {layout} {clean} --raid-devices={most} {}",
        members.join(" ")
    )
}

/// `lvcreate` of some volumes of a group of so many physical volumes.
fn volumes(rng: &mut Rng, group: &str, count: usize) -> String {
    let mut out = String::new();
    for name in ["a", "b", "c"] {
        let size = 4 * rng.usize(1..5);
        let stripe = 4 << rng.u32(0..8);
        let kinds: &[(&str, usize)] = &[
            ("linear", 1),
            ("thin", 1),
            ("raid1", 2),
            ("mirror", 2),
            ("striped", 2),
            ("raid0", 2),
            ("raid5", 3),
            ("raid4", 3),
            ("raid10", 4),
        ];
        let kind = loop {
            let (kind, least) = pick(rng, kinds);
            if count >= least {
                break kind;
            }
        };
        let stripes = match kind {
            "striped" | "raid0" => rng.usize(2..=count),
            "raid5" | "raid4" => rng.usize(2..count),
            "raid10" => 2,
            _ => 0,
        };
        let how = match kind {
            "linear" | "thin" => String::new(),
            "raid1" => "--type raid1 -m1".to_owned(),
            "mirror" => "--type mirror --mirrorlog core -m1".to_owned(),
            kind => format!("--type {kind} -i{stripes} -I{stripe}k"),
        };
        let path = format!("/dev/{group}/{name}");
        match kind {
            "thin" => {
                // Half of it is left to be provisioned by the other side.
                let virtual_size = size / 2 + 8;
                out.push_str(&format!(
                    "lvcreate -y -L {}m --type thin-pool -c {}k -n {name}pool {group}\n\
                     lvcreate -y -V {virtual_size}m --thinpool {name}pool -n {name} {group} && fill {path} {}\n",
                    size + 8,
                    64 << rng.u32(0..3),
                    virtual_size * 8,
                ));
            }
            _ => out.push_str(&format!(
                "lvcreate -y -Wn -Zn {how} -L {size}m -n {name} {group} && fill {path}\n"
            )),
        }
    }
    out
}

impl Layout {
    /// A layout whose first disk is the appliance's `first` of them.
    fn new(rng: &mut Rng, index: usize, first: usize, dir: &Path) -> Self {
        let count = rng.usize(2..=MOST_DISKS);
        let mut devices = Vec::new();
        let disks: Vec<PathBuf> = (0..count)
            .map(|disk| {
                devices.push(format!("/dev/disk/guestfs/{}", label(first + disk)));
                let path = dir.join(format!("{index}-{disk}.img"));
                // Each of its own size, and not in whole extents or chunks.
                let size = (24 << 20) + rng.u64(0..(16 << 20)) / 512 * 512;
                File::create(&path).unwrap().set_len(size).unwrap();
                path
            })
            .collect();
        let shape = rng.usize(..3);
        let group = format!("vg{index}");
        let extent = 512 << rng.u32(0..3);
        let (mut make, mut find) = (String::new(), String::new());
        // An array of all disks or of all but the last.
        let in_array = match shape {
            0 => count,
            1 if count > 2 => count - 1,
            1 => count,
            _ => 0,
        };
        let md = format!("/dev/md{index}");
        if in_array > 0 {
            make.push_str(&array(rng, index, &devices[..in_array]));
            make.push('\n');
            find.push_str(&format!(
                "mdadm --assemble {md} {}\n",
                devices[..in_array].join(" ")
            ));
        }
        let tell = match shape {
            0 => {
                make.push_str(&format!("fill {md}\n"));
                format!("told {index}/md {md}; checked_array {index}/md {md}\n")
            }
            _ => {
                let mut parts = devices[in_array..].to_vec();
                if in_array > 0 {
                    parts.push(md.clone());
                }
                make.push_str(&format!(
                    "pvcreate -ff -y {0}\nvgcreate -s {extent}k {group} {0}\n",
                    parts.join(" ")
                ));
                make.push_str(&volumes(rng, &group, parts.len()));
                let parity = if in_array > 0 {
                    format!("checked_array {index}/md {md}")
                } else {
                    ":".to_owned()
                };
                format!(
                    "vgchange -ay {group}; settled {group}\n\
                     for one in a b c; do [ -e /dev/{group}/$one ] || continue\n\
                     told {index}/{group}/$one /dev/{group}/$one; checked_volume {index}/{group}/$one {group} $one\n\
                     done\n{parity}\n"
                )
            }
        };
        let leave = format!("vgchange -an {group}; mdadm --stop {md}\n");
        make.push_str(&tell);
        make.push_str(&leave);
        find.push_str(&tell);
        find.push_str(&leave);
        Self { disks, make, find }
    }

    /// The volume that a line of the appliance is about.
    fn volume<'a>(&self, all: &'a Assembled, name: &str) -> &'a Volume {
        let (_, name) = name.split_once('/').unwrap();
        let found = all.volumes.iter().find(|volume| match name {
            "md" => {
                let made_by = volume.stack.made_by.as_deref();
                made_by.is_some_and(|by| by.starts_with("md "))
            }
            name => volume.name == name,
        });
        found.unwrap_or_else(|| {
            let kinds = all.volumes.iter().map(|v| (&v.name, &v.content.kind));
            let kinds: Vec<_> = kinds.collect();
            let (why, damage) = (&all.unopened, &all.damage);
            panic!("{name}: {kinds:?}, {why:?}, {damage:?}\n{}", self.make)
        })
    }
}

/// What the appliance said of volumes: what it read, and how many sectors contradict each other.
#[derive(Default)]
struct Told {
    sums: BTreeMap<String, (u64, String)>,
    mismatches: BTreeMap<String, u64>,
    all: String,
}

/// Runs a script in the appliance, which has the disks of all layouts behind that of the script.
fn appliance(script: &str, layouts: &[Layout], dir: &Path) -> Told {
    let path = dir.join("script");
    let mut bytes = format!("{WORDS}{script}exit 0\n").into_bytes();
    assert!(bytes.len() <= SCRIPT);
    bytes.resize(SCRIPT, b'\n');
    std::fs::write(&path, bytes).unwrap();
    let mut commands = format!("add {} format:raw label:script\n", path.display());
    let disks = layouts.iter().flat_map(|layout| &layout.disks);
    for (index, disk) in disks.enumerate() {
        let add = format!("add {} format:raw label:{}\n", disk.display(), label(index));
        commands.push_str(&add);
    }
    commands.push_str("run\ndebug sh \"bash < /dev/disk/guestfs/script\"\n");
    let args = ["LIBGUESTFS_BACKEND=direct"]
        .into_iter()
        .chain(["LIBGUESTFS_BACKEND_SETTINGS=force_tcg", "guestfish"]);
    let all = tool::run_with_input("env", &args.collect::<Vec<_>>(), &commands);
    let mut told = Told::default();
    for line in all.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            ["SUM", name, size, sum, "-"] => {
                let what = (size.parse().unwrap(), sum.to_owned());
                told.sums.insert(name.to_owned(), what);
            }
            ["MISMATCH", name, count] => {
                told.mismatches
                    .insert(name.to_owned(), count.parse().unwrap());
            }
            ["STILL", ..] => panic!("{all}"),
            _ => {}
        }
    }
    told.all = all;
    told
}

fn whole(storage: &dyn Storage) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(storage.len()).unwrap()];
    storage.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// Writes by chance, the first and the last byte among them; what the volume then holds.
fn scribble(rng: &mut Rng, storage: &dyn Storage, mut bytes: Vec<u8>) -> String {
    for number in 0..WRITES {
        let len = rng.usize(1..LONGEST.min(bytes.len()));
        let at = match number {
            0 => 0,
            1 => bytes.len() - len,
            _ => rng.usize(..=bytes.len() - len),
        };
        let part = &mut bytes[at..at + len];
        rng.fill(part);
        storage.write_at(part, at as u64).unwrap();
    }
    storage.flush().unwrap();
    sha256_hex(&bytes)
}

#[test]
fn the_kernel_reads_what_was_written_through_any_layout() {
    if !tests::full() {
        println!("with GUESTFIX_FULL only");
        return;
    }
    let seed = match std::env::var("GUESTFIX_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => fastrand::u64(..),
    };
    println!("GUESTFIX_SEED={seed} makes the same layouts");
    let mut rng = Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut next = 0;
    let layouts: Vec<Layout> = (0..LAYOUTS)
        .map(|index| {
            let layout = Layout::new(&mut rng, index, next, dir.path());
            next += layout.disks.len();
            layout
        })
        .collect();
    let script = |of: fn(&Layout) -> &str| layouts.iter().map(of).collect::<String>();
    let made = appliance(&script(|layout| &layout.make), &layouts, dir.path());
    println!("{}", made.all);

    let mut expected = BTreeMap::new();
    for (index, layout) in layouts.iter().enumerate() {
        let disks: Vec<&Path> = layout.disks.iter().map(PathBuf::as_path).collect();
        let all = assembled(&disks);
        let prefix = format!("{index}/");
        let mine = made
            .sums
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix));
        for (name, (size, sum)) in mine {
            let volume = layout.volume(&all, name);
            let bytes = whole(volume.storage.as_ref());
            let by = volume.stack.made_by.as_deref().unwrap_or_default();
            assert_eq!(bytes.len() as u64, *size, "{name}, {by}");
            assert_eq!(&sha256_hex(&bytes), sum, "{name}, {by}:\n{}", layout.make);
            let now = scribble(&mut rng, volume.storage.as_ref(), bytes);
            println!("{name}: {by}, {size} bytes");
            expected.insert(name.clone(), (*size, now));
        }
    }
    assert!(expected.len() >= LAYOUTS, "few could be made");

    let found = appliance(&script(|layout| &layout.find), &layouts, dir.path());
    assert_eq!(found.sums, expected, "{}", found.all);
    for (name, count) in &found.mismatches {
        assert_eq!(*count, 0, "{name}:\n{}", found.all);
    }
    assert!(found.mismatches.keys().eq(made.mismatches.keys()));
}
