//! The shape of the file, as far as serde knows it. Fields that must be there are optional here, so that the reader says which are not.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawFile {
    pub(super) version: Option<Spanned<Scalar>>,
    pub(super) mig_configs: Option<Spanned<BTreeMap<String, RawConfig>>>,
}

/// `None` where nothing stands behind the name.
pub(super) type RawConfig = Option<Vec<Spanned<RawEntry>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawEntry {
    pub(super) device_filter: Option<Spanned<OneOrMany>>,
    pub(super) devices: Option<Spanned<OneOrMany>>,
    pub(super) mig_enabled: Option<bool>,
    pub(super) mig_devices: Option<Spanned<BTreeMap<String, Spanned<i64>>>>,
}

/// A text or a number.
#[derive(Debug)]
pub(super) enum Scalar {
    Text(String),
    Number(u64),
}

#[derive(Debug)]
pub(super) enum OneOrMany {
    One(Scalar),
    Many(Vec<Spanned<Scalar>>),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(OneOrManyVisitor)? {
            OneOrMany::One(one) => Ok(one),
            OneOrMany::Many(_) => Err(de::Error::custom("a list where one value belongs")),
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

struct OneOrManyVisitor;

impl<'de> Visitor<'de> for OneOrManyVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a whole number or a list of them")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<OneOrMany, E> {
        Ok(OneOrMany::One(Scalar::Number(number)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<OneOrMany, E> {
        Ok(OneOrMany::One(u64::try_from(number).map_or_else(
            |_| Scalar::Text(number.to_string()),
            Scalar::Number,
        )))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<OneOrMany, E> {
        Ok(OneOrMany::One(Scalar::Text(number.to_string())))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
        Ok(OneOrMany::One(Scalar::Text(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany, A::Error> {
        let mut many = Vec::new();
        while let Some(item) = items.next_element()? {
            many.push(item);
        }
        Ok(OneOrMany::Many(many))
    }
}
