// SPDX-License-Identifier: Apache-2.0
//! Keys: create, delete with everything beneath, rename.

use super::{Editor, missing, split};
use crate::error::{Error, Result};
use crate::hive::cell::NONE;
use crate::hive::key::{at, new_name, wide_len};
use crate::hive::list::List;
use crate::hive::name::encode;
use crate::hive::{DEPTH_LIMIT, damaged, names};

const COMPRESSED: u16 = 0x20;

impl Editor<'_> {
    /// Creates a key and the missing keys above it, each with its parent's security descriptor,
    /// and says whether any was missing.
    ///
    /// Errors: `hive-name`, `hive-depth`.
    pub fn create_key(&mut self, path: &str) -> Result<bool> {
        if names(path).count() >= DEPTH_LIMIT {
            return Err(Error::refused("hive-depth", "the key would nest too deep"));
        }
        for name in names(path) {
            new_name(name)?;
        }
        self.run(|this| {
            let mut key = this.hive.root()?.offset();
            let mut created = false;
            for name in names(path) {
                let units = new_name(name)?;
                let next = this.key(key)?.subkey_units(&units)?.map(|k| k.offset());
                key = match next {
                    Some(next) => this.start(next)?,
                    None => {
                        created = true;
                        this.key_new(key, &units)?
                    }
                };
            }
            Ok(created)
        })
    }

    /// Gives an existing key a class name, or takes it away. Writes nothing where it is so already.
    ///
    /// Errors: `hive-no-key`; `hive-class` for an empty class or one beyond 32767 UTF-16 units.
    pub fn set_class(&mut self, path: &str, class: Option<&str>) -> Result<()> {
        let units = class.map(|class| class.encode_utf16().flat_map(u16::to_le_bytes));
        let new: Vec<u8> = units.map(Iterator::collect).unwrap_or_default();
        let len = u16::try_from(new.len()).ok();
        let Some(len) = len.filter(|len| (*len == 0) == class.is_none()) else {
            return Err(Error::refused(
                "hive-class",
                "a class name has 1 to 32767 UTF-16 units",
            ));
        };
        self.run(|this| {
            let key = this.offset_of(path)?;
            let old = this.key(key)?.class_bytes()?;
            if old.unwrap_or_default() == new {
                return Ok(());
            }
            let had = old.is_some().then_some(this.cell(key)?.u32(at::CLASS)?);
            let cell = match class {
                Some(_) => this.alloc_with(&new)?,
                None => NONE,
            };
            this.put32(key, at::CLASS, cell)?;
            this.put(key, at::CLASS_LEN, &len.to_le_bytes())?;
            if let Some(had) = had {
                this.release(had)?;
            }
            if let Some((parent, _)) = split(path) {
                let parent = this.offset_of(&parent)?;
                this.raise(parent, at::MAX_CLASS, u32::from(len))?;
            }
            this.touch(key)
        })
    }

    fn key_new(&mut self, parent: u32, units: &[u16]) -> Result<u32> {
        let (name, compressed) = encode(units);
        let security = self.cell(parent)?.u32(at::SECURITY)?;
        let key = self.alloc(at::NAME.saturating_add(name.len()))?;
        self.put(key, 0, b"nk")?;
        self.put(
            key,
            at::FLAGS,
            &(if compressed { COMPRESSED } else { 0 }).to_le_bytes(),
        )?;
        self.put32(key, at::PARENT, parent)?;
        for field in [
            at::SUBKEY_LIST,
            at::VOLATILE_LIST,
            at::VALUE_LIST,
            at::CLASS,
        ] {
            self.put32(key, field, NONE)?;
        }
        self.put32(key, at::SECURITY, security)?;
        self.key_name(key, &name)?;
        self.touch(key)?;
        self.security_hold(security)?;
        self.enter(parent, key, units)?;
        Ok(key)
    }

    fn key_name(&mut self, key: u32, name: &[u8]) -> Result<()> {
        let len = u16::try_from(name.len()).unwrap_or(u16::MAX);
        self.put(key, at::NAME_LEN, &len.to_le_bytes())?;
        self.put(key, at::NAME, name)
    }

    fn enter(&mut self, parent: u32, key: u32, units: &[u16]) -> Result<()> {
        self.list_insert(parent, key, units)?;
        // The upper half of this field holds flags.
        let field = self.cell(parent)?.u32(at::MAX_SUBKEY_NAME)?;
        let longest = (field & 0xFFFF).max(wide_len(units).min(0xFFFF));
        self.put32(parent, at::MAX_SUBKEY_NAME, (field & 0xFFFF_0000) | longest)?;
        self.touch(parent)
    }

    /// Deletes a key with everything beneath it and says whether there was one.
    ///
    /// Errors: `hive-root` for the root.
    pub fn delete_key(&mut self, path: &str) -> Result<bool> {
        let Some((parent, _)) = split(path) else {
            return Err(Error::refused(
                "hive-root",
                "the root key cannot be deleted or renamed",
            ));
        };
        self.run(|this| {
            let Some(key) = this.hive.key(path)?.map(|k| k.offset()) else {
                return Ok(false);
            };
            let parent = this.offset_of(&parent)?;
            this.list_remove(parent, key)?;
            this.touch(parent)?;
            this.tree_release(key)?;
            Ok(true)
        })
    }

    /// Frees a tree; a key that is met twice is no cell any more the second time.
    fn tree_release(&mut self, top: u32) -> Result<()> {
        let mut open = vec![top];
        while let Some(key) = open.pop() {
            for sub in self.key(key)?.subkeys()? {
                open.push(sub?.offset());
            }
            // Every key has a cell, so more keys than cells is a loop.
            let most = usize::try_from(self.hive.base.size / 80).unwrap_or(usize::MAX);
            if open.len() > most {
                return Err(damaged(0, "keys form a loop", most, open.len()));
            }
            self.key_release(key)?;
        }
        Ok(())
    }

    fn key_release(&mut self, offset: u32) -> Result<()> {
        let key = self.key(offset)?;
        let mut cells = Vec::new();
        if key.subkey_count()? != 0 {
            let list = List::read(self.hive, key.cell.u32(at::SUBKEY_LIST)?)?;
            for leaf in 0..if list.is_index() { list.count } else { 0 } {
                cells.push(list.entry(leaf)?.offset);
            }
            cells.push(list.cell.offset);
        }
        if key.class_bytes()?.is_some() {
            cells.push(key.cell.u32(at::CLASS)?);
        }
        let mut values = Vec::new();
        for value in key.values()? {
            values.push(value?.cell.offset);
        }
        if key.value_count()? != 0 {
            cells.push(key.cell.u32(at::VALUE_LIST)?);
        }
        let security = key.cell.u32(at::SECURITY)?;
        cells.push(offset);
        for value in values {
            self.value_release(value)?;
        }
        for cell in cells {
            self.release(cell)?;
        }
        self.security_drop(security)
    }

    /// Renames a key within its parent. Writes nothing where the name is already so.
    ///
    /// Errors: `hive-no-key`, `hive-root`, `hive-name`, `hive-exists`.
    pub fn rename_key(&mut self, path: &str, name: &str) -> Result<()> {
        let Some((parent, _)) = split(path) else {
            return Err(Error::refused(
                "hive-root",
                "the root key cannot be deleted or renamed",
            ));
        };
        let units = new_name(name)?;
        self.run(|this| {
            let old = this.hive.key(path)?.ok_or_else(|| missing(path))?.offset();
            let parent = this.offset_of(&parent)?;
            if this.key(old)?.name_units()? == units {
                return Ok(());
            }
            let taken = this.key(parent)?.subkey_units(&units)?.map(|k| k.offset());
            if taken.is_some_and(|taken| taken != old) {
                return Err(Error::refused(
                    "hive-exists",
                    format!("there is a key {name:?} already"),
                ));
            }
            this.list_remove(parent, old)?;
            let key = this.key_renamed(old, &units)?;
            this.touch(key)?;
            this.enter(parent, key, &units)
        })
    }

    /// Writes the new name; a longer one moves the key to a larger cell.
    fn key_renamed(&mut self, old: u32, units: &[u16]) -> Result<u32> {
        let (name, compressed) = encode(units);
        let flags = self.key(old)?.flags()?.bits() & !COMPRESSED;
        let flags = flags | if compressed { COMPRESSED } else { 0 };
        let need = at::NAME.saturating_add(name.len());
        let mut key = old;
        if self.cell(old)?.data.len() < need {
            let head = self.cell(old)?.slice(0, at::NAME)?.to_vec();
            let mut children = Vec::new();
            for sub in self.key(old)?.subkeys()? {
                children.push(sub?.offset());
            }
            key = self.alloc(need)?;
            self.put(key, 0, &head)?;
            for child in children {
                self.put32(child, at::PARENT, key)?;
            }
            self.release(old)?;
        }
        self.put(key, at::FLAGS, &flags.to_le_bytes())?;
        self.key_name(key, &name)?;
        Ok(key)
    }
}
