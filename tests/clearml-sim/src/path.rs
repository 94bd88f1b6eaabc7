//! Paths and versions of the API: `/queues.get_all`, `/v2.14/queues.get_all`.

use std::fmt;

use serde_json::{Value, json};

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        if text.len() < 2 || !text.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        Some(Self(number(major)?, number(minor)?))
    }

    /// As the envelope shows it: text, but a number to clients that ask for less than 2.1.
    pub(crate) fn shown_to(self, requested: Self) -> Value {
        if requested < Self(2, 1) {
            json!(f64::from(self.0) + f64::from(self.1) / 10.0)
        } else {
            json!(self.to_string())
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Takes a path apart into version, if it has one, and `service.action`. `None`: the server does not understand it.
pub(crate) fn parse(path: &str) -> Option<(Option<Version>, &str)> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let (version, name) = match path.split_once('/') {
        Some((version, name)) => (Some(Version::parse(version.strip_prefix('v')?)?), name),
        None => (None, path),
    };
    let (service, action) = name.split_once('.')?;
    (is_word(service) && is_word(action)).then_some((version, name))
}

fn is_word(text: &str) -> bool {
    text.len() >= 2
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/debug.ping", None)]
    #[case("debug.ping", None)]
    #[case("/v2.20/debug.ping", Some(Version(2, 20)))]
    #[case("/v2.20/debug.ping/", Some(Version(2, 20)))]
    #[case("/v25/debug.ping", Some(Version(25, 0)))]
    fn understands(#[case] path: &str, #[case] version: Option<Version>) {
        assert_eq!(parse(path), Some((version, "debug.ping")));
    }

    #[rstest]
    #[case("/nodot")]
    #[case("/v2/debug.ping")]
    #[case("/2.20/debug.ping")]
    #[case("/v2.x/debug.ping")]
    #[case("/debug.ping.pong")]
    #[case("/1debug.ping")]
    #[case("/d.ping")]
    #[case("/")]
    #[case("")]
    fn refuses(#[case] path: &str) {
        assert_eq!(parse(path), None);
    }
}
