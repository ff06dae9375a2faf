//! `stats`: what containers use, once or again and again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::args::StatsArgs;
use crate::cli::error::CliError;
use crate::cli::format::Format;
use crate::cli::output::Output;
use crate::cli::render;
use crate::client::Client;
use crate::model::ContainerId;
use crate::wire::verbs::Sample;

/// Between two looks. The share of the processors is that of this time.
const PAUSE: Duration = Duration::from_secs(1);
/// Clears what is below, and goes back to the first line. Source: ECMA-48, ED and CUP.
const ANEW: &str = "\u{1b}[H\u{1b}[J";

pub(super) async fn stats(client: &Client, args: &StatsArgs, output: Output) -> Result<i32, CliError> {
    render::stats::KIND.check(&args.format)?;
    let mut before = samples(client, args).await?;
    // A table on a screen is drawn anew in its place; everything else goes on and on.
    let in_place = output.live && !args.no_stream && matches!(args.format, Format::Table | Format::TableOf(_));
    loop {
        tokio::time::sleep(PAUSE).await;
        let now = samples(client, args).await?;
        let earlier: BTreeMap<&ContainerId, &Sample> = before.iter().map(|sample| (&sample.id, sample)).collect();
        let rows: Vec<_> =
            now.iter().map(|sample| render::stats::row(sample, earlier.get(&sample.id).copied(), args.no_trunc)).collect();
        let text = render::stats::KIND.render(&rows, &args.format, render::stats::SHOWN, output.colour)?;
        output.text(if in_place { format!("{ANEW}{text}") } else { text })?;
        if args.no_stream {
            return Ok(0);
        }
        before = now;
    }
}

async fn samples(client: &Client, args: &StatsArgs) -> Result<Vec<Sample>, CliError> {
    let mut samples = client.stats(&args.names).await?;
    // Who is named is shown, whether it runs or not.
    samples.retain(|sample| sample.running || args.all || !args.names.is_empty());
    Ok(samples)
}
