//! `adopt`: manifests of what runs here already, in setpoint itself or in Docker. What is setpoint's own becomes the stack's, and
//! goes on running; of Docker's nothing is touched.

use std::path::Path;

use super::convert::write;
use super::stacks::load_whole;
use crate::cli::args::{AdoptArgs, StackFiles};
use crate::cli::docker;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::client::{Client, ClientError};
use crate::manifest::print::Origins;
use crate::manifest::{self, Desired, Placed};
use crate::model::Name;
use crate::model::spec::{ContainerSpec, ImageSource, ImageSpec, Mount, NetworkSpec, Pull, VolumeSpec};
use crate::wire::verbs::{Adopt, Adopted};

pub(super) async fn adopt(client: &Client, args: &AdoptArgs, output: Output) -> Result<i32, CliError> {
    let stack = match (&args.stack, &args.out) {
        (Some(stack), _) => stack.clone(),
        (None, Some(folder)) => named_after(folder)?,
        (None, None) => "adopted".parse().map_err(|_| CliError::NothingToAdopt)?,
    };
    let desired = match &args.from {
        None => of_setpoint(client, &args.containers, stack, output).await?,
        Some(socket) => {
            let (desired, warnings) = docker::read(socket, &args.containers, &stack).await?;
            warnings.iter().for_each(|warning| output.warning(warning));
            desired
        }
    };
    if desired.containers.is_empty() {
        return Err(CliError::NothingToAdopt);
    }
    write(&desired, &Origins::default(), args.out.as_deref(), output)?;
    let Some(folder) = &args.out else {
        output.note("nothing is adopted yet: with --out DIR the manifests are written, and the containers become the stack's");
        return Ok(0);
    };
    let files = StackFiles { path: Some(folder.clone()), file: Vec::new(), profile: Vec::new(), stack: None, scale: Vec::new() };
    let again = load_whole(&files, output)?.desired;
    if let Some(name) = desired.containers.iter().find_map(|(name, placed)| differs(placed, &again, name).then_some(name)) {
        return Err(CliError::NotDescribed { name: name.clone() });
    }
    if args.from.is_none() {
        for name in desired.containers.keys() {
            let adopted = client.adopt(name.as_str(), &Adopt { stack: desired.stack.clone(), take: true }).await?;
            output.line(format!("adopted {}", adopted.name))?;
        }
    }
    Ok(0)
}

/// A stack is called like the folder of its manifests.
fn named_after(folder: &Path) -> Result<Name, CliError> {
    let whole = std::path::absolute(folder).map_err(|source| CliError::Folder { path: folder.to_owned(), source })?;
    let text = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    manifest::stack_name(&text).ok_or(CliError::NoStackName { text })
}

/// Whether a container was read otherwise than it was printed. Whom it depends on follows from what it shares.
fn differs(placed: &Placed<ContainerSpec>, again: &Desired, name: &Name) -> bool {
    let plain = |spec: &ContainerSpec| {
        let mut spec = spec.clone();
        spec.depends_on.clear();
        spec.mounts.sort_by(|a, b| a.target().cmp(b.target()));
        spec
    };
    again
        .containers
        .get(name)
        .is_none_or(|read| plain(&read.spec) != plain(&placed.spec) || read.engine_name != placed.engine_name)
}

/// Containers that no stack has. What they are attached to and what they mount stays nobody's.
async fn of_setpoint(client: &Client, named: &[String], stack: Name, output: Output) -> Result<Desired, CliError> {
    let names: Vec<String> = match named {
        [] => {
            let all = client.containers().await?.into_iter();
            let free = all.filter(|container| container.owner.is_none() && container.state.is_alive());
            free.map(|container| container.name.to_string()).collect()
        }
        named => named.to_vec(),
    };
    let mut desired = Desired::empty(stack.clone());
    for text in names {
        let Adopted { name, spec } = match client.adopt(&text, &Adopt { stack: stack.clone(), take: false }).await {
            Ok(adopted) => adopted,
            // Of those that nobody has named, some cannot be had.
            Err(ClientError::Refused(body)) if named.is_empty() => {
                output.warning(format!("{text} is left out: {}", body.message));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for network in spec.networks.keys() {
            let placed = Placed { engine_name: network.clone(), external: true, spec: NetworkSpec::default() };
            desired.networks.insert(network.clone(), placed);
        }
        for mount in &spec.mounts {
            if let Mount::Volume { source, .. } = mount {
                let placed = Placed { engine_name: source.clone(), external: true, spec: VolumeSpec::default() };
                desired.volumes.insert(source.clone(), placed);
            }
        }
        let taken = |known: &Name| desired.images.get(known).is_some_and(|image| image.reference != spec.image);
        if let Some(pulled) = manifest::pulled_name(&spec.image, taken) {
            let image = ImageSpec::new(spec.image.clone(), ImageSource::Pull(Pull::default()));
            desired.images.insert(pulled, image);
        }
        desired.containers.insert(name.clone(), Placed { engine_name: name, external: false, spec });
    }
    Ok(desired)
}
