//! `evergate failover`: let a peer have a virtual address, in order.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use evergate_control::snapshot::VipStatus;
use evergate_sys::clock;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Node;
use super::client::{Client, Failure};
use super::screen::{Paint, Palette, show, show_json};
use super::time::parse_time;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long is waited unless the command line says otherwise.
const WAIT_DEFAULT: &str = "15s";

/// Lets a peer have a virtual address; without a name every address that this node has.
///
/// The peer claims it first, then this node lets go of it: no request is lost. Waits until another
/// node has it, and exits with 1 if none has taken it.
#[derive(clap::Args)]
pub(crate) struct Failover {
    /// Name in `[vip.NAME]`; those with the same `sync` move with it.
    vip: Option<String>,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    node: Node,
}

/// How long a command waits for what comes of it.
#[derive(clap::Args)]
pub(super) struct Patience {
    /// Do not wait for what comes of it.
    #[arg(long)]
    no_wait: bool,
    /// How long to wait.
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = WAIT_DEFAULT)]
    wait: Duration,
}

/// What the node is going to do, a line for each step.
#[derive(Deserialize, Serialize)]
pub(super) struct Plan {
    plan: Vec<String>,
}

#[derive(Deserialize)]
struct State {
    vips: Vec<VipStatus>,
}

impl Failover {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.node.client()?;
        let order = json!({ "vip": self.vip });
        give_up(&self.node, &client, ("/api/v1/failover", &order), &self.patience)
    }
}

/// Has the node give addresses up, and waits until it has none of those that it had and another
/// node has them.
pub(super) fn give_up(
    node: &Node,
    client: &Client,
    (path, order): (&str, &serde_json::Value),
    patience: &Patience,
) -> anyhow::Result<ExitCode> {
    let before = look(client)?;
    let answer = self::order(node, client, (path, order))?;
    if patience.no_wait {
        answer.show_json(node)?;
        return Ok(ExitCode::SUCCESS);
    }
    let palette = Palette::of_stdout();
    let named = order.get("vip").and_then(serde_json::Value::as_str);
    let moving: Vec<VipStatus> = moving(before, named);
    let now = watch(client, &moving, patience.wait)?;
    let is_done = now.iter().all(has_moved);
    if node.json {
        show_json(&now)?;
    } else {
        for vip in &now {
            show(&palette.lines(Paint::Normal, "", &last_words(vip)))?;
        }
    }
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tells the node what is wanted, and shows people what it is going to do.
pub(super) fn order(
    node: &Node,
    client: &Client,
    (path, order): (&str, &serde_json::Value),
) -> anyhow::Result<Plan> {
    let answer: Plan = client.send("POST", path, order)?;
    let palette = Palette::of_stdout();
    if !node.json {
        for line in &answer.plan {
            show(&palette.lines(Paint::Dim, "", line))?;
        }
    }
    Ok(answer)
}

impl Plan {
    /// Shows programs what the node is going to do.
    pub(super) fn show_json(&self, node: &Node) -> anyhow::Result<()> {
        if node.json {
            show_json(self)?;
        }
        Ok(())
    }
}

/// Those that this node has and that are to move: the one of this name and all that move with it,
/// or every one.
fn moving(vips: Vec<VipStatus>, named: Option<&str>) -> Vec<VipStatus> {
    let sync = named
        .and_then(|name| vips.iter().find(|vip| vip.name == name).and_then(|vip| vip.sync.clone()));
    let is_meant = |vip: &VipStatus| match named {
        None => true,
        Some(name) => vip.name == name || sync.is_some() && vip.sync == sync,
    };
    vips.into_iter().filter(|vip| vip.role == "master" && is_meant(vip)).collect()
}

fn look(client: &Client) -> Result<Vec<VipStatus>, Failure> {
    client.get("/api/v1/vips").map(|state: State| state.vips)
}

/// Looks until all of them have moved, or time is up; how they are then.
fn watch(client: &Client, moving: &[VipStatus], wait: Duration) -> anyhow::Result<Vec<VipStatus>> {
    let began = clock::now();
    loop {
        let vips = look(client)?;
        let of_these = |vip: &VipStatus| moving.iter().any(|one| one.name == vip.name);
        let now: Vec<VipStatus> = vips.into_iter().filter(of_these).collect();
        if now.iter().all(has_moved) || clock::now() - began > wait {
            return Ok(now);
        }
        sleep(LOOK_EVERY);
    }
}

/// Whether another node has it, and this one nothing of it.
fn has_moved(vip: &VipStatus) -> bool {
    vip.role != "master" && vip.master.is_some() && vip.addresses.iter().all(|one| !one.is_here)
}

fn last_words(vip: &VipStatus) -> String {
    let VipStatus { name, role, .. } = vip;
    match (&vip.master, role.as_str()) {
        (_, "master") => format!("{name}: this node still has it: {}", vip.reason),
        (Some(master), _) if !has_moved(vip) => {
            format!("{name}: {} has it; this node still finishes what it began", master.address)
        }
        (Some(master), _) => format!("{name}: {} has it", master.address),
        (None, _) => format!("{name}: no other node has taken it; this one is {role}"),
    }
}

#[cfg(test)]
mod tests {
    use evergate_control::snapshot::{VipAddressStatus, VipMaster};

    use super::*;

    fn vip(name: &str, role: &str, sync: Option<&str>) -> VipStatus {
        let address = VipAddressStatus { address: "10.0.0.100/24".into(), is_here: false };
        VipStatus {
            name: name.into(),
            role: role.into(),
            sync: sync.map(str::to_owned),
            addresses: vec![address],
            ..VipStatus::default()
        }
    }

    #[test]
    fn what_moves_together_is_waited_for_together() {
        let vips = || {
            vec![
                vip("a", "master", Some("pair")),
                vip("b", "master", Some("pair")),
                vip("c", "master", None),
                vip("d", "backup", None),
            ]
        };
        let names = |named| -> Vec<String> {
            moving(vips(), named).into_iter().map(|vip| vip.name).collect()
        };
        assert_eq!(names(Some("a")), ["a", "b"]);
        assert_eq!(names(Some("c")), ["c"]);
        assert_eq!(names(Some("d")), [""; 0]);
        assert_eq!(names(None), ["a", "b", "c"]);
    }

    #[test]
    fn an_address_has_moved_once_another_node_has_it_and_this_one_nothing_of_it() {
        let mut one = vip("web", "backup", None);
        assert!(!has_moved(&one));
        assert_eq!(last_words(&one), "web: no other node has taken it; this one is backup");
        one.master = Some(VipMaster { address: "10.0.0.12".into(), priority: 253 });
        assert!(has_moved(&one));
        assert_eq!(last_words(&one), "web: 10.0.0.12 has it");
        one.addresses[0].is_here = true;
        assert!(!has_moved(&one));
        assert!(last_words(&one).ends_with("still finishes what it began"));
        one.role = "master".into();
        one.reason = "no successor is ready".into();
        assert_eq!(last_words(&one), "web: this node still has it: no successor is ready");
    }
}
