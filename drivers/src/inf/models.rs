// SPDX-License-Identifier: Apache-2.0
//! `[Manufacturer]` and models sections: which devices the INF serves on one release.
//! <https://learn.microsoft.com/windows-hardware/drivers/install/inf-models-section>

use super::decoration::{Closeness, Decoration};
use super::{Inf, Line};
use crate::package::{Device, DeviceId, Text};
use crate::release::Release;
use crate::role::Role;

/// The devices of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Models {
    /// The sections that were taken, as spelled in the INF, joined by commas.
    pub sections: String,
    /// How close their decorations come; the greatest of all manufacturers.
    pub closeness: Closeness,
    /// In their order.
    pub devices: Vec<Device>,
}

impl Inf {
    /// The devices that the INF serves on a release; none where its decorations are for others.
    pub(crate) fn models(&self, release: &Release) -> Models {
        let mut out = Models::default();
        let manufacturers = self.section("Manufacturer");
        for line in manufacturers.iter().flat_map(|section| &section.lines) {
            let Some((name, closeness)) = choose(line, release) else {
                continue;
            };
            let Some(section) = self.section(&name) else {
                continue;
            };
            let maker = line.key.as_ref().or(line.fields.first());
            let maker = maker.cloned().unwrap_or_default();
            let devices = section.lines.iter().filter_map(|line| device(line, &maker));
            out.devices.extend(devices);
            out.closeness = out.closeness.max(closeness);
            if !out.sections.is_empty() {
                out.sections.push_str(", ");
            }
            out.sections.push_str(&section.name);
        }
        out
    }

    /// Roles of every device that any of its models sections names, for any release.
    pub(crate) fn roles(&self) -> Vec<Role> {
        let mut out = Vec::new();
        for name in self.every_models_section() {
            let lines = self.section(&name).into_iter().flat_map(|s| &s.lines);
            let ids = lines.flat_map(|line| line.fields.iter().skip(1));
            out.extend(ids.filter_map(|id| Role::of_hardware_id(&id.text)));
        }
        out.sort_unstable();
        out.dedup();
        out
    }

    /// Names of models sections with every decoration that is listed, decorations behind a dot.
    pub(crate) fn every_models_section(&self) -> Vec<String> {
        let lines = self
            .section("Manufacturer")
            .into_iter()
            .flat_map(|s| &s.lines);
        lines.flat_map(every_section).collect()
    }
}

fn every_section(line: &Line) -> Vec<String> {
    let base = line.field(0).unwrap_or_default();
    let decorations = line.fields.iter().skip(1).map(|f| f.text.as_str());
    let named = decorations.map(|decoration| format!("{base}.{decoration}"));
    std::iter::once(base.to_owned()).chain(named).collect()
}

/// The section of a manufacturer that a release takes: the closest of those that are listed, or
/// the undecorated one.
fn choose(line: &Line, release: &Release) -> Option<(String, Closeness)> {
    let base = line.field(0)?;
    let plain = Decoration::default().closeness(release);
    let mut best = plain.map(|closeness| (base.to_owned(), closeness));
    for field in line.fields.iter().skip(1) {
        let closeness = Decoration::parse(&field.text).and_then(|d| d.closeness(release));
        if let Some(closeness) = closeness
            && best.as_ref().is_none_or(|(_, known)| *known <= closeness)
        {
            best = Some((format!("{base}.{}", field.text), closeness));
        }
    }
    best
}

/// `description = install section, hardware id [, compatible id]...`
fn device(line: &Line, maker: &Text) -> Option<Device> {
    let ids: Vec<DeviceId> = line
        .fields
        .iter()
        .skip(1)
        .filter(|field| !field.text.is_empty())
        .zip(1_u8..=u8::MAX)
        .map(|(field, rank)| DeviceId {
            id: field.text.clone(),
            rank,
        })
        .collect();
    Some(Device {
        role: ids.iter().find_map(|id| Role::of_hardware_id(&id.id)),
        description: line.key.clone()?,
        manufacturer: maker.clone(),
        install: line.field(0)?.to_owned(),
        ids,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[Manufacturer]\n%V%=M,NTamd64.6.1,NTamd64.10.0,NTamd64.10.0...17763\n\
        [M]\n%D%=I86,PCI\\VEN_1AF4&DEV_1001\n\
        [M.NTamd64.6.1]\n%D%=I7,PCI\\VEN_1AF4&DEV_1001\n\
        [M.NTamd64.10.0]\n%D%=I10,PCI\\VEN_1AF4&DEV_1001&REV_00,PCI\\VEN_1AF4&DEV_1001\n\
        %D%=I10,PCI\\VEN_1AF4&DEV_1042\n\
        [Strings]\nV=Acme\nD=Disk\n";

    fn installs(release: &str) -> Vec<String> {
        let inf = Inf::parse(TEXT.as_bytes()).unwrap();
        let models = inf.models(&release.parse().unwrap());
        models.devices.into_iter().map(|d| d.install).collect()
    }

    #[test]
    fn each_release_takes_the_closest_section() {
        assert_eq!(installs("w7/amd64"), ["I7"]);
        assert_eq!(installs("2k12/amd64"), ["I7"]);
        assert_eq!(installs("10.0.17134/amd64"), ["I10", "I10"]);
        assert_eq!(installs("w7/x86"), ["I86"]);
        assert!(installs("w11/arm64").is_empty());
    }

    #[test]
    fn a_listed_section_that_does_not_exist_serves_nothing() {
        assert!(installs("2k19/amd64").is_empty());
    }

    #[test]
    fn ids_have_ranks_and_tell_the_role() {
        let inf = Inf::parse(TEXT.as_bytes()).unwrap();
        let models = inf.models(&"10.0.17134/amd64".parse().unwrap());
        let device = &models.devices[0];
        assert_eq!(device.role, Some(Role::Block));
        assert_eq!(
            device.ids.iter().map(|id| id.rank).collect::<Vec<_>>(),
            [1, 2]
        );
        assert_eq!(device.ids[1].database_value(), [2, 0xFF, 0, 0]);
        assert_eq!(device.manufacturer.text, "Acme");
        assert_eq!(models.sections, "M.NTamd64.10.0");
        assert_eq!(inf.roles(), [Role::Block]);
    }
}
