//! The resources that `update` is asked for: a document, or options one by one.

use std::io::Read;
use std::path::Path;

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::OciCliError;
use super::args::UpdateArgs;
use crate::files;
use crate::model::ByteSize;

pub(super) fn of(args: &UpdateArgs) -> Result<LinuxResources, OciCliError> {
    let (path, value) = match &args.resources {
        Some(path) if path == Path::new("-") => {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text).map_err(OciCliError::step("read standard input"))?;
            (path.as_path(), text)
        }
        Some(path) => (path.as_path(), files::read(path)?),
        None => (Path::new("options"), options(args)?.to_string().into_bytes()),
    };
    serde_json::from_slice(&value).map_err(|source| OciCliError::Document { path: path.to_owned(), source })
}

/// Only what is given: the rest stays as it is.
fn options(args: &UpdateArgs) -> Result<Value, OciCliError> {
    let refused = [
        ("--kernel-memory", &args.kernel_memory, "kernels count it as memory; set --memory"),
        ("--kernel-memory-tcp", &args.kernel_memory_tcp, "kernels count it as memory; set --memory"),
        ("--l3-cache-schema", &args.l3_cache_schema, "resctrl is not supported; leave it out"),
        ("--mem-bw-schema", &args.mem_bw_schema, "resctrl is not supported; leave it out"),
    ];
    if let Some((what, _, reason)) = refused.into_iter().find(|(_, value, _)| value.is_some()) {
        return Err(OciCliError::Argument { what, reason: reason.to_owned() });
    }
    let mut cpu = Map::new();
    let mut put = |name: &str, value: Option<Value>| value.map(|value| cpu.insert(name.to_owned(), value));
    put("shares", args.cpu_share.map(Value::from));
    put("period", args.cpu_period.map(Value::from));
    put("quota", args.cpu_quota.map(Value::from));
    put("burst", args.cpu_burst.map(Value::from));
    put("realtimePeriod", args.cpu_rt_period.map(Value::from));
    put("realtimeRuntime", args.cpu_rt_runtime.map(Value::from));
    put("idle", args.cpu_idle.map(Value::from));
    put("cpus", args.cpuset_cpus.clone().map(Value::from));
    put("mems", args.cpuset_mems.clone().map(Value::from));
    let mut memory = Map::new();
    let given = [("limit", &args.memory), ("reservation", &args.memory_reservation), ("swap", &args.memory_swap)];
    for (name, value) in given {
        if let Some(text) = value {
            memory.insert(name.to_owned(), bytes(text)?.into());
        }
    }
    let mut all = Map::new();
    if !cpu.is_empty() {
        all.insert("cpu".to_owned(), cpu.into());
    }
    if !memory.is_empty() {
        all.insert("memory".to_owned(), memory.into());
    }
    if let Some(limit) = args.pids_limit {
        // In a document 0 is as good as none; here somebody has typed it, and the process that there is counts already.
        let limit = if limit == 0 { 1 } else { limit };
        all.insert("pids".to_owned(), json!({ "limit": limit }));
    }
    if let Some(weight) = args.blkio_weight {
        all.insert("blockIO".to_owned(), json!({ "weight": weight }));
    }
    if all.is_empty() {
        return Err(OciCliError::Argument {
            what: "update",
            reason: "say what is to be different, or give --resources".to_owned(),
        });
    }
    Ok(all.into())
}

fn bytes(text: &str) -> Result<i64, OciCliError> {
    if text == "-1" {
        return Ok(-1);
    }
    let size = text.parse::<ByteSize>().ok().and_then(|size| i64::try_from(size.0).ok());
    size.ok_or_else(|| OciCliError::Argument {
        what: "update",
        reason: format!("{text:?} is no size; write 5m, or -1 for no limit"),
    })
}
