//! From text to nodes.

use serde_json::{Number, Value};

use super::{TemplateError, functions};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Pipe),
    /// `$x := …` and `$x = …`, which print nothing.
    Set {
        name: String,
        declare: bool,
        pipe: Pipe,
    },
    If {
        /// Each with what it guards; the first that holds is taken.
        branches: Vec<(Pipe, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
    With {
        pipe: Pipe,
        variable: Option<String>,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        pipe: Pipe,
        /// One is the element, two are the index and the element.
        variables: Vec<String>,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// Commands, each of which is given what the one before it gives, as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipe(pub(super) Vec<Command>);

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    pub(super) head: Operand,
    pub(super) arguments: Vec<Operand>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Literal(Value),
    Function(String),
    /// A beginning, and the fields that are taken from there on.
    Path(Root, Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Root {
    Dot,
    /// `$` has the empty name.
    Variable(String),
    Pipe(Pipe),
}

/// How a list of nodes ends.
enum End {
    Text,
    Closed,
    Else,
    /// `else if`, with its condition.
    ElseIf(Pipe),
}

pub(super) fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { rest: text, trim: false };
    let (nodes, end) = parser.nodes()?;
    match end {
        End::Text => Ok(nodes),
        End::Closed => Err(parser.wrong("`end` without a beginning")),
        End::Else | End::ElseIf(_) => Err(parser.wrong("`else` without an `if`")),
    }
}

struct Parser<'a> {
    rest: &'a str,
    /// Whether the white space that comes next is left out, as `-}}` says.
    trim: bool,
}

impl Parser<'_> {
    fn wrong(&self, why: impl Into<String>) -> TemplateError {
        wrong(self.rest, why)
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, End), TemplateError> {
        let mut nodes = Vec::new();
        loop {
            let (text, action) = match self.rest.split_once("{{") {
                Some((text, action)) => (text, Some(action)),
                None => (self.rest, None),
            };
            let mut text = text;
            if std::mem::take(&mut self.trim) {
                text = text.trim_start();
            }
            let trims = action.is_some_and(|action| action.starts_with("- ") || action.starts_with("-\t"));
            if trims {
                text = text.trim_end();
            }
            if !text.is_empty() {
                // Shells hand on what people type.
                nodes.push(Node::Text(text.replace("\\t", "\t").replace("\\n", "\n")));
            }
            let Some(action) = action else {
                self.rest = "";
                return Ok((nodes, End::Text));
            };
            let action = if trims { &action[1..] } else { action };
            if let Some(comment) = action.trim_start().strip_prefix("/*") {
                let Some((_, after)) = comment.split_once("*/") else {
                    return Err(wrong(action, "the comment has no end"));
                };
                let after = after.trim_start();
                let (trim, after) = after.strip_prefix('-').map_or((false, after), |after| (true, after));
                self.trim = trim;
                self.rest = after.strip_prefix("}}").ok_or_else(|| wrong(after, "expected `}}` after a comment"))?;
                continue;
            }
            let (tokens, rest, trim) = tokens(action)?;
            self.rest = rest;
            self.trim = trim;
            if let Some(end) = self.action(&mut Tokens { all: &tokens, at: 0, near: action }, &mut nodes)? {
                return Ok((nodes, end));
            }
        }
    }

    fn action(&mut self, tokens: &mut Tokens<'_>, nodes: &mut Vec<Node>) -> Result<Option<End>, TemplateError> {
        let word = match tokens.all.first() {
            Some(Token::Word(word)) => word.as_str(),
            _ => "",
        };
        match word {
            "end" => {
                tokens.at = 1;
                tokens.finish()?;
                return Ok(Some(End::Closed));
            }
            "else" => {
                tokens.at = 1;
                if matches!(tokens.peek(), Some(Token::Word(word)) if word == "if") {
                    tokens.at = 2;
                    return Ok(Some(End::ElseIf(tokens.whole()?)));
                }
                tokens.finish()?;
                return Ok(Some(End::Else));
            }
            "if" => {
                tokens.at = 1;
                let mut condition = tokens.whole()?;
                let mut branches = Vec::new();
                let otherwise = loop {
                    let (body, end) = self.nodes()?;
                    branches.push((condition, body));
                    match end {
                        End::Text => return Err(self.wrong("`if` has no `end`")),
                        End::Closed => break Vec::new(),
                        End::Else => break self.until_end()?,
                        End::ElseIf(next) => condition = next,
                    }
                };
                nodes.push(Node::If { branches, otherwise });
            }
            "with" => {
                tokens.at = 1;
                let mut variables = tokens.declared(1)?;
                let pipe = tokens.whole()?;
                let (body, otherwise) = self.body("with")?;
                nodes.push(Node::With { pipe, variable: variables.pop(), body, otherwise });
            }
            "range" => {
                tokens.at = 1;
                let variables = tokens.declared(2)?;
                let pipe = tokens.whole()?;
                let (body, otherwise) = self.body("range")?;
                nodes.push(Node::Range { pipe, variables, body, otherwise });
            }
            "define" | "template" | "block" | "break" | "continue" => {
                return Err(wrong(tokens.near, format!("`{word}` is not supported here")));
            }
            _ => match (tokens.all.first(), tokens.all.get(1)) {
                (Some(Token::Variable(name)), Some(sign @ (Token::Declare | Token::Assign))) => {
                    let (name, declare) = (name.clone(), *sign == Token::Declare);
                    tokens.at = 2;
                    nodes.push(Node::Set { name, declare, pipe: tokens.whole()? });
                }
                _ => nodes.push(Node::Print(tokens.whole()?)),
            },
        }
        Ok(None)
    }

    fn body(&mut self, what: &str) -> Result<(Vec<Node>, Vec<Node>), TemplateError> {
        let (body, end) = self.nodes()?;
        match end {
            End::Closed => Ok((body, Vec::new())),
            End::Else => Ok((body, self.until_end()?)),
            End::Text => Err(self.wrong(format!("`{what}` has no `end`"))),
            End::ElseIf(_) => Err(self.wrong(format!("`else if` in a `{what}`"))),
        }
    }

    fn until_end(&mut self) -> Result<Vec<Node>, TemplateError> {
        match self.nodes()? {
            (nodes, End::Closed) => Ok(nodes),
            _ => Err(self.wrong("`else` has no `end`")),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// Fields in a row, as in `.State.Status`, right behind what they are taken from or on their own.
    Fields {
        names: Vec<String>,
        glued: bool,
    },
    Dot,
    Variable(String),
    Literal(Value),
    Open,
    Close,
    Pipe,
    Declare,
    Assign,
    Comma,
}

/// The tokens of an action, what comes after it, and whether white space there is left out.
fn tokens(action: &str) -> Result<(Vec<Token>, &str, bool), TemplateError> {
    let mut found = Vec::new();
    let mut rest = action;
    let mut glued = false;
    loop {
        let spaced = rest.trim_start();
        glued &= spaced.len() == rest.len();
        let blank = spaced.len() != rest.len();
        rest = spaced;
        let Some(first) = rest.chars().next() else { return Err(wrong(action, "`{{` without `}}`")) };
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok((found, after, false));
        }
        if let Some(after) = rest.strip_prefix("-}}").filter(|_| blank) {
            return Ok((found, after, true));
        }
        let word = |text: &str| text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        let (token, after) = match first {
            '(' => (Token::Open, &rest[1..]),
            ')' => (Token::Close, &rest[1..]),
            '|' => (Token::Pipe, &rest[1..]),
            ',' => (Token::Comma, &rest[1..]),
            '=' => (Token::Assign, &rest[1..]),
            ':' if rest.starts_with(":=") => (Token::Declare, &rest[2..]),
            '$' => {
                let end = 1 + word(&rest[1..]);
                (Token::Variable(rest[1..end].to_owned()), &rest[end..])
            }
            '.' => {
                let mut names = Vec::new();
                let mut after = rest;
                while let Some(name) = after.strip_prefix('.') {
                    let end = word(name);
                    if end == 0 {
                        break;
                    }
                    names.push(name[..end].to_owned());
                    after = &name[end..];
                }
                match names.is_empty() {
                    true => (Token::Dot, &rest[1..]),
                    false => (Token::Fields { names, glued }, after),
                }
            }
            '"' => {
                let end = quoted(rest).ok_or_else(|| wrong(rest, "the text has no end"))?;
                // JSON's escapes are those of Go that people use.
                let text = serde_json::from_str(&rest[..end]).map_err(|_| wrong(rest, "the text has an unknown escape"))?;
                (Token::Literal(text), &rest[end..])
            }
            '`' => {
                let end = rest[1..].find('`').ok_or_else(|| wrong(rest, "the text has no end"))?;
                (Token::Literal(Value::from(&rest[1..=end])), &rest[end + 2..])
            }
            c if c.is_ascii_digit() || c == '-' || c == '+' => {
                let sign = usize::from(!c.is_ascii_digit());
                let end = rest[sign..].find(|c: char| !(c.is_ascii_digit() || c == '.')).map_or(rest.len(), |end| end + sign);
                let number = rest[..end].strip_prefix('+').unwrap_or(&rest[..end]);
                let number: Number = number.parse().map_err(|_| wrong(rest, "expected a number"))?;
                (Token::Literal(Value::Number(number)), &rest[end..])
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = word(rest);
                let token = match &rest[..end] {
                    "true" => Token::Literal(Value::Bool(true)),
                    "false" => Token::Literal(Value::Bool(false)),
                    "nil" => Token::Literal(Value::Null),
                    word => Token::Word(word.to_owned()),
                };
                (token, &rest[end..])
            }
            other => return Err(wrong(rest, format!("unexpected {other:?}"))),
        };
        // What fields can be taken from.
        glued = matches!(token, Token::Close | Token::Variable(_));
        found.push(token);
        rest = after;
    }
}

/// Where the text ends that begins with a double quote.
fn quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

struct Tokens<'a> {
    all: &'a [Token],
    at: usize,
    near: &'a str,
}

impl Tokens<'_> {
    fn wrong(&self, why: impl Into<String>) -> TemplateError {
        wrong(self.near, why)
    }

    fn peek(&self) -> Option<&Token> {
        self.all.get(self.at)
    }

    fn finish(&self) -> Result<(), TemplateError> {
        if self.at == self.all.len() { Ok(()) } else { Err(self.wrong("expected `}}`")) }
    }

    /// `$x :=`, or `$i, $x :=` where two may be declared.
    fn declared(&mut self, most: usize) -> Result<Vec<String>, TemplateError> {
        let named = match &self.all[self.at..] {
            [Token::Variable(a), Token::Declare, ..] => vec![a.clone()],
            [Token::Variable(a), Token::Comma, Token::Variable(b), Token::Declare, ..] => vec![a.clone(), b.clone()],
            _ => return Ok(Vec::new()),
        };
        if named.len() > most {
            return Err(self.wrong("too many variables"));
        }
        self.at += named.len() * 2;
        Ok(named)
    }

    /// A pipe that is all of the rest.
    fn whole(&mut self) -> Result<Pipe, TemplateError> {
        let pipe = self.pipe()?;
        self.finish()?;
        Ok(pipe)
    }

    fn pipe(&mut self) -> Result<Pipe, TemplateError> {
        let mut commands = Vec::new();
        loop {
            let mut operands = Vec::new();
            while let Some(operand) = self.operand()? {
                operands.push(operand);
            }
            if operands.is_empty() {
                return Err(self.wrong("there is nothing to show"));
            }
            let head = operands.remove(0);
            if matches!(head, Operand::Literal(_)) && (!operands.is_empty() || !commands.is_empty()) {
                return Err(self.wrong("a constant takes no arguments"));
            }
            commands.push(Command { head, arguments: operands });
            if self.peek() != Some(&Token::Pipe) {
                return Ok(Pipe(commands));
            }
            self.at += 1;
        }
    }

    fn operand(&mut self) -> Result<Option<Operand>, TemplateError> {
        let operand = match self.peek() {
            Some(Token::Literal(value)) => Operand::Literal(value.clone()),
            Some(Token::Dot) => Operand::Path(Root::Dot, Vec::new()),
            Some(Token::Fields { names, .. }) => Operand::Path(Root::Dot, names.clone()),
            Some(Token::Variable(name)) => {
                let root = Root::Variable(name.clone());
                self.at += 1;
                return Ok(Some(Operand::Path(root, self.glued())));
            }
            Some(Token::Word(word)) if functions::exists(word) => Operand::Function(word.clone()),
            Some(Token::Word(word)) => return Err(self.wrong(format!("there is no function `{word}`"))),
            Some(Token::Open) => {
                self.at += 1;
                let pipe = self.pipe()?;
                if self.peek() != Some(&Token::Close) {
                    return Err(self.wrong("expected `)`"));
                }
                self.at += 1;
                return Ok(Some(Operand::Path(Root::Pipe(pipe), self.glued())));
            }
            Some(Token::Close | Token::Pipe) | None => return Ok(None),
            Some(Token::Declare | Token::Assign | Token::Comma) => return Err(self.wrong("expected a value")),
        };
        self.at += 1;
        Ok(Some(operand))
    }

    /// The fields that follow without a space.
    fn glued(&mut self) -> Vec<String> {
        match self.peek() {
            Some(Token::Fields { names, glued: true }) => {
                let names = names.clone();
                self.at += 1;
                names
            }
            _ => Vec::new(),
        }
    }
}

fn wrong(near: &str, why: impl Into<String>) -> TemplateError {
    TemplateError::Syntax { near: near.chars().take(30).collect(), why: why.into() }
}
