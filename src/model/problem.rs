//! What is wrong with a text that somebody wrote, said so that it can be put right: file, line, column, the line itself and a
//! hint. Knows nothing of what the text means.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong, or doubtful, at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    /// From 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How many characters are meant, at least 1.
    pub width: usize,
    /// The line as it stands in the file; empty when the file as a whole is meant.
    pub snippet: String,
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl Problem {
    /// Several lines of text: the place, the message, the offending line with the place marked, and the hint.
    pub fn render(&self, colour: bool) -> String {
        let paint = |code: &str, text: &str| {
            if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
        };
        if self.line == 0 {
            let mut text = format!("{}: {}", self.file.display(), paint("1", &self.message));
            if let Some(hint) = &self.hint {
                text.push_str(&format!("\n  = {}", paint("36", hint)));
            }
            return text;
        }
        let place = format!("{}:{}:{}", self.file.display(), self.line, self.column);
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        // A very long line is shown around the place only.
        let skipped = if self.column > 100 { self.column - 40 } else { 0 };
        let shown: String = self.snippet.chars().skip(skipped).take(140).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let lead = " ".repeat(self.column.saturating_sub(1 + skipped));
        let room = shown.chars().count().saturating_sub(lead.len()).max(1);
        let marks = "^".repeat(self.width.clamp(1, room));
        let bar = paint("34", "|");
        let mut text = format!(
            "{place}: {}\n {margin} {bar}\n {number} {bar} {shown}\n {margin} {bar} {lead}{}",
            paint("1", &self.message),
            paint("31", &marks),
        );
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n {margin} {} {}", paint("34", "="), paint("36", hint)));
        }
        text
    }
}

/// The hint for a word that is not among those known: the nearest one, where one is near.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let near = known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()) / 3 + usize::from(candidate.len() < 6))
        .min()?;
    Some(format!("did you mean `{}`?", near.1))
}

/// How many insertions, deletions, replacements and swaps of neighbours lie between two words, upper and lower case alike.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().take(64).flat_map(char::to_lowercase).collect();
    let mut rows: [Vec<usize>; 3] = [vec![0; b.len() + 1], (0..=b.len()).collect(), vec![0; b.len() + 1]];
    for i in 1..=a.len() {
        rows[2][0] = i;
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[1][j] + 1).min(rows[2][j - 1] + 1).min(rows[1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[0][j - 2] + 1);
            }
            rows[2][j] = best;
        }
        rows.rotate_left(1);
    }
    rows[1][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["ports", "image", "command", "volumes", "environment"];
        assert_eq!(did_you_mean("port", known).unwrap(), "did you mean `ports`?");
        assert_eq!(did_you_mean("iamge", known).unwrap(), "did you mean `image`?");
        assert_eq!(did_you_mean("enviroment", known).unwrap(), "did you mean `environment`?");
        assert_eq!(did_you_mean("Volumes", known).unwrap(), "did you mean `volumes`?");
        assert_eq!(did_you_mean("zzzzz", known), None);
        assert_eq!(did_you_mean("x", known), None);
    }
}
