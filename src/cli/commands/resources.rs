//! Networks, volumes, and the instance as a whole.

use serde_json::json;
use time::OffsetDateTime;

use super::each;
use crate::cli::args::{ListArgs, QuietListArgs, ResetArgs};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::{render, spec};
use crate::client::Client;
use crate::model::Name;
use crate::model::spec::VolumeSpec;
use crate::wire::native::{Create, Reset};

pub(super) async fn networks(client: &Client, args: &QuietListArgs, output: Output) -> Result<i32, CliError> {
    let mut networks = client.networks().await?;
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    if args.json {
        output.json(&networks)?;
    } else if args.quiet {
        for network in networks {
            output.line(network.name.as_str())?;
        }
    } else {
        output.text(render::resources::networks(&networks, output.colour))?;
    }
    Ok(0)
}

pub(super) async fn remove_networks(client: &Client, names: &[String], output: Output) -> Result<i32, CliError> {
    each(names, output, async |name: &str| {
        client.remove_network(name).await?;
        Ok(name.to_owned())
    })
    .await
}

pub(super) async fn volumes(client: &Client, args: &QuietListArgs, output: Output) -> Result<i32, CliError> {
    let mut volumes = client.volumes().await?;
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    if args.json {
        output.json(&volumes)?;
    } else if args.quiet {
        for volume in volumes {
            output.line(volume.name.as_str())?;
        }
    } else {
        output.text(render::resources::volumes(&volumes, OffsetDateTime::now_utc(), output.colour))?;
    }
    Ok(0)
}

pub(super) async fn create_volumes(
    client: &Client,
    names: Vec<Name>,
    labels: &[String],
    output: Output,
) -> Result<i32, CliError> {
    let labels = spec::labels(labels)?;
    for name in names {
        let volume = Create { name, spec: VolumeSpec { labels: labels.clone() } };
        client.create_volume(&volume).await?;
        output.line(volume.name.as_str())?;
    }
    Ok(0)
}

pub(super) async fn remove_volumes(client: &Client, names: &[String], output: Output) -> Result<i32, CliError> {
    each(names, output, async |name: &str| {
        client.remove_volume(name).await?;
        Ok(name.to_owned())
    })
    .await
}

pub(super) async fn reset(client: &Client, args: &ResetArgs) -> Result<i32, CliError> {
    client.reset(&Reset { volumes: args.volumes }).await?;
    Ok(0)
}

pub(super) async fn info(client: &Client, args: &ListArgs, output: Output) -> Result<i32, CliError> {
    let info = client.info().await?;
    if args.json {
        output.json(&info)?;
        return Ok(0);
    }
    let limits = match info.controllers.as_slice() {
        [] => "no limits can be kept".to_owned(),
        some => some.join(" "),
    };
    output.line(format!("version   {}", info.version))?;
    output.line(format!("kernel    {}", info.kernel))?;
    output.line(format!("rootless  {}", if info.rootless { "yes" } else { "no" }))?;
    output.line(format!("state     {}", info.state_dir))?;
    output.line(format!("run       {}", info.run_dir))?;
    output.line(format!("cgroups   {}: {limits}", info.cgroups))?;
    Ok(0)
}

pub(super) async fn version(client: &Client, args: &ListArgs, output: Output) -> Result<i32, CliError> {
    let own = env!("CARGO_PKG_VERSION");
    // An engine in this process is this program.
    let daemon = if client.is_embedded() { None } else { Some(client.version().await?) };
    if args.json {
        output.json(&json!({"version": own, "daemon": daemon}))?;
    } else {
        output.line(format!("setpoint {own}"))?;
        match daemon {
            Some(daemon) => output.line(format!("daemon   {} (process {})", daemon.version, daemon.pid))?,
            None => output.line("daemon   not running")?,
        }
    }
    Ok(0)
}
