//! What a build's commands write, made harmless: whole lines, without anything that moves the cursor, renames the window or
//! writes backwards. Colours stay where colours are wanted.

use unicode_width::UnicodeWidthChar;

const ESCAPE: char = '\u{1b}';
const RESET: &str = "\u{1b}[0m";
const TAB: usize = 8;
/// A line that does not end is shown in parts of so many bytes.
const LONGEST: usize = 16 << 10;

/// Cuts what comes in parts into lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    rest: String,
}

impl Lines {
    /// The lines that are whole now.
    pub(crate) fn take(&mut self, text: &str) -> Vec<String> {
        self.rest.push_str(text);
        let mut lines = Vec::new();
        if let Some(end) = self.rest.rfind('\n') {
            let open = self.rest.split_off(end + 1);
            lines.extend(self.rest[..end].split('\n').map(|line| last_of(line).to_owned()));
            self.rest = open;
        }
        // What has been written over is not seen again: a line that only counts is never too long.
        let seen = self.rest.trim_end_matches('\r').len() - last_of(&self.rest).len();
        self.rest.drain(..seen);
        if self.rest.len() > LONGEST {
            lines.push(last_of(&std::mem::take(&mut self.rest)).to_owned());
        }
        lines
    }

    /// What there is of a line that has not ended.
    pub(crate) fn open(&self) -> Option<&str> {
        Some(last_of(&self.rest)).filter(|text| !text.is_empty())
    }

    /// The last line, where it did not end.
    pub(crate) fn end(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        Some(last_of(&rest).to_owned()).filter(|text| !text.is_empty())
    }
}

/// What is left of a line that was written over itself, as programs do that count percents.
fn last_of(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    line.rsplit('\r').next().unwrap_or(line)
}

/// One line, harmless. With `colour`, what was coloured stays so, and what comes after it is not.
pub(crate) fn clean(line: &str, colour: bool) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    let mut column = 0;
    let mut painted = false;
    while let Some(c) = chars.next() {
        match c {
            ESCAPE => {
                if let Some(sequence) = escape(&mut chars)
                    && colour
                {
                    painted = true;
                    out.push_str(&sequence);
                }
            }
            '\u{9b}' => drop(control_sequence(&mut chars)),
            '\t' => {
                let blanks = TAB - column % TAB;
                out.extend(std::iter::repeat_n(' ', blanks));
                column += blanks;
            }
            c if c.is_control() || is_format(c) => {}
            c => {
                column += c.width().unwrap_or(0);
                out.push(c);
            }
        }
    }
    if painted {
        out.push_str(RESET);
    }
    out
}

/// Reads what follows ESC, and gives it whole where it is a colour.
fn escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    match chars.next()? {
        '[' => {
            let sequence = control_sequence(chars)?;
            let parameters = sequence.strip_suffix('m')?;
            let plain = parameters.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b';' | b':'));
            (plain && parameters.len() < 64).then(|| format!("{ESCAPE}[{sequence}"))
        }
        // Strings, such as the title of a window: to BEL or ESC \.
        ']' | 'P' | 'X' | '^' | '_' => {
            while let Some(c) = chars.next() {
                match c {
                    '\u{7}' | '\u{9c}' => break,
                    ESCAPE if chars.peek() == Some(&'\\') => {
                        chars.next();
                        break;
                    }
                    _ => {}
                }
            }
            None
        }
        // Two signs, or more where the second is only a beginning.
        ' '..='/' => {
            while chars.next().is_some_and(|c| (' '..='/').contains(&c)) {}
            None
        }
        _ => None,
    }
}

/// Parameters and the sign that ends them. `None` when there is no end.
fn control_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let mut sequence = String::new();
    while let Some(c) = chars.next_if(|c| (' '..='~').contains(c)) {
        sequence.push(c);
        if ('@'..='~').contains(&c) {
            return Some(sequence);
        }
    }
    None
}

/// What is not seen and changes how the rest is: marks of direction, separators of lines, and the like.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// How many columns a clean line takes.
pub fn width(line: &str) -> usize {
    parts(line)
        .map(|part| match part {
            Part::Sign(c) => c.width().unwrap_or(0),
            Part::Colour(_) => 0,
        })
        .sum()
}

