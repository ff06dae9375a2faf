//! `attach` and `start -a`: a container that is there, with its streams here.

use super::each;
use super::session::{self, End, Input, Signals, Wishes};
use crate::cli::args::{AttachArgs, ProxyArgs, StartArgs};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::spec::SpecError;
use crate::client::Client;
use crate::wire::native::Attach;

pub(super) async fn attach(client: &Client, args: AttachArgs, output: Output) -> Result<i32, CliError> {
    let to = Attach { start: false, reap: false, stdin: !args.no_stdin };
    join(client, &args.name, to, args.proxy, output).await
}

pub(super) async fn start(client: &Client, args: StartArgs, output: Output) -> Result<i32, CliError> {
    if args.checkpoint.is_some() || args.checkpoint_dir.is_some() {
        let advice = "leave it out: what runs cannot be saved and gone on with";
        return Err(SpecError::Refused { flag: "--checkpoint", advice }.into());
    }
    if !args.attach && !args.interactive {
        return each(&args.names, output, async |name: &str| {
            client.start(name).await?;
            Ok(name.to_owned())
        })
        .await;
    }
    let [name] = args.names.as_slice() else { return Err(CliError::AttachToSeveral) };
    let to = Attach { start: true, reap: false, stdin: args.interactive };
    join(client, name, to, args.proxy, output).await
}

async fn join(client: &Client, name: &str, mut to: Attach, proxy: ProxyArgs, output: Output) -> Result<i32, CliError> {
    let container = client.container(name).await?;
    let spec = &container.spec;
    // One whose input is not open reads nothing, whoever sends it something.
    to.stdin &= spec.stdin_open;
    // Whether it can be attached to at all comes before what our side has for that.
    let early = match (to.start, container.state.is_running() && !container.paused) {
        (false, false) => Some(client.attach(container.id.as_str(), &to).await?),
        _ => None,
    };
    let wishes = Wishes {
        input: Input::of(to.stdin, spec.tty)?,
        stdout: true,
        stderr: true,
        tty: spec.tty,
        redraw: !to.start,
        keys: proxy.detach_keys.unwrap_or_default(),
    };
    let signals = Signals::catch(proxy.sig_proxy)?;
    let session = match early {
        Some(session) => session,
        None => client.attach(container.id.as_str(), &to).await?,
    };
    let end: End = session::pump(session, signals, wishes, output).await?;
    Ok(end.told(output))
}
