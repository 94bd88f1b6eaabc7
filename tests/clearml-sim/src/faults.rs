//! What goes wrong on purpose, and the log of what was asked.

use std::{collections::VecDeque, time::Duration};

use axum::http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    identity,
    store::{Session, Store},
};

/// Lines of the log that are kept.
const LOG_LINES: usize = 10_000;

/// What happens to a request: instead of its answer, after it, or just before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Fault {
    /// An error page, as a proxy before the server sends it.
    Status {
        /// HTTP status.
        code: u16,
        /// Header `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u32>,
    },
    /// The server's own envelope with an error; nothing was done.
    Refuse {
        /// HTTP status and `result_code`.
        code: u16,
        /// `result_subcode`.
        subcode: u32,
    },
    /// A web page with status 200, as when the address is that of the web server.
    WebPage,
    /// The connection ends without an answer; nothing was done.
    Drop,
    /// What was asked for is done, and the connection ends without an answer.
    DropAfterwards,
    /// The answer comes late.
    Slow {
        /// How much later, in milliseconds.
        millis: u64,
    },
    /// All tokens given so far expire before the request is looked at.
    ExpireTokens,
    /// The keys of the user who asks are revoked before the request is looked at; tokens stay good.
    RevokeKeys,
    /// The company of the user who asks is softly deleted (`active: false`) before the request is looked at.
    DeactivateCompany,
}

/// Which requests a fault happens to.
///
/// Rules stand in a queue. A request belongs to the first rule that its endpoint fits: that rule counts it, and no other does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// What happens.
    pub fault: Fault,
    /// Requests for this endpoint only, e.g. `queues.get_all`; or, with a star at the end, whose names begin so: `tenants.*`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// So many requests are answered as usual first.
    #[serde(default)]
    pub after: u32,
    /// So many requests are met.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

