// SPDX-License-Identifier: Apache-2.0
//! Starting a process tree for a conversion: its claims, its keys, its drivers, its limits.

use std::path::{Path, PathBuf};

use super::cgroup::Groups;
use super::child::{Child, Notify};
use super::claims::{PodDir, Refusal};
use super::command::{Places, arguments};
use super::enter::{Entry, EntryDisk};
use crate::api::GuestConversion;
use crate::api::profile::GuestConversionProfileSpec;
use crate::api::status::Claim;
use crate::brain::stand::Stand;
use kube::ResourceExt;

/// Starts process trees.
#[derive(Debug, Clone)]
pub struct Starter {
    /// The kubelet's directory.
    pub kubelet_root: PathBuf,
    /// The program `guestfix`.
    pub program: PathBuf,
    /// Where runs without a state claim keep what they throw away.
    pub state_dir: PathBuf,
    /// Control groups, where there are any.
    pub groups: Option<Groups>,
}

impl Starter {
    /// Starts one.
    ///
    /// # Errors
    /// Why it cannot be begun.
    pub fn start(
        &self,
        conversion: &GuestConversion,
        profile: &GuestConversionProfileSpec,
        recover: bool,
        notify: Notify,
    ) -> Result<Child, Refusal> {
        let status = conversion.stands();
        let holder = status.holder.unwrap_or_default();
        let pod = PodDir::new(&self.kubelet_root, &holder.uid)?;
        let disks = status
            .claims
            .iter()
            .map(disk)
            .collect::<Result<Vec<_>, _>>()?;
        let state = status.state_claim.as_ref().map(volume).transpose()?;
        let uid = conversion.uid().unwrap_or_default();
        let state_dir = self.state_dir.join(&uid);
        std::fs::create_dir_all(&state_dir)
            .map_err(|e| Refusal::new("NodeCannot", format!("{}: {e}", state_dir.display())))?;
        let places = Places {
            drivers: self.drivers(&pod, profile)?,
            keys: self.keys(&pod, conversion, &state_dir)?,
            state_dir,
        };
        let group = self
            .groups
            .as_ref()
            .map(|groups| groups.make(&uid, &profile.limits));
        let group = group
            .transpose()
            .map_err(|e| Refusal::new("NodeCannot", format!("a control group: {e}")))?;
        let entry = Entry {
            kubelet_root: self.kubelet_root.clone(),
            pod: holder.uid,
            disks,
            state,
            cgroup: group.as_ref().map(|group| group.path().to_owned()),
            data_limit: profile.limits.memory_mib.saturating_mul(1 << 20),
        };
        let args = arguments(conversion, profile, &places, recover);
        Child::start(
            &entry,
            &self.program,
            &args,
            group,
            places.state_dir,
            notify,
        )
        .map_err(|e| Refusal::new("NodeCannot", format!("starting a process: {e}")))
    }

    fn drivers(
        &self,
        pod: &PodDir,
        profile: &GuestConversionProfileSpec,
    ) -> Result<Option<PathBuf>, Refusal> {
        let Some(drivers) = &profile.drivers else {
            return Ok(None);
        };
        if let Some(path) = &drivers.host_path {
            return Ok(Some(PathBuf::from(path)));
        }
        let image = drivers.image.as_deref().unwrap_or_default();
        let copied = pod.other("kubernetes.io~empty-dir", "drivers")?;
        let found = std::fs::read_dir(&copied)
            .map_err(|e| Refusal::new("NoDriverBundle", format!("the driver image: {e}")))?;
        let iso = found.flatten().map(|entry| entry.path()).find(|path| {
            let iso = path
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("iso"));
            iso && std::fs::symlink_metadata(path).is_ok_and(|m| m.is_file())
        });
        let iso = iso.ok_or_else(|| {
            Refusal::new("NoDriverBundle", "the driver image has no ISO below /disk")
        })?;
        self.kept(&iso, &kept_name(image)).map(Some)
    }

    /// The kubelet's directory is out of sight of the process tree: what it reads beside its disks
    /// is linked or copied out of it first.
    fn kept(&self, from: &Path, name: &str) -> Result<PathBuf, Refusal> {
        let to = self.state_dir.join(name);
        let same = |a: &Path, b: &Path| {
            let length =
                |path: &Path| std::fs::metadata(path).map(|m| (m.len(), m.modified().ok()));
            matches!((length(a), length(b)), (Ok(a), Ok(b)) if a.0 == b.0 && a.1 <= b.1)
        };
        if !same(from, &to) {
            let fresh = self.state_dir.join(format!("{name}.new"));
            std::fs::copy(from, &fresh)
                .and_then(|_| std::fs::rename(&fresh, &to))
                .map_err(|e| Refusal::new("NodeCannot", format!("copying drivers: {e}")))?;
        }
        Ok(to)
    }

    /// Keys are copied into the run's own directory, which goes when it ends.
    fn keys(
        &self,
        pod: &PodDir,
        conversion: &GuestConversion,
        dir: &Path,
    ) -> Result<Vec<PathBuf>, Refusal> {
        use std::os::unix::fs::OpenOptionsExt;
        let count = conversion
            .spec
            .options
            .as_ref()
            .map_or(0, |options| options.key.len());
        (0..count)
            .map(|index| {
                let missing =
                    |e: std::io::Error| Refusal::new("KeyMissing", format!("key {index}: {e}"));
                let from = pod
                    .other("kubernetes.io~secret", &format!("key{index}"))?
                    .join("key");
                let key = std::fs::read(&from).map_err(missing)?;
                let to = dir.join(format!("key{index}"));
                let mut options = std::fs::OpenOptions::new();
                let file = options
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(&to);
                let mut file = file.map_err(missing)?;
                std::io::Write::write_all(&mut file, &key).map_err(missing)?;
                Ok(to)
            })
            .collect()
    }
}

/// Each image's drivers have a name of their own: profiles differ.
fn kept_name(image: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let cut = image.chars().count().saturating_sub(200);
    let name: String = image.chars().skip(cut).map(plain).collect();
    format!("drivers-{name}.iso")
}

fn disk(claim: &Claim) -> Result<EntryDisk, Refusal> {
    let unknown = || Refusal::new("DiskUnknown", format!("{} has no volume", claim.claim_name));
    Ok(EntryDisk {
        uid: claim.uid.clone().ok_or_else(unknown)?,
        volume: volume(claim)?,
        block: claim.volume_mode.as_deref() == Some("Block"),
    })
}

fn volume(claim: &Claim) -> Result<String, Refusal> {
    let unknown = || Refusal::new("DiskUnknown", format!("{} has no volume", claim.claim_name));
    claim.volume_name.clone().ok_or_else(unknown)
}
