//! RUN: its flags, its command and its heredocs.

use super::error::{At, Cause};
use super::flags::{Flags, Takes};
use super::heredoc::Heredoc;
use super::instruction::command_line;
use super::lines::Line;
use super::mounts::{self, MountOptions};
use super::split::Raw;
use super::syntax::{CommandLine, Device, Network, Run, SandboxMode, Word};
use crate::model::did_you_mean;

pub(super) fn run(line: &Line, raw: &Raw<'_>, heredocs: Vec<Heredoc>) -> Result<Run, At> {
    let known = [("mount", Takes::Values), ("network", Takes::Value), ("security", Takes::Value), ("device", Takes::Values)];
    let flags = Flags::read(line, raw, &known)?;
    let command = command_line(&raw.arguments).filter(|command| *command != CommandLine::Exec(Vec::new()));
    let command = command.ok_or_else(|| line.at(raw.written.at, Cause::Arguments { instruction: "RUN", needs: "a command" }))?;
    let network = [("default", Network::Default), ("none", Network::None), ("host", Network::Host)];
    let security = [("sandbox", SandboxMode::Sandbox), ("insecure", SandboxMode::Insecure)];
    Ok(Run {
        command,
        heredocs,
        mounts: flags.values("mount").map(MountOptions::read).collect::<Result<_, _>>()?,
        network: one_of("network", flags.value("network"), &network)?,
        security: one_of("security", flags.value("security"), &security)?,
        devices: flags.values("device").map(device).collect::<Result<_, _>>()?,
    })
}

/// The value that a word stands for; the default where none was given.
fn one_of<T: Copy + Default>(flag: &'static str, word: Option<Word>, known: &[(&'static str, T)]) -> Result<T, At> {
    let Some(word) = word else { return Ok(T::default()) };
    let names = || known.iter().map(|(name, _)| *name);
    known.iter().find(|(name, _)| *name == word.text).map(|(_, value)| *value).ok_or_else(|| {
        let why = format!("there are {}", names().collect::<Vec<_>>().join(", "));
        let hint = did_you_mean(&word.text, names());
        At::new(word.place, Cause::FlagContent { flag, value: word.text.chars().take(60).collect(), why, hint })
    })
}

/// `name`, `name=…`, and `required`.
fn device(word: Word) -> Result<Device, At> {
    let wrong = |why: &str| {
        let value = word.text.chars().take(60).collect();
        At::new(word.place, Cause::FlagContent { flag: "device", value, why: why.to_owned(), hint: None })
    };
    let mut device = Device { name: String::new(), required: false };
    for field in mounts::fields(&word.text).map_err(|error| wrong(&error.to_string()))? {
        match field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value))) {
            ("required", None) => device.required = true,
            ("required", Some(value)) => {
                device.required = mounts::truth(value).ok_or_else(|| wrong("`required` is `true` or `false`"))?;
            }
            ("name", Some(name)) if device.name.is_empty() => device.name = name.to_owned(),
            // A device of the form vendor/class=name.
            _ if device.name.is_empty() => device.name.clone_from(&field),
            _ => return Err(wrong("it has one name, and may have `required`")),
        }
    }
    if device.name.is_empty() { Err(wrong("it has no name")) } else { Ok(device) }
}
