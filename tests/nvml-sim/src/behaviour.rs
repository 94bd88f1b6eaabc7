//! Whether the driver does what its header documents, or also what drivers were seen to do besides.

use std::fmt;
use std::str::FromStr;

/// How a node's driver behaves where header and hardware disagree.
///
/// | | strict | quirks |
/// |---|---|---|
/// | create the first GPU instance while a client holds the GPU (see `Node::hold`) | works | 19, in no header; `kmigmgrCreateGPUInstanceCheck` of the open kernel driver, and seen in the field |
/// | minor numbers of the GPUs of a node made with this | their indexes | counted from the other end: the header does not tie the two together |
/// | UUID of a MIG device that is made again in the same place | another: the header says "globally unique" | the same: the kernel driver hashes chip, serial number, GPU instance id and engine |
///
/// GPU instance ids come again at once in both, since they name places. `nvmlDeviceGetMaxMigDeviceCount` answers 0 with MIG mode
/// off in both: the header says so. Clients must work with both, since they cannot tell which of them they are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// As documented.
    #[default]
    Strict,
    /// With the quirks.
    Quirks,
}

const NAMES: [(&str, Behaviour); 2] =
    [("strict", Behaviour::Strict), ("quirks", Behaviour::Quirks)];

/// A word that names none of the values there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is none of {known}")]
pub struct UnknownWord {
    word: String,
    known: String,
}

/// Finds a word in a table of them.
pub(crate) fn named<T: Copy>(table: &[(&str, T)], word: &str) -> Result<T, UnknownWord> {
    let found = table.iter().find(|(name, _)| *name == word);
    found.map(|&(_, value)| value).ok_or_else(|| UnknownWord {
        word: word.to_owned(),
        known: table
            .iter()
            .map(|&(name, _)| name)
            .collect::<Vec<_>>()
            .join(", "),
    })
}

impl FromStr for Behaviour {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        named(&NAMES, word)
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, value)| value == self);
        f.pad(name.map_or("", |(name, _)| name))
    }
}

impl Behaviour {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Strict => 0,
            Self::Quirks => 1,
        }
    }

    pub(crate) fn of_byte(byte: u8) -> Self {
        if byte == 0 {
            Self::Strict
        } else {
            Self::Quirks
        }
    }

    /// Whether the first GPU instance needs a GPU that no client holds.
    pub(crate) fn first_instance_needs_an_idle_gpu(self) -> bool {
        self == Self::Quirks
    }

    /// Minor number of GPU `index` of `count`.
    pub(crate) fn minor(self, index: u32, count: u32) -> u32 {
        match self {
            Self::Strict => index,
            Self::Quirks => count.saturating_sub(index + 1),
        }
    }

    /// Whether a MIG device made again in the same place has the UUID of the one before.
    pub(crate) fn uuids_come_again(self) -> bool {
        self == Self::Quirks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_there_and_back() {
        for (name, value) in NAMES {
            assert_eq!(name.parse(), Ok(value));
            assert_eq!(value.to_string(), name);
            assert_eq!(Behaviour::of_byte(value.byte()), value);
        }
        let error = "lax".parse::<Behaviour>().unwrap_err();
        assert_eq!(error.to_string(), "\"lax\" is none of strict, quirks");
    }
}
