//! Control of a running server, outside of the API's paths and for callers on the same machine only:
//!
//! | path | `GET` | `POST` | `DELETE` |
//! |---|---|---|---|
//! | `/_sim/state` | the dump | replaces everything by a dump | |
//! | `/_sim/faults` | the rules that wait | adds a rule or a list of them | forgets them all |
//! | `/_sim/requests` | the log | | empties it |

use std::error::Error as _;

use axum::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{faults::FaultRule, state::State};

/// Where all paths of this module begin.
const ROOT: &str = "/_sim/";

/// One rule, or some.
#[derive(Deserialize)]
#[serde(untagged)]
enum Rules {
    Many(Vec<FaultRule>),
    One(FaultRule),
}

/// HTTP status and JSON body; `None`: the path is none of these.
pub(crate) fn answer(
    state: &State,
    method: &Method,
    path: &str,
    body: &[u8],
    is_local: bool,
) -> Option<(u16, Value)> {
    let what = path.strip_prefix(ROOT)?;
    if !is_local {
        return Some(error(403, "only for callers on the same machine"));
    }
    let done = || (200, json!({}));
    Some(match (method.as_str(), what) {
        ("GET", "state") => (200, state.dump()),
        ("POST", "state") => match restore(state, body) {
            Ok(()) => done(),
            Err(problem) => error(400, &problem),
        },
        ("GET", "faults") => (200, json!(state.faults().rules)),
        ("POST", "faults") => match serde_json::from_slice(body) {
            Ok(Rules::One(rule)) => {
                state.faults().rules.push_back(rule);
                done()
            }
            Ok(Rules::Many(rules)) => {
                state.faults().rules.extend(rules);
                done()
            }
            Err(_) => error(
                400,
                r#"not a rule such as {"fault": "drop", "endpoint": "auth.login", "after": 0, "times": 1}"#,
            ),
        },
        ("DELETE", "faults") => {
            state.heal();
            done()
        }
        ("GET", "requests") => (200, json!(state.requests())),
        ("DELETE", "requests") => {
            state.forget_requests();
            done()
        }
        (_, "state" | "faults" | "requests") => error(405, "no such method here"),
        _ => error(404, "no such path; there are state, faults and requests"),
    })
}

fn restore(state: &State, body: &[u8]) -> Result<(), String> {
    let dump: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    state.restore(&dump).map_err(|error| {
        let cause = error.source().map(ToString::to_string);
        format!("{error}: {}", cause.unwrap_or_default())
    })
}

fn error(code: u16, problem: &str) -> (u16, Value) {
    (code, json!({"error": problem}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_turned_away() {
        let ask = |is_local| {
            let answer = answer(&State::new(), &Method::GET, "/_sim/state", b"", is_local);
            answer.map(|(status, _)| status)
        };
        assert_eq!((ask(true), ask(false)), (Some(200), Some(403)));
    }

    #[test]
    fn paths_of_the_api_are_left_to_it() {
        let path = "/queues.get_all";
        assert!(answer(&State::new(), &Method::GET, path, b"", true).is_none());
    }
}
