//! `login`, `logout` and `search`. Passwords are checked and stored by this very process, in the home of whoever types
//! them; a daemon is told of them with each request that may need them, and keeps none.

use std::io::{self, BufRead, IsTerminal};

use crate::cli::args::{LoginArgs, LogoutArgs, SearchArgs};
use crate::cli::error::CliError;
use crate::cli::format::Format;
use crate::cli::output::Output;
use crate::cli::render::images::FOUND;
use crate::cli::select::{self, Filters, InvalidFilter};
use crate::cli::{render, terminal};
use crate::client::Client;
use crate::engine::images::{self, Given, Registries};
use crate::model::ImageRef;
use crate::wire::native::{Credentials, Search, Secret, Tags};

pub(super) fn login(args: &LoginArgs, output: Output) -> Result<i32, CliError> {
    let user = match &args.username {
        Some(user) => user.clone(),
        None => asked("Username: ", false, output)?,
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => line()?,
        None => asked("Password: ", true, output)?,
    };
    if user.is_empty() || password.is_empty() {
        return Err(CliError::NoPassword);
    }
    let registries = Registries::from_environment();
    let login = alone(registries.login(&args.server, &user, &password))?.map_err(|source| CliError::Registry(source.into()))?;
    output.line(format!("Logged in to {} as {user}", login.registry))?;
    if login.in_the_clear {
        output
            .warning(format!("the password is stored unencrypted in {}; a credential helper would keep it safer", login.stored));
    }
    Ok(0)
}

pub(super) fn logout(args: &LogoutArgs, output: Output) -> Result<i32, CliError> {
    let known =
        alone(Registries::from_environment().logout(&args.server))?.map_err(|source| CliError::Registry(source.into()))?;
    match known {
        true => output.line(format!("Logged out of {}", args.server))?,
        false => output.line(format!("Not logged in to {}", args.server))?,
    }
    Ok(0)
}

pub(super) async fn search(client: &Client, args: &SearchArgs, output: Output) -> Result<i32, CliError> {
    let format = args.format.clone().unwrap_or_default();
    FOUND.check(&format)?;
    let filters = Filters::new(&args.filter, &["is-automated", "is-official", "stars"])?;
    let (stars, official, automated) = (stars(&filters)?, filters.flag("is-official")?, filters.flag("is-automated")?);
    if args.list_tags {
        let reference: ImageRef = args.term.parse().map_err(CliError::Reference)?;
        let credentials = credentials(client, reference.registry()).await?;
        let tags = client.tags(&Tags { reference, credentials }).await?;
        match args.json {
            true => output.json(&tags)?,
            false => tags.iter().try_for_each(|tag| output.line(tag))?,
        }
        return Ok(0);
    }
    let host = args.term.split('/').next().filter(|host| host.contains([':', '.']) || *host == "localhost");
    let credentials = match host {
        Some(host) => credentials(client, host).await?,
        // Docker's search is for everybody.
        None => None,
    };
    let mut found = client.search(&Search { term: args.term.clone(), limit: args.limit, credentials }).await?;
    found.retain(|found| {
        found.stars >= stars
            && official.is_none_or(|official| official == found.official)
            // Registries do not build images any more.
            && automated != Some(true)
    });
    if args.json {
        output.json(&found)?;
        return Ok(0);
    }
    let plain = matches!(format, Format::Table | Format::TableOf(_));
    let rows = render::images::found(&found, args.no_trunc, plain);
    output.text(FOUND.render(&rows, &format, &["Name", "Description", "StarCount", "IsOfficial"], output.colour)?)?;
    Ok(0)
}

/// The least number of stars that is asked for.
fn stars(filters: &Filters<'_>) -> Result<u64, InvalidFilter> {
    let stars = filters.read("stars", |text| text.parse().map_err(|_| select::invalid("stars", text, "a number")))?;
    Ok(stars.0.into_iter().max().unwrap_or(0))
}

/// What this user has stored for a registry, for a daemon to use; an engine in this process finds it by itself.
pub(super) async fn credentials(client: &Client, registry: &str) -> Result<Option<Credentials>, CliError> {
    if client.is_embedded() {
        return Ok(None);
    }
    let found = Registries::from_environment().credentials(registry).await;
    let found = found.map_err(|source| CliError::Registry(source.into()))?;
    Ok(found.map(|Given { registry, credentials }| {
        let secret = match credentials {
            images::Credentials::Password { user, password } => Secret::Password { user, password },
            images::Credentials::Refresh(token) => Secret::Refresh(token),
            images::Credentials::Bearer(token) => Secret::Bearer(token),
        };
        Credentials { registry, secret }
    }))
}

/// Does a little work that needs no engine.
fn alone<T>(work: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?;
    Ok(runtime.block_on(work))
}

fn asked(prompt: &str, hidden: bool, output: Output) -> Result<String, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::NoPassword);
    }
    output.error_bytes(prompt.as_bytes())?;
    let _hidden = if hidden { Some(terminal::Silent::enter().map_err(CliError::Input)?) } else { None };
    let answer = line();
    if hidden {
        output.note("");
    }
    answer
}

/// A line of standard input, without its end.
fn line() -> Result<String, CliError> {
    let mut text = String::new();
    io::stdin().lock().read_line(&mut text).map_err(CliError::Input)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
