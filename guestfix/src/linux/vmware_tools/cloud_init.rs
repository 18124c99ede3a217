// SPDX-License-Identifier: Apache-2.0
//! cloud-init's list of places where it looks for its data: KubeVirt offers them as NoCloud and
//! ConfigDrive, which a list made for VMware leaves out.

use super::super::gather::Gatherer;
use super::super::text;
use super::TOPIC;
use crate::error::Result;
use crate::inspect::facts::Sources;
use crate::plan::Change;

const MAIN: &str = "/etc/cloud/cloud.cfg";
const DIR: &str = "/etc/cloud/cloud.cfg.d";
/// Read last: cloud-init takes the files in the order of their names.
const OURS: &str = "/etc/cloud/cloud.cfg.d/zz-guestfix-datasource.cfg";
const DISABLED: &str = "/etc/cloud/cloud-init.disabled";
const KUBEVIRT: [&str; 2] = ["NoCloud", "ConfigDrive"];

/// Reads the configuration.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub(super) fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    gather.file(MAIN)?;
    gather.files_in(DIR, |name| name.ends_with(".cfg"))?;
    gather.presence(DISABLED)
}

/// The list with KubeVirt's, where there is one without them.
pub(super) fn propose(sources: &Sources) -> Option<Change> {
    if !sources.has(MAIN) || sources.has(DISABLED) {
        return None;
    }
    let list = effective(sources)?;
    let has = |name: &str| list.iter().any(|have| have == name);
    if KUBEVIRT.iter().all(|name| has(name)) || list.iter().all(|name| name == "None") {
        return None;
    }
    let mut new = KUBEVIRT.map(str::to_owned).to_vec();
    new.extend(
        list.iter()
            .filter(|name| !KUBEVIRT.contains(&name.as_str()))
            .cloned(),
    );
    let text = format!(
        "# Written by guestfix: KubeVirt offers NoCloud and ConfigDrive.\ndatasource_list: [ {} ]\n",
        new.join(", ")
    );
    let why = "cloud-init does not look where KubeVirt puts its data";
    Change::edit(TOPIC, why, sources, OURS, text)
}

/// The list that counts: of the last file that has one.
fn effective(sources: &Sources) -> Option<Vec<String>> {
    let below = sources
        .files
        .iter()
        .filter(|(path, _)| path.rsplit_once('/').is_some_and(|(dir, _)| dir == DIR));
    let all = sources.bytes(MAIN).into_iter();
    all.chain(below.map(|(_, file)| file.content.as_slice()))
        .rev()
        .find_map(parse)
}

/// `datasource_list: [A, B]`, over several lines perhaps, or a line `- A` each.
fn parse(bytes: &[u8]) -> Option<Vec<String>> {
    let lines = text::lines(bytes);
    let without_comment = |line: &text::Line<'_>| {
        let text = line.text();
        text.split(" #").next().unwrap_or_default().to_owned()
    };
    let mut rest = lines
        .iter()
        .skip_while(|line| !line.bytes.starts_with(b"datasource_list:"));
    let first = without_comment(rest.next()?);
    let mut list = first.split_once(':')?.1.to_owned();
    let flow = list.trim_start().starts_with('[');
    for line in rest {
        let comment = line.text().trim_start().starts_with('#');
        let text = without_comment(line);
        let more = match flow {
            true => !list.contains(']'),
            false => comment || text.trim_start().starts_with("- "),
        };
        if !more {
            break;
        }
        if !comment {
            list.push(' ');
            list.push_str(text.trim_start().trim_start_matches("- "));
        }
    }
    let words = list.split(|c: char| !c.is_ascii_alphanumeric());
    let names: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture;
    use super::*;
    use crate::fs::MemoryFs;

    #[test]
    fn every_way_to_write_a_list_is_read() {
        for text in [
            "datasource_list: [ VMware, OVF, None ] # why\n",
            "x: 1\r\ndatasource_list: ['VMware',\r\n  \"OVF\",\r\n  None]\r\ny: [Z]\r\n",
            "datasource_list:\n  - VMware\n  # no\n  - OVF\n- None\ny: 1\n",
        ] {
            assert_eq!(
                parse(text.as_bytes()).unwrap(),
                ["VMware", "OVF", "None"],
                "{text}"
            );
        }
        assert_eq!(parse(b"# datasource_list: [A]\n"), None);
        assert_eq!(parse(b"datasource_list: []\n"), None);
        assert_eq!(parse(b"datasource_list"), None);
    }

    #[test]
    fn kubevirts_sources_come_first_and_the_last_file_counts() {
        let fs = MemoryFs::new()
            .file(MAIN, "datasource_list: [ NoCloud, ConfigDrive ]\n")
            .file(
                "/etc/cloud/cloud.cfg.d/99-DataSource.cfg",
                "datasource_list: [ VMware, NoCloud, None ]\n",
            );
        let facts = fixture::gathered(fs.clone());
        let change = propose(&facts.sources).unwrap();
        let new = fixture::written(std::slice::from_ref(&change), OURS).unwrap();
        assert!(new.ends_with("\ndatasource_list: [ NoCloud, ConfigDrive, VMware, None ]\n"));
        let after = fixture::gathered(fixture::applied(fs, &[change]));
        assert!(propose(&after.sources).is_none());
    }

    #[test]
    fn a_list_that_has_them_or_is_off_is_left() {
        for text in [
            "datasource_list: [None]\n",
            "datasource_list: [ConfigDrive, NoCloud]\n",
            "x: y\n",
        ] {
            let facts = fixture::gathered(MemoryFs::new().file(MAIN, text));
            assert!(propose(&facts.sources).is_none(), "{text}");
        }
    }
}
