//! `inspect`: all that is known of things, as a JSON array, whatever they are.

use serde_json::Value;

use crate::cli::args::{ImageInspectArgs, InspectArgs, InspectContainersArgs, InspectType};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::render;
use crate::cli::template::{Subject, Template};
use crate::client::{Client, ClientError};
use crate::wire::native::ErrorKind;

pub(super) async fn any(client: &Client, args: &InspectArgs, output: Output) -> Result<i32, CliError> {
    use InspectType::{Container, Image, Network, Volume};
    let kinds: &[InspectType] = match &args.kind {
        Some(kind) => std::slice::from_ref(kind),
        None => &[Container, Image, Network, Volume],
    };
    look(client, &args.names, kinds, &Look { format: args.format.as_deref(), sizes: args.size }, output).await
}

pub(super) async fn networks(client: &Client, names: &[String], output: Output) -> Result<i32, CliError> {
    show(client, names, &[InspectType::Network], output).await
}

pub(super) async fn containers(client: &Client, args: &InspectContainersArgs, output: Output) -> Result<i32, CliError> {
    let how = Look { format: args.format.as_deref(), sizes: args.size };
    look(client, &args.names, &[InspectType::Container], &how, output).await
}

pub(super) async fn images(client: &Client, args: &ImageInspectArgs, output: Output) -> Result<i32, CliError> {
    let how = Look { format: args.format.as_deref(), sizes: false };
    look(client, &args.images, &[InspectType::Image], &how, output).await
}

pub(super) async fn volumes(client: &Client, names: &[String], output: Output) -> Result<i32, CliError> {
    show(client, names, &[InspectType::Volume], output).await
}

async fn show(client: &Client, names: &[String], kinds: &[InspectType], output: Output) -> Result<i32, CliError> {
    look(client, names, kinds, &Look::default(), output).await
}

/// How what is found is shown.
#[derive(Default)]
struct Look<'a> {
    /// A template for each; all together as JSON without.
    format: Option<&'a str>,
    sizes: bool,
}

async fn look(client: &Client, names: &[String], kinds: &[InspectType], how: &Look<'_>, output: Output) -> Result<i32, CliError> {
    let template = how.format.map(|format| if format == "json" { "{{json .}}" } else { format });
    let template: Option<Template> = template.map(str::parse).transpose()?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    'names: for name in names {
        for kind in kinds {
            if let Some(value) = one(client, name, *kind, how.sizes).await? {
                found.push(value);
                continue 'names;
            }
        }
        let what = match kinds {
            [InspectType::Container] => "container",
            [InspectType::Image] => "image",
            [InspectType::Network] => "network",
            [InspectType::Volume] => "volume",
            _ => "container, image, network or volume",
        };
        missing.push(CliError::NotFound { what, name: name.clone() });
    }
    match template {
        None => output.json(&found)?,
        Some(template) => {
            for value in found {
                output.line(template.render(&Subject::new(value))?)?;
            }
        }
    }
    for error in &missing {
        output.error(&error.to_string(), error.hint().as_deref());
    }
    Ok(i32::from(!missing.is_empty()))
}

async fn one(client: &Client, name: &str, kind: InspectType, sizes: bool) -> Result<Option<Value>, CliError> {
    Ok(match kind {
        InspectType::Container => match client.details(name, sizes).await {
            Ok(details) => Some(render::inspect::container(&details).map_err(CliError::Encode)?),
            Err(ClientError::Refused(body)) if body.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        },
        InspectType::Image => match client.image(name).await {
            Ok(image) => Some(value(&image)?),
            Err(ClientError::Refused(body)) if body.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        },
        InspectType::Network => {
            let networks = client.networks().await?;
            let by_id = |id: &str| name.len() >= 4 && id.starts_with(name);
            let network = networks
                .iter()
                .find(|network| network.name.as_str() == name)
                .or_else(|| networks.iter().find(|network| by_id(&network.id)));
            network.map(value).transpose()?
        }
        InspectType::Volume => {
            client.volumes().await?.iter().find(|volume| volume.name.as_str() == name).map(value).transpose()?
        }
    })
}

fn value(thing: &impl serde::Serialize) -> Result<Value, CliError> {
    serde_json::to_value(thing).map_err(CliError::Encode)
}
