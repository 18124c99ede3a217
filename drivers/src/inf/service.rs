// SPDX-License-Identifier: Apache-2.0
//! `AddService`: <https://learn.microsoft.com/windows-hardware/drivers/install/inf-addservice-directive>.

use super::number::dword;
use super::{Inf, Line, Section};
use crate::package::{EventLog, Place, Service};

/// `SPSVCINST_ASSOCSERVICE`.
const ASSOCIATED: u32 = 0x2;

impl Inf {
    /// The services of a `.Services` section. A line without a name (a null driver) makes none.
    pub(super) fn services(&self, section: &Section, ignored: &mut Vec<String>) -> Vec<Service> {
        let mut out = Vec::new();
        for line in section.all("AddService") {
            let Some(name) = line.field(0) else { continue };
            match self.service(name, line) {
                Ok(service) => out.push(service),
                Err(what) => ignored.push(format!("AddService={name}: {what}")),
            }
        }
        out
    }

    fn service(&self, name: &str, line: &Line) -> Result<Service, &'static str> {
        let section = line.field(2).and_then(|section| self.section(section));
        let section = section.ok_or("its section is missing")?;
        let binary = section
            .value("ServiceBinary")
            .ok_or("it has no ServiceBinary")?;
        let (binary, arguments) = image(binary).ok_or("its ServiceBinary lies nowhere known")?;
        let flags = line.field(1).and_then(dword).unwrap_or(0);
        let number = |key| section.value(key).and_then(dword);
        let text = |key| section.first(key).and_then(|line| line.full(0)).cloned();
        let owned = |key| section.value(key).map(str::to_owned);
        Ok(Service {
            name: name.to_owned(),
            associated: flags & ASSOCIATED != 0,
            flags,
            service_type: number("ServiceType").ok_or("it has no ServiceType")?,
            start: number("StartType").ok_or("it has no StartType")?,
            error_control: number("ErrorControl").unwrap_or(1),
            binary,
            arguments,
            load_order_group: owned("LoadOrderGroup"),
            dependencies: section.names("Dependencies").map(str::to_owned).collect(),
            display_name: text("DisplayName"),
            description: text("Description"),
            start_name: owned("StartName"),
            boot_flags: number("BootFlags"),
            security: owned("Security"),
            registry: self.add_reg(section),
            event_log: self.event_log(name, line),
        })
    }

    fn event_log(&self, service: &str, line: &Line) -> Option<EventLog> {
        let section = self.section(line.field(3)?)?;
        Some(EventLog {
            log: line.field(4).unwrap_or("System").to_owned(),
            source: line.field(5).unwrap_or(service).to_owned(),
            registry: self.add_reg(section),
        })
    }
}

/// `%12%\viostor.sys -arguments`, with or without quotes.
fn image(text: &str) -> Option<(Place, String)> {
    let text = text.trim();
    let (path, arguments) = match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => text.split_at(end_of_path(text)),
    };
    let (dirid, rest) = directory(path)?;
    let (folder, name) = rest.rsplit_once('\\').unwrap_or(("", rest));
    let (dirid, folder) = match (dirid, folder.to_lowercase().as_str()) {
        (10, "system32") => (11, ""),
        (10, "system32\\drivers") | (11, "drivers") => (12, ""),
        _ => (dirid, folder),
    };
    let place = Place {
        dirid,
        folder: folder.to_owned(),
        name: name.to_owned(),
    };
    (!name.is_empty()).then(|| (place, arguments.trim().to_owned()))
}

/// Where arguments begin: at the blank after the image's name.
fn end_of_path(text: &str) -> usize {
    let lower = text.to_ascii_lowercase();
    [".sys ", ".exe ", ".dll "]
        .iter()
        .filter_map(|end| lower.find(end))
        .min()
        .map_or(text.len(), |at| at.saturating_add(4))
}

/// The dirid of a path and what follows it.
fn directory(path: &str) -> Option<(u32, &str)> {
    let root = |word: &str| {
        let head = path.get(..word.len())?;
        let rest = path.get(word.len()..)?;
        head.eq_ignore_ascii_case(word).then_some((10, rest))
    };
    if let Some(found) = root("%SystemRoot%\\").or_else(|| root("\\SystemRoot\\")) {
        return Some(found);
    }
    if root("System32\\").is_some() {
        return Some((10, path));
    }
    let (dirid, rest) = path.strip_prefix('%')?.split_once('%')?;
    Some((dirid.parse().ok()?, rest.trim_start_matches('\\')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (u32, String, String, String) {
        let (place, arguments) = image(text).unwrap();
        (place.dirid, place.folder, place.name, arguments)
    }

    #[test]
    fn an_image_is_found_in_every_spelling() {
        let want = |d, f: &str, n: &str, a: &str| (d, f.to_owned(), n.to_owned(), a.to_owned());
        assert_eq!(parsed("%12%\\viostor.sys"), want(12, "", "viostor.sys", ""));
        assert_eq!(parsed("%13%\\sub\\a.sys"), want(13, "sub", "a.sys", ""));
        assert_eq!(
            parsed("%11%\\svc.exe -k x"),
            want(11, "", "svc.exe", "-k x")
        );
        assert_eq!(
            parsed("\"%11%\\my svc.exe\" -i"),
            want(11, "", "my svc.exe", "-i")
        );
        let drivers = want(12, "", "b.sys", "");
        assert_eq!(parsed("%SystemRoot%\\System32\\drivers\\b.sys"), drivers);
        assert_eq!(parsed("System32\\DRIVERS\\b.sys"), drivers);
        assert_eq!(image("%nowhere%\\b.sys"), None);
        assert_eq!(image("b.sys"), None);
    }

    #[test]
    fn a_service_without_what_it_needs_is_named_and_left_out() {
        let inf = Inf::parse(
            b"[I.Services]\nAddService=a,2,A\nAddService=,2\nAddService=b,2,B\nAddService=c,0x800,C,E,App,Src\n\
              [A]\nServiceType=1\n[C]\nServiceType=16\nStartType=2\nServiceBinary=%11%\\c.exe\nDependencies=x,+Group\n\
              [E]\nAddReg=r\n[r]\nHKR,,TypesSupported,0x10001,7\n",
        )
        .unwrap();
        let mut ignored = Vec::new();
        let services = inf.services(inf.section("I.Services").unwrap(), &mut ignored);
        assert_eq!(
            ignored,
            [
                "AddService=a: it has no ServiceBinary",
                "AddService=b: its section is missing"
            ]
        );
        let [c] = &services[..] else {
            panic!("{services:?}")
        };
        assert!(!c.associated);
        assert_eq!(c.dependencies, ["x", "+Group"]);
        let log = c.event_log.as_ref().unwrap();
        assert_eq!(
            (log.log.as_str(), log.source.as_str(), log.registry.len()),
            ("App", "Src", 1)
        );
    }
}
