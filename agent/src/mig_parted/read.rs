//! From text to a [`File`], or all that is wrong with it.
//!
//! `raw` is the shape of the file: what is no YAML, or has another shape, ends the reading at once. What the values mean is checked
//! here, in one go.

mod raw;

use std::collections::BTreeMap;

use serde_saphyr::{Location, MessageFormatter as _, Spanned, UserMessageFormatter};

use self::raw::{OneOrMany, RawEntry, RawFile, Scalar};
use super::{Device, Devices, Entry, File, PciId, Wanted};
use crate::placements::Counts;

/// Deeper than the format nests.
const MAX_DEPTH: usize = 16;

/// What mig-parted calls its format.
const VERSION: &str = "v1";

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
    /// What is wrong and the remedy, with the field.
    pub problem: String,
}

/// All that is wrong with a file, in its order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", listed(.file, .mistakes))]
pub struct Mistakes {
    /// What to call the file.
    pub file: String,
    /// Never empty.
    pub mistakes: Vec<Mistake>,
}

/// One a line, in the form that editors jump to.
fn listed(file: &str, mistakes: &[Mistake]) -> String {
    let lines: Vec<_> = mistakes
        .iter()
        .map(|mistake| {
            let Mistake {
                line,
                column,
                problem,
            } = mistake;
            format!("{file}:{line}:{column}: {problem}")
        })
        .collect();
    match lines.as_slice() {
        [line] => line.clone(),
        lines => format!("{} mistakes\n  {}", lines.len(), lines.join("\n  ")),
    }
}

impl File {
    /// Reads YAML, or JSON, which is a part of it. `file` is what to call it in errors.
    pub fn read(text: &str, file: &str) -> Result<Self, Mistakes> {
        let mut reader = Reader::default();
        let configs = reader.file(text);
        reader.mistakes.sort();
        if reader.mistakes.is_empty() {
            Ok(Self { configs })
        } else {
            Err(Mistakes {
                file: file.to_owned(),
                mistakes: reader.mistakes,
            })
        }
    }
}

#[derive(Default)]
struct Reader {
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn note(&mut self, at: Location, problem: impl Into<String>) {
        self.mistakes.push(Mistake {
            line: at.line().max(1),
            column: at.column().max(1),
            problem: problem.into(),
        });
    }

