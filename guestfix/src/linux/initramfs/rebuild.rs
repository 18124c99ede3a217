// SPDX-License-Identifier: Apache-2.0
//! Rebuilding: the guest's own tool makes the initramfs anew, for any machine and not for the one
//! that it sees. Sources: mkinitramfs(8), initramfs.conf(5), dracut(8).

use crate::fs::GuestPath;
use crate::inspect::Facts;
use crate::inspect::facts::{DriverAt, InitramfsFacts, KernelFacts};
use crate::linux::kernel;
use crate::plan::{Action, SCRATCH};

/// Where dracut says which it is.
pub const DRACUT_VERSION: &str = "/usr/lib/dracut/dracut-version.sh";
const DRACUT_MODULES: &str = "/usr/lib/dracut/modules.d";

/// The tools, by path and by what they call themselves in facts; likeliest first.
pub const PROGRAMS: [(&str, &str); 5] = [
    ("/usr/sbin/mkinitramfs", "initramfs-tools"),
    ("/usr/bin/dracut", "dracut"),
    ("/usr/sbin/dracut", "dracut"),
    ("/sbin/mkinitramfs", "initramfs-tools"),
    ("/sbin/dracut", "dracut"),
];

/// dracut's modules between a disk and its files: those of the old initramfs are asked for by name.
pub const STACK: [&str; 11] = [
    "btrfs",
    "crypt",
    "dm",
    "dmraid",
    "iscsi",
    "lvm",
    "lvmmerge",
    "mdraid",
    "multipath",
    "nfs",
    "systemd-cryptsetup",
];

/// Seconds that the tool may take. A generic initramfs takes it some ten.
const TIMEOUT: u32 = 900;
/// Name of the script that calls mkinitramfs.
const SCRIPT_NAME: &str = "rebuild";

/// Calls mkinitramfs with a copy of the guest's configuration in which `MODULES=most` stands in
/// place of whatever is set: with `dep` it would ask the machine it runs on. The list of file
/// systems whose fsck goes in comes from us for the same reason. Nothing is left in the guest.
const SCRIPT: &str = r#"set -eu
program=$1 version=$2 image=$3 types=$4
work=${0%/*}
config=$work/config
mkdir "$work/tmp"
cp -RL /etc/initramfs-tools "$config" || [ -f "$config/initramfs.conf" ]
mkdir -p "$config/conf.d"
for file in /usr/share/initramfs-tools/conf.d/*; do
    if grep -q '^[^#]*MODULES=' "$file" 2>/dev/null && ! [ -e "$config/conf.d/${file##*/}" ]; then
        cp "$file" "$config/conf.d/"
    fi
done
for file in "$config/initramfs.conf" "$config"/conf.d/*; do
    if [ -f "$file" ]; then
        sed -i 's/^\([^#]*\)\bMODULES=[^;]*/\1MODULES=most/' "$file"
    fi
