//! Reads how containers are replaced: `deploy.update_config` and `deploy.rollback_config` of one, and `update` of a whole stack.
//! What both say is joined here, and what cannot be is refused.

use crate::model::spec::{FailureAction, NetworkMode, Order, Ratio, Update};
use crate::model::{Name, Span};

use super::declared::{Container, Declared, Resource};
use super::fields::{self, Table};
use super::problem::{Place, Problems};
use super::reader::Reader;
use super::tree::Node;

/// What is said; what is not is as usual, or as the stack says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// How many are replaced at a time. `None` is all.
    pub(super) parallelism: Option<u32>,
    order: Option<(Order, Place)>,
    delay: Option<Span>,
    monitor: Option<Span>,
    failure_action: Option<FailureAction>,
    max_failure_ratio: Option<Ratio>,
    group: Option<Name>,
}

impl Given {
    /// The same, and of what is not said what another one says.
    fn over(self, under: &Self) -> Self {
        Self {
            parallelism: self.parallelism,
            order: self.order.or(under.order),
            delay: self.delay.or(under.delay),
            // The one without the other would be half of what was meant.
            monitor: self.monitor.or(if self.failure_action.is_some() { None } else { under.monitor }),
            failure_action: self.failure_action.or(under.failure_action),
            max_failure_ratio: self.max_failure_ratio.or(under.max_failure_ratio),
            group: self.group,
        }
    }

    /// `name` is that of a container of which there are several.
    fn whole(self, several: Option<&Name>) -> Update {
        let usual = if self.failure_action.is_some() { Update::MONITOR } else { Span::default() };
        let max_failure_ratio = self.max_failure_ratio.unwrap_or_default();
        let counted = several.filter(|_| max_failure_ratio != Ratio::default());
        Update {
            order: self.order.map(|(order, _)| order).unwrap_or_default(),
            delay: self.delay.unwrap_or_default(),
            monitor: self.monitor.unwrap_or(usual),
            failure_action: self.failure_action.unwrap_or_default(),
            max_failure_ratio,
            group: self.group.or(counted.cloned()),
        }
    }
}

const ORDERS: [(&str, Order); 2] = [("stop-first", Order::StopFirst), ("start-first", Order::StartFirst)];
const ACTIONS: [(&str, FailureAction); 3] =
    [("pause", FailureAction::Pause), ("continue", FailureAction::Continue), ("rollback", FailureAction::Rollback)];

pub(super) fn update(reader: &mut Reader, node: &Node) -> Given {
    read(reader, node, &fields::UPDATE, &ACTIONS)
}

/// There is no way back from the way back.
pub(super) fn rollback(reader: &mut Reader, node: &Node) -> Given {
    read(reader, node, &fields::ROLLBACK, &ACTIONS[..2])
}

/// What is said of all containers of a stack.
pub(super) fn of_stack(reader: &mut Reader, node: &Node) -> Given {
    read(reader, node, &fields::STACK_UPDATE, &ACTIONS)
}

fn read(reader: &mut Reader, node: &Node, table: &'static Table, actions: &[(&str, FailureAction)]) -> Given {
    let Some(f) = reader.fields(node, table) else { return Given::default() };
    // What all containers of a stack have in common is neither their number nor their names.
    let own = |name: &str| if table.has(name) { f.get(name) } else { None };
    let parallelism = own("parallelism").and_then(|node| {
        let number = u32::try_from(reader.integer(node)?).ok();
        if number.is_none() {
            reader.error(node.at, "`parallelism` is a number from 0 on");
        }
        number.filter(|number| *number > 0)
    });
    Given {
        parallelism,
        order: own("order").and_then(|node| Some((reader.choice(node, &ORDERS)?, node.at))),
        delay: f.get("delay").and_then(|node| reader.parse(node)),
        monitor: f.get("monitor").and_then(|node| reader.parse(node)),
        failure_action: f.get("failure_action").and_then(|node| reader.choice(node, actions)),
        max_failure_ratio: f.get("max_failure_ratio").and_then(|node| reader.parse(node)),
        group: own("group").and_then(|node| reader.parse(node)),
    }
}

/// Says of each container how it is replaced.
pub(super) fn settle(declared: &mut Declared, problems: &mut Problems) {
    let of_stack = declared.update.take().unwrap_or_default();
    for container in &mut declared.containers {
        let several = container.body.replicas.filter(|replicas| replicas.count > 1).map(|_| container.name.clone());
        let update = std::mem::take(&mut container.body.update).over(&of_stack);
        let rollback = container.body.rollback.take();
        for given in [Some(&update), rollback.as_ref()].into_iter().flatten() {
            if let Some((Order::StartFirst, at)) = given.order {
                refuse_two_at_once(container, at, problems);
            }
        }
        let body = &mut container.body;
        body.parallelism = (update.parallelism, rollback.as_ref().map(|given| given.parallelism));
        body.spec.update_config = update.whole(several.as_ref());
        body.spec.rollback_config = rollback.map(|given| given.whole(several.as_ref()));
    }
}

/// Reports why two editions of a container cannot be there at the same time.
fn refuse_two_at_once(container: &Resource<Container>, at: Place, problems: &mut Problems) {
    let Container { spec, networks, .. } = &container.body;
    let mut refuse = |why: String, hint: &str| {
        let hint = format!("write `order: stop-first`, or {hint}");
        problems.error_hint(at, format!("two of `{}` cannot be there at once: {why}", container.name), hint);
    };
    if let Some(address) = networks.iter().flatten().find_map(|(.., attachment)| attachment.fixed().next()) {
        refuse(format!("both would have the address {address}"), "remove `ipv4_address` and `ipv6_address`");
    }
    if let Some(address) = spec.mac_address {
        refuse(format!("both would have a link with the address {address}"), "remove `mac_address`");
    }
    let shares = [
        ("network_mode", matches!(spec.network_mode, NetworkMode::Container(_))),
        ("pid", spec.pid.container().is_some()),
        ("ipc", spec.ipc.container().is_some()),
        ("volumes_from", !spec.volumes_from.is_empty()),
    ];
    for (field, _) in shares.into_iter().filter(|(_, shared)| *shared) {
        refuse(format!("`{field}` ties it to another container, and it is replaced with that one"), &format!("remove `{field}`"));
    }
}
