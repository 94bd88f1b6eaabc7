//! A login: the token and how long it lasts.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde::Deserialize;

/// A token is renewed when a tenth of its life is left, so that calls do not fail because of it, ...
const RENEW_BEFORE: u32 = 10;
/// ... and a second earlier, because the server counts its life from the last full second before it gave the token.
const ROUNDING: Duration = Duration::from_secs(1);

/// What `auth.login` gave.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// Stands for the keys in the calls that follow.
    pub(super) secret: SecretString,
    /// Which login it was.
    pub(super) number: u64,
    /// When to log in again; `None`: lasts until the server refuses it.
    renew: Option<Instant>,
}

/// The claims that matter, both in seconds since 1970 by the clock of the server.
#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    iat: Option<f64>,
}

impl Token {
    /// Takes a token that was asked for at `asked`.
    pub(super) fn new(token: String, number: u64, asked: Instant) -> Self {
        let renew = life(&token).and_then(|life| {
            let use_for = life.saturating_sub(life / RENEW_BEFORE + ROUNDING);
            asked.checked_add(use_for)
        });
        Self {
            secret: token.into(),
            number,
            renew,
        }
    }

    /// Whether it is better to log in again than to use it.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        self.renew.is_some_and(|renew| now >= renew)
    }
}

/// How long a JSON web token lasts, read without verifying: the server alone has the key, and a wrong value harms only us. Taken as
/// a duration, so that the clocks of the two machines need not agree.
fn life(token: &str) -> Option<Duration> {
    let payload = token.split('.').nth(1)?;
    let json = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&json).ok()?;
    Duration::try_from_secs_f64((claims.exp? - claims.iat?).max(0.0)).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[rstest]
    #[case::an_hour(r#"{"iat":1795487750,"exp":1795491350}"#, Some(3600))]
    #[case::fractions(r#"{"iat":0.5,"exp":2.5}"#, Some(2))]
    #[case::born_dead(r#"{"iat":10,"exp":5}"#, Some(0))]
    #[case::for_ever(r#"{"iat":1795487750}"#, None)]
    #[case::unknown_birth(r#"{"exp":1795487750}"#, None)]
    #[case::beyond_time(r#"{"iat":0,"exp":1e300}"#, None)]
    #[case::not_json("hello", None)]
    fn reads_how_long_a_token_lasts(#[case] claims: &str, #[case] seconds: Option<u64>) {
        assert_eq!(life(&token(claims)), seconds.map(Duration::from_secs));
    }

    #[rstest]
    #[case("")]
    #[case("opaque")]
    #[case("a.!!!.c")]
    fn takes_any_text_for_a_token(#[case] text: &str) {
        let now = Instant::now();
        assert!(!Token::new(text.to_owned(), 0, now).is_old(now + Duration::from_secs(1 << 30)));
    }

    #[test]
    fn is_old_before_it_expires() {
        let now = Instant::now();
        let token = Token::new(token(r#"{"iat":1000,"exp":1100}"#), 0, now);
        assert!(!token.is_old(now + Duration::from_secs(88)));
        assert!(token.is_old(now + Duration::from_secs(89)));
    }
}
