//! Arguments of the commands about stacks.

use std::path::PathBuf;

use clap::Args;

use crate::model::Name;

/// Which manifests.
#[derive(Clone, Debug, Args)]
pub struct ValidateArgs {
    /// A folder of manifests, one manifest, or a compose file
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// The stack's name [default: what the manifests say, else the folder's name]
    #[arg(long, value_name = "NAME")]
    pub stack: Option<Name>,
    /// Print the resolved stack as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// A folder of manifests, one manifest, or a compose file
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// The stack's name [default: what the manifests say, else the folder's name]
    #[arg(long, value_name = "NAME")]
    pub stack: Option<Name>,
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
    /// Save the plan, so that `apply FILE` does exactly this or refuses
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// A folder of manifests, one manifest, a compose file, or a plan that `plan --out` saved
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// The stack's name [default: what the manifests say, else the folder's name]
    #[arg(long, value_name = "NAME")]
    pub stack: Option<Name>,
    /// Print one JSON event a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct DestroyArgs {
    /// The manifests whose stack is meant
    #[arg(value_name = "PATH", required_unless_present = "stack")]
    pub path: Option<PathBuf>,
    /// The stack's name; enough without the manifests
    #[arg(long, value_name = "NAME")]
    pub stack: Option<Name>,
    /// Remove its volumes too, with all their data
    #[arg(long)]
    pub volumes: bool,
    /// Print one JSON event a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Only this stack
    #[arg(value_name = "STACK")]
    pub stack: Option<Name>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct SchemaArgs {
    /// Write one file a kind into this folder, instead of all to stdout
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
