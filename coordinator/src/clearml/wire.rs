//! The form of ClearML's answers.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::{Entry, QueueBacklog};

/// System tag of queues that ClearML's own page hides.
const HIDDEN: &str = "k8s-glue";

/// Around every answer, good or bad.
#[derive(Deserialize)]
pub(super) struct Envelope {
    pub(super) meta: Meta,
    #[serde(default)]
    pub(super) data: serde_json::Value,
}

#[derive(Deserialize)]
pub(super) struct Meta {
    #[serde(rename = "result_code")]
    pub(super) code: u16,
    #[serde(default, rename = "result_subcode")]
    pub(super) subcode: u32,
    #[serde(default, rename = "result_msg")]
    pub(super) message: String,
}

/// `data` of `auth.login`.
#[derive(Deserialize)]
pub(super) struct Login {
    pub(super) token: String,
}

/// One element of a listing.
pub(super) trait Row: Sized {
    /// `data` of the listing.
    type List: DeserializeOwned;
    fn rows(list: Self::List) -> Vec<Self>;
    fn id(&self) -> &str;
}

/// `data` of `queues.get_all`.
#[derive(Deserialize)]
pub(super) struct Queues {
    queues: Vec<Queue>,
}

#[derive(Deserialize)]
pub(super) struct Queue {
    id: String,
    name: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    system_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    entries: Vec<QueueEntry>,
}

#[derive(Deserialize)]
struct QueueEntry {
    task: String,
    #[serde(deserialize_with = "date")]
    added: Timestamp,
}

impl Row for Queue {
    type List = Queues;

    fn rows(list: Queues) -> Vec<Self> {
        list.queues
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl Queue {
    pub(super) fn is_hidden(&self) -> bool {
        self.system_tags.iter().any(|tag| tag == HIDDEN)
    }

    pub(super) fn into_backlog(self) -> QueueBacklog {
        let entries = self.entries.into_iter();
        QueueBacklog {
            id: self.id,
            name: self.name,
            entries: entries
                .map(|QueueEntry { task, added }| Entry { task, added })
                .collect(),
        }
    }
}

/// `data` of `tasks.get_all`.
#[derive(Deserialize)]
pub(super) struct Tasks {
    tasks: Vec<Task>,
}

#[derive(Deserialize)]
pub(super) struct Task {
    id: String,
    execution: Option<Execution>,
}

#[derive(Deserialize)]
struct Execution {
    queue: Option<String>,
}

impl Row for Task {
    type List = Tasks;

    fn rows(list: Tasks) -> Vec<Self> {
        list.tasks
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl Task {
    /// The queue it came from; `None` when it was started without one.
    pub(super) fn into_queue(self) -> Option<String> {
        self.execution?.queue
    }
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn date<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(from)?;
    parse_date(&text).map_err(serde::de::Error::custom)
}

/// ClearML writes `2026-11-24T02:35:50.506000+00:00`; older servers leave out the fraction when it is zero, or the offset, and then
/// mean UTC.
fn parse_date(text: &str) -> Result<Timestamp, jiff::Error> {
    text.parse().or_else(|error| {
        let Ok(civil) = text.parse::<DateTime>() else {
            return Err(error);
        };
        Ok(civil.to_zoned(TimeZone::UTC)?.timestamp())
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::recorded("2026-11-24T02:35:50.506000+00:00")]
    #[case::zulu("2026-11-24T02:35:50.506Z")]
    #[case::elsewhere("2026-11-24T04:35:50.506+02:00")]
    #[case::no_offset("2026-11-24T02:35:50.506")]
    #[case::no_offset_but_a_space("2026-11-24 02:35:50.506")]
    fn reads_dates(#[case] text: &str) {
        let date = parse_date(text).unwrap();
        assert_eq!(date.as_millisecond(), 1_795_487_750_506);
    }

    #[rstest]
    #[case("2026-11-24T02:35:50+00:00")]
    #[case("2026-11-24T02:35:50")]
    fn reads_dates_without_a_fraction(#[case] text: &str) {
        assert_eq!(parse_date(text).unwrap().as_second(), 1_795_487_750);
    }

    #[rstest]
    #[case("")]
    #[case("yesterday")]
    #[case("2026-13-24T02:35:50Z")]
    fn refuses_what_is_no_date(#[case] text: &str) {
        parse_date(text).unwrap_err();
    }

    #[test]
    fn reads_recorded_queues() {
        let data = r#"{"queues": [
            {"entries": [], "id": "186a5363f8af4cc48f08dc9612734de9", "name": "default", "system_tags": ["default"]},
            {"entries": [{"task": "d432d829c2f0497eadcea5ddaba9f59c", "added": "2026-11-24T02:35:50.506000+00:00"}],
             "id": "052c1b1f67914eb3bf3cc962392df8bd", "name": "gpu-fraction-0_50", "system_tags": []},
            {"entries": null, "id": "61e5213d2aad4343aba6f1abe80d7dad", "name": "k8s_scheduler", "system_tags": ["k8s-glue"]}
        ]}"#;
        let rows = Queue::rows(serde_json::from_str(data).unwrap());
        let hidden: Vec<bool> = rows.iter().map(Queue::is_hidden).collect();
        assert_eq!(hidden, [false, false, true]);
        let waiting: Vec<usize> = rows
            .into_iter()
            .map(|queue| queue.into_backlog().entries.len())
            .collect();
        assert_eq!(waiting, [0, 1, 0]);
    }

    #[test]
    fn reads_tasks_with_and_without_a_queue() {
        let data = r#"{"tasks": [{"id": "a", "execution": {"queue": "q"}}, {"id": "b", "execution": {}}, {"id": "c"}]}"#;
        let rows = Task::rows(serde_json::from_str(data).unwrap());
        let queues: Vec<Option<String>> = rows.into_iter().map(Task::into_queue).collect();
        assert_eq!(queues, [Some("q".to_owned()), None, None]);
    }
}
