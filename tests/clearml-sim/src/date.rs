//! Points in time as ClearML writes them.

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Written with offset and, unless it is zero, a fraction of six digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(pub Timestamp);

impl Date {
    /// As the database keeps it: whole milliseconds.
    pub(crate) fn stored(self) -> Self {
        let round = TimestampRound::new()
            .smallest(Unit::Millisecond)
            .mode(RoundMode::Trunc);
        Self(self.0.round(round).unwrap_or(self.0))
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let form = if self.0.as_microsecond() % 1_000_000 == 0 {
            "%Y-%m-%dT%H:%M:%S+00:00"
        } else {
            "%Y-%m-%dT%H:%M:%S%.6f+00:00"
        };
        self.0.strftime(form).fmt(f)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let date = text.parse();
        date.map(Self)
            .map_err(|_| D::Error::custom(format!("{text:?} is no date")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_recorded() {
        let date = |microseconds| Date(Timestamp::from_microsecond(microseconds).unwrap());
        assert_eq!(
            date(1_795_487_750_506_303).to_string(),
            "2026-11-24T02:35:50.506303+00:00"
        );
        assert_eq!(
            date(1_795_487_750_506_303).stored().to_string(),
            "2026-11-24T02:35:50.506000+00:00"
        );
        assert_eq!(
            date(1_795_487_750_000_000).to_string(),
            "2026-11-24T02:35:50+00:00"
        );
    }
}
