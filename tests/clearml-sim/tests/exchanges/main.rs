//! Every exchange recorded from the real open-source server 2.3.0, its clients' among them, in the order in which they took place:
//! status, codes, message, version and the shape of the data must be those of the real server.
//!
//! `recorded/condense.py` made the files from the recordings. Identifiers and keys are those of the real server; what stands for them
//! here is learned from the answers.

#![cfg(test)]

mod compare;
mod world;

use serde::Deserialize;
use serde_json::{Map, Value};

use world::World;

/// The recordings, in the order in which they were made.
const RECORDINGS: [(&str, &str); 8] = [
    ("01-protocol", include_str!("recorded/01-protocol.json")),
    ("02-auth", include_str!("recorded/02-auth.json")),
    (
        "03-users-credentials",
        include_str!("recorded/03-users-credentials.json"),
    ),
    ("04-queues", include_str!("recorded/04-queues.json")),
    (
        "05-workers-server",
        include_str!("recorded/05-workers-server.json"),
    ),
    (
        "07-sdk-apiclient",
        include_str!("recorded/07-sdk-apiclient.json"),
    ),
    (
        "06-k8s-glue-daemon",
        include_str!("recorded/06-k8s-glue-daemon.json"),
    ),
    (
        "08-paging-and-act-as",
        include_str!("recorded/08-paging-and-act-as.json"),
    ),
];

/// Where the answers differ.
const DIFFERENCES: [&str; 3] = [
    "create_user duplicate email",
    "create duplicate name",
    "duplicate name through the SDK",
];

/// Why they do.
const UNIQUE: &str = "the recorded server had a stand-in for MongoDB, whose words for a violation of uniqueness are others; ours are \
     those that the server makes of what MongoDB itself says";

/// One exchange.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) method: String,
    #[serde(default)]
    pub(crate) path: String,
    pub(crate) asker: Option<Asker>,
    #[serde(default)]
    pub(crate) headers: Map<String, Value>,
    #[serde(default)]
    pub(crate) query: Map<String, Value>,
    pub(crate) body: Option<Value>,
    pub(crate) raw: Option<String>,
    #[serde(default)]
    pub(crate) status: u16,
    pub(crate) code: Option<u16>,
    pub(crate) subcode: Option<u32>,
    pub(crate) message: Option<String>,
    pub(crate) version: Option<Value>,
    pub(crate) data: Option<Value>,
    /// Number of rows of the one list in the data, where that alone was kept.
    pub(crate) rows: Option<usize>,
    /// Of `server.endpoints`, which was kept as a digest: endpoints with their versions.
    pub(crate) endpoints: Option<Map<String, Value>>,
}

/// Who asks.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase", untagged)]
pub(crate) enum Asker {
    /// The owner of some keys, or the access key itself with its secret.
    Keys {
        keys: String,
        secret: Option<String>,
    },
    /// The last token that this user, or the first user, was given.
    Token { token: String },
    /// A header as it stands.
    Header { header: String },
}

#[tokio::test]
async fn every_exchange_is_as_recorded() {
    let mut world = World::new().await;
    let mut count = 0;
    let (mut wrong, mut accepted) = (Vec::new(), Vec::new());
    for (file, text) in RECORDINGS {
        let exchanges: Vec<Exchange> = serde_json::from_str(text).unwrap();
        world.prepare(file);
        for exchange in &exchanges {
            let problems = world.play(exchange).await;
            count += 1;
            let allowed = DIFFERENCES.iter().any(|name| *name == exchange.name);
            assert!(
                !allowed || !problems.is_empty(),
                "{}: no longer differs",
                exchange.name
            );
            if !problems.is_empty() {
                let list = if allowed { &mut accepted } else { &mut wrong };
                list.push(format!(
                    "{file}: {}: {}",
                    exchange.name,
                    problems.join("; ")
                ));
            }
        }
    }
    println!(
        "{count} exchanges recorded from the real server, of {} recordings: status, code, subcode, message, version, shape of data",
        RECORDINGS.len()
    );
    println!("{} differ: {UNIQUE}", accepted.len());
    for difference in &accepted {
        println!("  {difference}");
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!((count, accepted.len()), (187, DIFFERENCES.len()));
}