impl FaultRule {
    /// A fault that happens to the next request, whatever it is.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        let (endpoint, after, times) = (None, 0, once());
        Self {
            fault,
            endpoint,
            after,
            times,
        }
    }

    /// The same for one endpoint (see [`Self::endpoint`]).
    #[must_use]
    pub fn at(mut self, endpoint: &str) -> Self {
        self.endpoint = Some(endpoint.to_owned());
        self
    }

    /// The same after `requests` usual answers.
    #[must_use]
    pub fn after(mut self, requests: u32) -> Self {
        self.after = requests;
        self
    }

    /// The same `requests` times.
    #[must_use]
    pub fn times(mut self, requests: u32) -> Self {
        self.times = requests;
        self
    }

    fn fits(&self, endpoint: &str) -> bool {
        self.endpoint.as_deref().is_none_or(|wanted| {
            wanted
                .strip_suffix('*')
                .map_or(wanted == endpoint, |start| endpoint.starts_with(start))
        })
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Request {
    /// What was asked, e.g. `queues.get_all`; the path when it names no endpoint.
    pub endpoint: String,
    /// HTTP status of the answer; 0 when the connection was cut.
    pub status: u16,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Next one first.
    pub(crate) rules: VecDeque<FaultRule>,
    /// Before each answer.
    pub(crate) delay: Duration,
    pub(crate) log: VecDeque<Request>,
}

impl Faults {
    /// What happens to a request for an endpoint.
    pub(crate) fn take(&mut self, endpoint: &str) -> Option<Fault> {
        self.rules.retain(|rule| rule.times > 0);
        let rule = self.rules.iter_mut().find(|rule| rule.fits(endpoint))?;
        if let Some(left) = rule.after.checked_sub(1) {
            rule.after = left;
            return None;
        }
        rule.times = rule.times.checked_sub(1)?;
        Some(rule.fault)
    }

    pub(crate) fn log(&mut self, request: Request) {
        if self.log.len() >= LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back(request);
    }
}

/// Lets happen what changes the world before the request is looked at.
pub(crate) fn strike(store: &mut Store, fault: Fault, headers: &HeaderMap, now: Timestamp) {
    match fault {
        Fault::ExpireTokens => {
            for session in store.sessions.values_mut() {
                *session = Session::Expired;
            }
        }
        Fault::RevokeKeys => {
            if let Ok(caller) = identity::authenticate(store, headers, now) {
                store.keys.retain(|_, key| key.user != caller.user);
            }
        }
        Fault::DeactivateCompany => {
            if let Ok(caller) = identity::authenticate(store, headers, now) {
                store.tenant_mut(&caller.company).active = false;
            }
        }
        Fault::Status { .. }
        | Fault::Refuse { .. }
        | Fault::WebPage
        | Fault::Drop
        | Fault::DropAfterwards
        | Fault::Slow { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const BUSY: Fault = Fault::Refuse {
        code: 429,
        subcode: 0,
    };

    fn busy() -> FaultRule {
        FaultRule::new(BUSY)
    }

    /// Asks for `a.one`, `b.two`, `a.one`, … six times.
    fn met(rules: Vec<FaultRule>) -> Vec<usize> {
        let mut faults = Faults {
            rules: rules.into(),
            ..Faults::default()
        };
        let names = ["a.one", "b.two"].into_iter().cycle();
        let met = names.take(6).map(|name| faults.take(name).is_some());
        let met: Vec<bool> = met.collect();
        (0..6).filter(|index| met[*index]).collect()
    }

    #[rstest]
    #[case::once(vec![busy()], &[0])]
    #[case::never(vec![busy().times(0)], &[])]
    #[case::thrice(vec![busy().times(3)], &[0, 1, 2])]
    #[case::later(vec![busy().after(2)], &[2])]
    #[case::one_endpoint(vec![busy().at("b.two").times(2)], &[1, 3])]
    #[case::one_endpoint_later(vec![busy().at("b.two").after(1)], &[3])]
    #[case::one_service(vec![busy().at("a.*").times(9)], &[0, 2, 4])]
    #[case::whole_names(vec![busy().at("a.on").times(9)], &[])]
    #[case::one_after_the_other(vec![busy(), busy().after(1)], &[0, 2])]
    #[case::side_by_side(vec![busy().at("a.one").after(1), busy().at("b.two")], &[1, 2])]
    fn rules_choose_requests(#[case] rules: Vec<FaultRule>, #[case] expected: &[usize]) {
        assert_eq!(met(rules), expected);
    }

    #[test]
    fn the_first_rule_that_fits_counts_alone() {
        let other = FaultRule::new(Fault::Drop);
        let mut faults = Faults {
            rules: vec![busy().at("a.one"), other].into(),
            ..Faults::default()
        };
        let taken = ["b.two", "a.one", "a.one"].map(|name| faults.take(name));
        assert_eq!(taken, [Some(Fault::Drop), Some(BUSY), None]);
    }

    #[rstest]
    #[case::short(r#"{"fault": "drop"}"#, FaultRule::new(Fault::Drop))]
    #[case::long(
        r#"{"fault": {"status": {"code": 429, "retry_after": 3}}, "endpoint": "auth.*", "after": 1, "times": 2}"#,
        FaultRule::new(Fault::Status { code: 429, retry_after: Some(3) }).at("auth.*").after(1).times(2)
    )]
    fn rules_are_read_from_json(#[case] json: &str, #[case] rule: FaultRule) {
        assert_eq!(serde_json::from_str::<FaultRule>(json).unwrap(), rule);
    }

    #[rstest]
    #[case::unknown_field(r#"{"fault": "drop", "time": 2}"#)]
    #[case::unknown_fault(r#"{"fault": "fire"}"#)]
    #[case::unknown_field_of_a_fault(r#"{"fault": {"slow": {"seconds": 2}}}"#)]
    fn mistakes_in_rules_are_refused(#[case] json: &str) {
        assert!(serde_json::from_str::<FaultRule>(json).is_err());
    }
}