/// A clean line in at most so many columns; where something is left out, it ends in `…`.
pub(crate) fn fit(line: &str, columns: usize) -> String {
    if width(line) <= columns {
        return line.to_owned();
    }
    let room = columns.saturating_sub(1);
    let (mut out, mut used, mut painted) = (String::new(), 0, false);
    for part in parts(line) {
        match part {
            Part::Colour(sequence) => {
                painted = true;
                out.push_str(sequence);
            }
            Part::Sign(c) => {
                used += c.width().unwrap_or(0);
                if used > room {
                    break;
                }
                out.push(c);
            }
        }
    }
    if columns > 0 {
        out.push('…');
    }
    if painted {
        out.push_str(RESET);
    }
    out
}

enum Part<'a> {
    Sign(char),
    Colour(&'a str),
}

fn parts(line: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let c = rest.chars().next()?;
        if c == ESCAPE
            && let Some(end) = rest.find('m')
        {
            let (sequence, after) = rest.split_at(end + 1);
            rest = after;
            return Some(Part::Colour(sequence));
        }
        rest = &rest[c.len_utf8()..];
        Some(Part::Sign(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_the_last_of_those_written_over_each_other() {
        let mut lines = Lines::default();
        assert_eq!(lines.take("one\ntw"), ["one"]);
        assert_eq!(lines.open(), Some("tw"));
        assert_eq!(lines.take("o\r\n10%\r50%\r100%\n\n"), ["two", "100%", ""]);
        assert_eq!(lines.take("1%\r2%"), Vec::<String>::new());
        assert_eq!(lines.open(), Some("2%"));
        assert_eq!(lines.end().as_deref(), Some("2%"));
        assert_eq!(lines.end(), None);
        assert_eq!(lines.take(&"x".repeat(LONGEST + 1)).len(), 1);
        for percent in 0..=LONGEST {
            assert_eq!(lines.take(&format!("{percent}%\r")), Vec::<String>::new());
        }
        assert_eq!(lines.take("\n"), [format!("{LONGEST}%")]);
    }

    #[test]
    fn nothing_moves_the_cursor_and_colours_end() {
        for (line, plain, coloured) in [
            ("plain ä 漢", "plain ä 漢", "plain ä 漢"),
            ("\u{1b}[1;31mred\u{1b}[0m x", "red x", "\u{1b}[1;31mred\u{1b}[0m x\u{1b}[0m"),
            ("\u{1b}[2J\u{1b}[10A\u{1b}[Hhome", "home", "home"),
            ("\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\b", "ab", "ab"),
            ("a\tb\u{8}\u{7}\u{b}c", "a       bc", "a       bc"),
            ("漢\tb", "漢      b", "漢      b"),
            ("\u{9b}31mx\u{9b}2Jy", "xy", "xy"),
            ("\u{1b}(Bx\u{1b}7y\u{1b}#8z", "xyz", "xyz"),
            ("\u{1b}[?25lx\u{1b}[>4;2my", "xy", "xy"),
            ("a\u{202e}b\u{2066}c\u{2028}d", "abcd", "abcd"),
            ("open\u{1b}[12", "open", "open"),
            ("open\u{1b}", "open", "open"),
        ] {
            assert_eq!(clean(line, false), plain, "{line:?}");
            assert_eq!(clean(line, true), coloured, "{line:?}");
        }
    }

    #[test]
    fn lines_fit() {
        assert_eq!(fit("abcdef", 6), "abcdef");
        assert_eq!(fit("abcdef", 5), "abcd…");
        assert_eq!(fit("漢字漢字", 5), "漢字…");
        assert_eq!(fit("漢字漢字", 4), "漢…");
        assert_eq!(fit("abc", 0), "");
        assert_eq!(fit("\u{1b}[31mabcdef\u{1b}[0m", 4), "\u{1b}[31mabc…\u{1b}[0m");
        assert_eq!(width("\u{1b}[31m漢x\u{1b}[0m"), 3);
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_harmless(text in "(\u{1b}|\\[|\\]|[0-9;?mHJ(]|\u{9b}|\u{7}|.){0,40}", columns in 0usize..12) {
            for colour in [false, true] {
                let clean = clean(&text, colour);
                let mut rest = clean.as_str();
                while let Some(at) = rest.find(ESCAPE) {
                    let after = &rest[at + 1..];
                    let end = after.find('m').unwrap();
                    proptest::prop_assert!(colour && after.starts_with('[') && after[1..end].bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':'));
                    rest = &after[end..];
                }
                proptest::prop_assert!(clean.chars().all(|c| c == ESCAPE || !c.is_control()));
                proptest::prop_assert!(width(&fit(&clean, columns)) <= columns);
            }
        }
    }
}
