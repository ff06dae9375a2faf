//! The process that `exec` is asked for: a whole document, or the container's own with what the options change.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxCapabilities, Process, User};

use super::OciCliError;
use super::args::ExecArgs;
use crate::files;

pub(super) fn of(args: &ExecArgs, own: impl FnOnce() -> Result<Process, OciCliError>) -> Result<Process, OciCliError> {
    if let Some(path) = &args.process {
        let text = files::read(path)?;
        return serde_json::from_slice(&text).map_err(|source| OciCliError::Document { path: path.clone(), source });
    }
    if args.command.is_empty() {
        return Err(OciCliError::Argument { what: "exec", reason: "give a command, or --process FILE".to_owned() });
    }
    let mut process = own()?;
    process.set_args(Some(args.command.clone())).set_terminal(Some(args.tty));
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    for line in &args.env {
        // Without a value it is that of the caller.
        let line = match line.split_once('=') {
            Some(_) => line.clone(),
            None => format!("{line}={}", std::env::var(line).unwrap_or_default()),
        };
        let name = line.split('=').next().unwrap_or_default();
        env.retain(|old| old.split('=').next() != Some(name));
        env.push(line);
    }
    process.set_env(Some(env));
    if let Some(user) = &args.user {
        process.set_user(user_of(user, process.user())?);
    }
    if !args.additional_gids.is_empty() {
        let mut user = process.user().clone();
        user.set_additional_gids(Some(args.additional_gids.clone()));
        process.set_user(user);
    }
    if args.process_label.is_some() {
        process.set_selinux_label(args.process_label.clone());
    }
    if args.apparmor.is_some() {
        process.set_apparmor_profile(args.apparmor.clone());
    }
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if !args.cap.is_empty() {
        add(&mut process, &args.cap)?;
    }
    Ok(process)
}

fn user_of(text: &str, old: &User) -> Result<User, OciCliError> {
    let number = |part: &str| {
        let reason = format!("{text:?} is not UID[:GID], both numbers");
        part.parse::<u32>().map_err(|_| OciCliError::Argument { what: "--user", reason })
    };
    let mut user = old.clone();
    match text.split_once(':') {
        Some((uid, gid)) => user.set_uid(number(uid)?).set_gid(number(gid)?),
        None => user.set_uid(number(text)?),
    };
    Ok(user)
}

/// Into the sets that a program has them from, and not into those that it passes on.
fn add(process: &mut Process, names: &[String]) -> Result<(), OciCliError> {
    let mut wanted: HashSet<Capability> = HashSet::new();
    for name in names {
        let plain = name.to_ascii_uppercase();
        let plain = plain.strip_prefix("CAP_").unwrap_or(&plain);
        let known = plain.parse::<Capability>();
        wanted.insert(known.map_err(|_| OciCliError::Argument { what: "--cap", reason: format!("{name:?} is none") })?);
    }
    let mut sets: LinuxCapabilities = process.capabilities().clone().unwrap_or_default();
    let with = |set: &Option<HashSet<Capability>>| -> Option<HashSet<Capability>> {
        Some(set.iter().flatten().copied().chain(wanted.iter().copied()).collect())
    };
    let (bounding, effective, permitted) = (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    process.set_capabilities(Some(sets));
    Ok(())
}