    fn file(&mut self, text: &str) -> BTreeMap<String, Vec<Entry>> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
            with_snippet: false,
        };
        if text.trim().is_empty() {
            self.note(
                Location::UNKNOWN,
                "the file is empty: write version and mig-configs",
            );
            return BTreeMap::new();
        }
        let raw: RawFile = match serde_saphyr::from_str_with_options(text, options) {
            Ok(raw) => raw,
            Err(error) => {
                let at = error.location().unwrap_or(Location::UNKNOWN);
                self.note(at, UserMessageFormatter.format_message(&error));
                return BTreeMap::new();
            }
        };
        match raw
            .version
            .map(|version| (version.referenced, version.value))
        {
            Some((_, Scalar::Text(version))) if version == VERSION => {}
            Some((at, version)) => {
                self.note(at, format!("version: {version} is not known; write v1"));
            }
            None => self.note(Location::UNKNOWN, "version is missing; write version: v1"),
        }
        let Some(configs) = raw.mig_configs.filter(|configs| !configs.value.is_empty()) else {
            self.note(
                Location::UNKNOWN,
                "mig-configs is missing or empty: write at least one config, NAME: [{devices: all, …}]",
            );
            return BTreeMap::new();
        };
        let at = configs.referenced;
        let configs = configs.value.into_iter();
        configs
            .map(|(name, entries)| {
                let entries = entries.unwrap_or_default();
                if entries.is_empty() {
                    self.note(
                        at,
                        format!("mig-configs.{name} is empty: write at least one entry"),
                    );
                }
                let entries = entries.into_iter().enumerate();
                let read = entries
                    .map(|(index, entry)| {
                        self.entry(&format!("mig-configs.{name}[{index}]"), entry)
                    })
                    .collect();
                (name, read)
            })
            .collect()
    }

    fn entry(&mut self, path: &str, raw: Spanned<RawEntry>) -> Entry {
        let Spanned {
            value: raw,
            referenced: at,
            ..
        } = raw;
        let filter = raw
            .device_filter
            .map(|filter| self.filter(&format!("{path}.device-filter"), filter))
            .unwrap_or_default();
        let devices = if let Some(devices) = raw.devices {
            self.devices(&format!("{path}.devices"), devices)
        } else {
            self.note(
                at,
                format!(
                    "{path}: devices is missing; write devices: all, or a list of indexes or UUIDs"
                ),
            );
            Devices::All
        };
        let counts = raw.mig_devices.map(|devices| {
            (
                devices.referenced,
                self.counts(&format!("{path}.mig-devices"), devices.value),
            )
        });
        let wanted = match (raw.mig_enabled, counts) {
            (Some(true), Some((_, counts))) => Wanted::On(counts),
            (Some(true), None) => {
                self.note(at, format!("{path}: mig-devices is missing; write mig-devices: {{PROFILE: COUNT, …}}, or {{}} for none"));
                Wanted::Off
            }
            (Some(false), Some((at, counts))) if !counts.is_empty() => {
                self.note(
                    at,
                    format!("{path}: mig-devices with mig-enabled: false; leave one of them out"),
                );
                Wanted::Off
            }
            (Some(false), _) => Wanted::Off,
            (None, _) => {
                self.note(
                    at,
                    format!("{path}: mig-enabled is missing; write true or false"),
                );
                Wanted::Off
            }
        };
        Entry {
            filter,
            devices,
            wanted,
        }
    }

    fn filter(&mut self, path: &str, raw: Spanned<OneOrMany>) -> Vec<PciId> {
        let at = raw.referenced;
        let items = match raw.value {
            OneOrMany::One(Scalar::Text(text)) if text.is_empty() => Vec::new(),
            OneOrMany::One(one) => vec![(at, one)],
            OneOrMany::Many(many) => many
                .into_iter()
                .map(|item| (item.referenced, item.value))
                .collect(),
        };
        let mut filter = Vec::new();
        for (at, item) in items {
            match pci_id(&item) {
                Some(id) => filter.push(id),
                None => self.note(at, format!("{path}: {item} is not a PCI device id; write device and vendor id in one, e.g. \"0x20B010DE\"")),
            }
        }
        filter
    }

    fn devices(&mut self, path: &str, raw: Spanned<OneOrMany>) -> Devices {
        let many = match raw.value {
            OneOrMany::One(Scalar::Text(text)) if text == "all" => return Devices::All,
            OneOrMany::One(other) => {
                self.note(
                    raw.referenced,
                    format!("{path}: {other} is not \"all\"; write all, or a list as in [0, 1]"),
                );
                return Devices::All;
            }
            OneOrMany::Many(many) => many,
        };
        let mut devices = Vec::new();
        for item in many {
            match &item.value {
                Scalar::Number(index) if u32::try_from(*index).is_ok() => {
                    devices.extend(u32::try_from(*index).map(Device::Index));
                }
                Scalar::Text(uuid) if uuid.starts_with("GPU-") => {
                    devices.push(Device::Uuid(uuid.clone()));
                }
                other @ (Scalar::Number(_) | Scalar::Text(_)) => self.note(
                    item.referenced,
                    format!(
                        "{path}: {other} is not a GPU; write its index, or its UUID as in GPU-…"
                    ),
                ),
            }
        }
        Devices::These(devices)
    }

    fn counts(&mut self, path: &str, raw: BTreeMap<String, Spanned<i64>>) -> Counts {
        let mut counts = Counts::new();
        for (profile, count) in raw {
            let at = count.referenced;
            if let Some(problem) = profile_problem(&profile) {
                self.note(at, format!("{path}: {profile:?} {problem}"));
            }
            match u32::try_from(count.value) {
                Ok(0) => {}
                Ok(count) => {
                    counts.insert(profile, count);
                }
                Err(_) => self.note(
                    at,
                    format!(
                        "{path}.{profile}: {} is not a number of instances",
                        count.value
                    ),
                ),
            }
        }
        counts
    }
}

/// What is wrong with the name of a profile on any board.
fn profile_problem(name: &str) -> Option<String> {
    let parts: Vec<_> = name.split('.').collect();
    let number = |part: Option<&&str>, unit: &str| {
        let digits = part.and_then(|part| part.strip_suffix(unit));
        digits.is_some_and(|digits| digits.parse::<u32>().is_ok())
    };
    if let [_, whole @ ..] = parts.as_slice()
        && number(parts.first(), "c")
    {
        let whole = whole.join(".");
        return Some(format!(
            "is a compute instance that does not fill its GPU instance; whole ones only are made: write {whole}"
        ));
    }
    let memory = parts.get(1).and_then(|rest| rest.split(['+', '-']).next());
    if number(parts.first(), "g") && number(memory.as_ref(), "gb") {
        None
    } else {
        Some(
            "is not a MIG profile; write it as the driver does, e.g. 1g.5gb or 1g.5gb+me"
                .to_owned(),
        )
    }
}

fn pci_id(item: &Scalar) -> Option<PciId> {
    match item {
        Scalar::Number(number) => u32::try_from(*number).ok().map(PciId),
        Scalar::Text(text) => {
            let digits = text
                .strip_prefix("0x")
                .or_else(|| text.strip_prefix("0X"))?;
            let id = (digits.len() == 8).then(|| u32::from_str_radix(digits, 16))?;
            id.ok().map(PciId)
        }
    }
}