done
grep -q '^MODULES=most' "$config/initramfs.conf" || echo MODULES=most >>"$config/initramfs.conf"
if [ -n "$types" ] && ! grep -qs '^FSTYPE=[^a]' "$config/initramfs.conf" "$config"/conf.d/*; then
    sed -i '/^FSTYPE=/d' "$config/initramfs.conf"
    echo "FSTYPE=$types" >>"$config/initramfs.conf"
fi
TMPDIR=$work/tmp
export TMPDIR
exec "$program" -d "$config" -o "$image" "$version"
"#;

/// A version of dracut, from its version file.
pub fn parse(text: &str) -> Option<u32> {
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("DRACUT_VERSION="))?;
    let digits = version.trim_matches(['"', '\'']);
    let end = digits.find(|c: char| !c.is_ascii_digit());
    digits.get(..end.unwrap_or(digits.len()))?.parse().ok()
}

/// How to make this kernel's initramfs anew.
///
/// # Errors
/// Why it cannot be; one clause.
pub fn action(
    facts: &Facts,
    kernel: &KernelFacts,
    initramfs: &InitramfsFacts,
) -> Result<Action, String> {
    if kernel.is_unified() {
        return Err("it is a part of a unified kernel image".to_owned());
    }
    let installed = |of: Option<&str>| {
        let mut programs = PROGRAMS.iter();
        programs.find(|(program, name)| {
            facts.sources.files.contains_key(*program) && of.is_none_or(|of| of == *name)
        })
    };
    // An image that cannot be read to its end may not say who made it.
    let (program, name) = installed(Some(&initramfs.generator))
        .or_else(|| installed(None))
        .ok_or("the guest has neither mkinitramfs nor dracut")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    if !kernel.version.chars().all(plain) || kernel.version.starts_with('-') {
        return Err("its kernel's version is no plain name".to_owned());
    }
    if kernel.modules_dir.is_none() {
        return Err(format!("the modules of kernel {} are gone", kernel.version));
    }
    let product = format!("{SCRATCH}/initramfs");
    let (argv, scratch) = match *name {
        "dracut" => (
            dracut(facts, program, kernel, initramfs, &product),
            Vec::new(),
        ),
        _ => (
            mkinitramfs(facts, program, kernel, &product),
            vec![(SCRIPT_NAME.to_owned(), SCRIPT.to_owned())],
        ),
    };
    Ok(Action::RebuildInitramfs {
        path: GuestPath::new(&initramfs.path),
        argv,
        scratch,
        product,
        timeout_s: TIMEOUT,
    })
}

fn mkinitramfs(facts: &Facts, program: &str, kernel: &KernelFacts, product: &str) -> Vec<String> {
    let script = format!("{SCRATCH}/{SCRIPT_NAME}");
    let types = types(facts).join(",");
    let version = kernel.version.as_str();
    ["/bin/sh", &script, program, version, product, &types]
        .map(str::to_owned)
        .into()
}

/// The filesystems that are mounted before the root's own programs can check them.
fn types(facts: &Facts) -> Vec<&str> {
    let early = facts
        .mounts
        .iter()
        .filter(|mount| ["/", "/usr"].contains(&mount.at.as_str()));
    let mut types: Vec<&str> = early
        .filter_map(|mount| facts.volume(&mount.volume))
        .map(|volume| volume.content.kind.as_str())
        .collect();
    types.sort_unstable();
    types.dedup();
    types
}

fn dracut(
    facts: &Facts,
    program: &str,
    kernel: &KernelFacts,
    initramfs: &InitramfsFacts,
    product: &str,
) -> Vec<String> {
    let version = facts
        .sources
        .text(DRACUT_VERSION)
        .and_then(parse)
        .unwrap_or(0);
    let mut argv = vec![program, "--force", "--no-hostonly"];
    // What an option's release is: dracut's own news, <https://github.com/dracut-ng/dracut-ng>.
    if version >= 37 {
        argv.push("--no-hostonly-cmdline");
    }
    if version >= 48 {
        argv.push("--no-hostonly-default-device");
    }
    let mut argv: Vec<String> = argv.into_iter().map(str::to_owned).collect();
    let drivers = drivers(facts, kernel);
    if !drivers.is_empty() {
        argv.extend(["--add-drivers".to_owned(), drivers.join(" ")]);
    }
    let stack = stack(facts, initramfs);
    if !stack.is_empty() {
        argv.extend(["--add".to_owned(), stack.join(" ")]);
    }
    let last = ["--tmpdir", "/tmp", "--kver", &kernel.version, product];
    argv.extend(last.map(str::to_owned));
    argv
}

fn drivers<'a>(facts: &Facts, kernel: &'a KernelFacts) -> Vec<&'a str> {
    let listed = facts
        .sources
        .splices
        .get(kernel.initramfs.as_ref().map_or("", |i| &i.path));
    let asked = |name: &String| {
        kernel::DRIVERS.contains(&name.as_str())
            || listed.is_some_and(|source| source.closures.contains_key(name))
    };
    let module = |at: &DriverAt| matches!(at, DriverAt::Initramfs | DriverAt::RootOnly);
    let drivers = kernel
        .drivers
        .iter()
        .filter(|(name, at)| asked(name) && module(at));
    drivers.map(|(name, _)| name.as_str()).collect()
}

/// What the old initramfs had of the stack, and the guest still has.
fn stack(facts: &Facts, initramfs: &InitramfsFacts) -> Vec<&'static str> {
    let old = facts.sources.listings.get(&initramfs.path);
    let there = |name: &&&str| {
        let mut installed = facts.sources.dir(DRACUT_MODULES).iter();
        installed.any(|dir| dir.trim_start_matches(|c: char| c.is_ascii_digit()) == **name)
    };
    let had = STACK
        .iter()
        .filter(|name| old.is_some_and(|old| old.dracut.contains(**name)));
    had.filter(there).copied().collect()
}

#[cfg(test)]
mod tests;
