//! COPY and ADD: their flags, sources and destination, and the heredocs among the sources.

use super::error::{At, Cause};
use super::flags::{Flags, Takes};
use super::heredoc::{self, Heredoc};
use super::instruction::{json_word, word};
use super::lines::Line;
use super::split::{Arguments, Raw};
use super::syntax::{AddFiles, CopyFiles, Document, Transfer, Word};
use crate::engine::build::ignore::Ignore;

pub(super) fn copy(line: &Line, raw: &Raw<'_>, heredocs: Vec<Heredoc>) -> Result<CopyFiles, At> {
    let known = [
        ("chown", Takes::Value),
        ("chmod", Takes::Value),
        ("link", Takes::Switch),
        ("exclude", Takes::Values),
        ("from", Takes::Value),
        ("parents", Takes::Switch),
    ];
    let flags = Flags::read(line, raw, &known)?;
    let from = flags.value("from").filter(|from| !from.text.is_empty());
    if let Some(from) = from.as_ref().filter(|from| from.text.contains('$')) {
        return Err(At::new(from.place, Cause::FlagVariable { flag: "from" }));
    }
    Ok(CopyFiles { files: transfer(line, raw, &flags, heredocs)?, from, parents: flags.switch("parents").unwrap_or(false) })
}

pub(super) fn add(line: &Line, raw: &Raw<'_>, heredocs: Vec<Heredoc>) -> Result<AddFiles, At> {
    let known = [
        ("chown", Takes::Value),
        ("chmod", Takes::Value),
        ("link", Takes::Switch),
        ("exclude", Takes::Values),
        ("checksum", Takes::Value),
        ("keep-git-dir", Takes::Switch),
        ("unpack", Takes::Switch),
    ];
    let flags = Flags::read(line, raw, &known)?;
    let files = transfer(line, raw, &flags, heredocs)?;
    let checksum = flags.value("checksum").filter(|checksum| !checksum.text.is_empty());
    if let Some(checksum) = checksum.as_ref().filter(|_| files.sources.len() != 1 || !files.documents.is_empty()) {
        let why = "it is that of one source, and here is another number of them".to_owned();
        let value = checksum.text.chars().take(80).collect();
        return Err(At::new(checksum.place, Cause::FlagContent { flag: "checksum", value, why, hint: None }));
    }
    Ok(AddFiles { files, checksum, keep_git_dir: flags.switch("keep-git-dir"), unpack: flags.switch("unpack") })
}

fn transfer(line: &Line, raw: &Raw<'_>, flags: &Flags, heredocs: Vec<Heredoc>) -> Result<Transfer, At> {
    let is_json = matches!(raw.arguments, Arguments::Json(..));
    let mut words: Vec<Word> = match &raw.arguments {
        Arguments::Words(words) => words.iter().map(|slice| word(line, *slice)).collect(),
        Arguments::Json(words, slice) => words.iter().map(|text| json_word(line, text, *slice)).collect(),
        _ => Vec::new(),
    };
    let destination = words.pop().filter(|_| !words.is_empty()).ok_or_else(|| {
        let needs = "at least one source, and after it a destination";
        line.at(raw.written.at, Cause::Arguments { instruction: raw.keyword, needs })
    })?;
    let header = |word: &Word| if is_json { None } else { heredoc::header(&word.text).ok().flatten() };
    if header(&destination).is_some() {
        return Err(At::new(destination.place, Cause::HeredocDestination));
    }
    let (mut sources, mut documents) = (Vec::new(), Vec::new());
    let mut heredocs = heredocs.into_iter().peekable();
    for word in words {
        let announced = header(&word).and_then(|header| heredocs.next_if(|heredoc| heredoc.name == header.name));
        match announced {
            Some(heredoc) => {
                let content = heredoc.body();
                documents.push(Document { name: heredoc.name, content, expand: heredoc.expand, place: word.place });
            }
            None => sources.push(word),
        }
    }
    if let Some(adrift) = heredocs.next() {
        return Err(line.at(raw.written.at, Cause::HeredocAdrift { name: adrift.name }));
    }
    let mut exclude = Vec::new();
    for pattern in flags.values("exclude") {
        Ignore::of_patterns([pattern.text.as_str()]).map_err(|error| At::new(pattern.place, Cause::Exclude(error)))?;
        exclude.push(pattern.text);
    }
    Ok(Transfer {
        sources,
        documents,
        destination,
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.switch("link").unwrap_or(false),
        exclude,
    })
}
