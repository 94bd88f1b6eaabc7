//! `mica plan`: what the coordinator would do now.

use mica_model::Placement;
use mica_proto::convert::Invalid;
use mica_proto::v1;
use serde::Serialize;

use super::connect::Connection;
use super::fail::Fail;
use super::format::Format;
use super::output;
use super::table::{Column, Table, column};
use super::view::{Place, Unmet, model, reasons};

/// A plan as shown.
#[derive(Debug, Serialize)]
struct Plan {
    changes: Vec<Change>,
    queues: Vec<Queue>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    node: String,
    gpu_index: u32,
    gpu_uuid: String,
    product: String,
    enable_mig: bool,
    destroy: Vec<NamedSlice>,
    create: Vec<NamedSlice>,
}

#[derive(Debug, Serialize)]
struct NamedSlice {
    profile: String,
    placement: Place,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    tenant: String,
    name: String,
    wanted: u32,
    served_idle: u32,
    served_new: u32,
    unmet: Vec<Unmet>,
}

/// Prints the plan of this moment.
pub(super) async fn plan(connection: &Connection, format: Option<Format>) -> Result<(), Fail> {
    let reply = connection.open().await?.plan().await?;
    let plan = Plan::try_from(reply).map_err(Fail::Nonsense)?;
    let text = match format {
        Some(format) => format.object("Plan", &plan)?,
        None => plan.text(),
    };
    output::print(&text)
}

impl TryFrom<v1::PlanReply> for Plan {
    type Error = Invalid;

    fn try_from(reply: v1::PlanReply) -> Result<Self, Invalid> {
        let change = |change: v1::GpuChange| {
            Ok(Change {
                node: change.node,
                gpu_index: change.index,
                gpu_uuid: change.uuid,
                product: change.product,
                enable_mig: change.enable_mig,
                destroy: slices(change.destroy)?,
                create: slices(change.create)?,
            })
        };
        let queue = |queue: v1::QueuePlan| Queue {
            tenant: queue.tenant,
            name: queue.name,
            wanted: queue.wanted,
            served_idle: queue.served_idle,
            served_new: queue.served_new,
            unmet: queue.unmet.iter().map(Unmet::from).collect(),
        };
        Ok(Self {
            changes: reply
                .changes
                .into_iter()
                .map(change)
                .collect::<Result<_, _>>()?,
            queues: reply.queues.into_iter().map(queue).collect(),
        })
    }
}

fn slices(slices: Vec<v1::NamedSlice>) -> Result<Vec<NamedSlice>, Invalid> {
    slices
        .into_iter()
        .map(|slice| {
            let placement = slice.placement.unwrap_or_default();
            Ok(NamedSlice {
                profile: slice.profile,
                placement: Placement::try_from(placement)?.into(),
            })
        })
        .collect()
}

const CHANGES: [Column; 4] = [
    column("GPU"),
    column("MODEL"),
    column("DESTROY"),
    column("CREATE"),
];

const QUEUES: [Column; 7] = [
    column("TENANT"),
    column("QUEUE"),
    column("WANTED"),
    column("SERVED-IDLE"),
    column("SERVED-NEW"),
    column("UNMET"),
    column("REASON"),
];

impl Plan {
    fn text(&self) -> String {
        let changes = if self.changes.is_empty() {
            "nothing to change\n".to_owned()
        } else {
            let rows: Vec<_> = self.changes.iter().map(Change::row).collect();
            Table::new(&CHANGES, false).rows(&rows)
        };
        let rows: Vec<_> = self.queues.iter().map(Queue::row).collect();
        let queues = Table::new(&QUEUES, false).rows(&rows);
        let details: String = self.queues.iter().flat_map(Queue::details).collect();
        let parts = [changes, queues, details];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("\n")
    }
}

impl Change {
    fn row(&self) -> Vec<String> {
        let names = |slices: &[NamedSlice]| {
            slices
                .iter()
                .map(|slice| format!("{} {}", slice.profile, slice.placement))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let mode = if self.enable_mig {
            "(enables MIG) "
        } else {
            ""
        };
        vec![
            format!("{}/{}", self.node, self.gpu_index),
            model(&self.product),
            names(&self.destroy),
            format!("{mode}{}", names(&self.create)),
        ]
    }
}

impl Queue {
    fn row(&self) -> Vec<String> {
        let [unmet, reason, _] = reasons(&self.unmet);
        vec![
            self.tenant.clone(),
            self.name.clone(),
            self.wanted.to_string(),
            self.served_idle.to_string(),
            self.served_new.to_string(),
            unmet,
            reason,
        ]
    }

    /// Why requests stay unmet, a line for each reason.
    fn details(&self) -> impl Iterator<Item = String> {
        self.unmet.iter().map(|unmet| {
            let (tenant, name) = (&self.tenant, &self.name);
            format!("{tenant}/{name}: {unmet}\n")
        })
    }
}
