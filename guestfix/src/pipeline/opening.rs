// SPDX-License-Identifier: Apache-2.0
//! How volumes are opened: keys of encrypted ones, and what is allowed. The keys are read here and
//! go to the worker by the channel; they stand on no command line and in no log.

use std::path::PathBuf;

use serde_bytes::ByteBuf;
use zeroize::Zeroize;

use super::protocol::Order;
use crate::boot::Passphrase;
use crate::error::{Error, Result};
use crate::volume::{Key, Opening};

/// The longest key, bytes: what cryptsetup reads of a key file at most.
const LONGEST: u64 = 8 << 20;

/// A key by the place where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// The volume's name or LUKS UUID, or `all`.
    pub volume: String,
    /// The file whose bytes, all of them, are the key.
    pub path: PathBuf,
}

/// What the operator said about opening volumes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpeningChoice {
    /// `--key`.
    pub keys: Vec<KeyFile>,
    /// `--allow-degraded`.
    pub allow_degraded: bool,
    /// `--boot-disk` was given: that one is the first.
    pub boot_disk_first: bool,
    /// `--allow-backing`.
    pub allow_backing: bool,
    /// The disks will be copied as a whole.
    pub copies: bool,
}

impl OpeningChoice {
    /// True when nothing was said that the worker must know.
    pub fn is_default(&self) -> bool {
        self.keys.is_empty() && !self.allow_degraded && !self.boot_disk_first
    }

    /// The keys that somebody could type, in the order given.
    pub(super) fn passphrases(&self) -> Result<Vec<Passphrase>> {
        let mut out = Vec::new();
        for file in &self.keys {
            let mut key = read(file)?.1.into_vec();
            out.extend(Passphrase::of_key(&key));
            key.zeroize();
        }
        Ok(out)
    }

    /// Reads the keys.
    pub(super) fn order(&self) -> Result<Order> {
        let keys = self.keys.iter().map(read).collect::<Result<_>>()?;
        Ok(Order::Opening {
            keys,
            allow_degraded: self.allow_degraded,
            boot_disk_first: self.boot_disk_first,
        })
    }
}

fn read(key: &KeyFile) -> Result<(String, ByteBuf)> {
    use std::io::Read as _;
    let shown = key.path.display();
    let cannot = |e: std::io::Error| {
        Error::host("cannot-open", format!("cannot read the key file {shown}")).because(e)
    };
    let file = std::fs::File::open(&key.path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(LONGEST.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > LONGEST || bytes.is_empty() {
        bytes.zeroize();
        let what = format!("the key file {shown} is empty, or longer than {LONGEST} bytes");
        return Err(Error::new(crate::error::Kind::Usage, "key-file", what));
    }
    Ok((key.volume.clone(), ByteBuf::from(bytes)))
}

/// Overwrites the keys of an order that was sent.
pub(super) fn forget(order: Order) {
    if let Order::Opening { keys, .. } = order {
        for (_, key) in keys {
            key.into_vec().zeroize();
        }
    }
}

/// The worker's side.
pub(super) fn of(
    keys: Vec<(String, ByteBuf)>,
    allow_degraded: bool,
    boot_disk_first: bool,
) -> Opening {
    let keys = keys.into_iter().map(|(volume, key)| Key {
        volume,
        secret: key.into_vec().into(),
    });
    let mut opening = Opening::new(keys.collect(), allow_degraded);
    opening.boot_disk_first = boot_disk_first;
    opening
}
