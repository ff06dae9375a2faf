//! From nodes and a subject to text.

use serde_json::{Map, Value};

use super::functions::{call, shown, truth};
use super::parse::{Command, Node, Operand, Pipe, Root};
use super::{Subject, TemplateError};

pub(super) fn render(nodes: &[Node], subject: &Subject) -> Result<String, TemplateError> {
    let mut eval = Eval { subject, variables: vec![(String::new(), subject.fields.clone())], text: String::new() };
    eval.nodes(nodes, &subject.fields)?;
    Ok(eval.text)
}

struct Eval<'a> {
    subject: &'a Subject,
    /// The innermost last.
    variables: Vec<(String, Value)>,
    text: String,
}

impl Eval<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let outside = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(outside);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), TemplateError> {
        match node {
            Node::Text(text) => self.text.push_str(text),
            Node::Print(pipe) => {
                let value = self.pipe(pipe, dot)?;
                self.text.push_str(&shown(&value));
            }
            Node::Set { name, declare, pipe } => {
                let value = self.pipe(pipe, dot)?;
                if *declare {
                    self.variables.push((name.clone(), value));
                } else {
                    let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
                    known.ok_or_else(|| TemplateError::NoVariable { name: name.clone() })?.1 = value;
                }
            }
            Node::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if truth(&self.pipe(condition, dot)?) {
                        return self.nodes(body, dot);
                    }
                }
                self.nodes(otherwise, dot)?;
            }
            Node::With { pipe, variable, body, otherwise } => {
                let value = self.pipe(pipe, dot)?;
                if truth(&value) {
                    self.inside(variable.iter().cloned().zip([value.clone()]), body, &value)?;
                } else {
                    self.nodes(otherwise, dot)?;
                }
            }
            Node::Range { pipe, variables, body, otherwise } => {
                let elements = elements(self.pipe(pipe, dot)?)?;
                if elements.is_empty() {
                    return self.nodes(otherwise, dot);
                }
                for (index, element) in elements {
                    let values = if variables.len() == 2 { vec![index, element.clone()] } else { vec![element.clone()] };
                    self.inside(variables.iter().cloned().zip(values), body, &element)?;
                }
            }
        }
        Ok(())
    }

    fn inside(
        &mut self,
        variables: impl Iterator<Item = (String, Value)>,
        body: &[Node],
        dot: &Value,
    ) -> Result<(), TemplateError> {
        let outside = self.variables.len();
        self.variables.extend(variables);
        self.nodes(body, dot)?;
        self.variables.truncate(outside);
        Ok(())
    }

    fn pipe(&self, pipe: &Pipe, dot: &Value) -> Result<Value, TemplateError> {
        let mut given = None;
        for command in &pipe.0 {
            given = Some(self.command(command, given, dot)?);
        }
        Ok(given.unwrap_or(Value::Null))
    }

    fn command(&self, command: &Command, given: Option<Value>, dot: &Value) -> Result<Value, TemplateError> {
        let values = command.arguments.iter().map(|operand| self.operand(operand, dot));
        let mut arguments = values.collect::<Result<Vec<_>, _>>()?;
        arguments.extend(given);
        match &command.head {
            Operand::Function(name) => call(name, &arguments),
            head => {
                let mut value = self.operand(head, dot)?;
                // A method: what is asked for by name.
                for argument in arguments {
                    value = match (&value, argument.as_str()) {
                        (Value::Object(map), Some(key)) => map.get(key).cloned().unwrap_or_else(|| Value::from("")),
                        _ => return Err(no_arguments(head)),
                    };
                }
                Ok(value)
            }
        }
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Function(name) => call(name, &[]),
            Operand::Path(Root::Dot, names) => self.fields(dot, names),
            Operand::Path(Root::Variable(name), names) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = known.ok_or_else(|| TemplateError::NoVariable { name: format!("${name}") })?;
                self.fields(value, names)
            }
            Operand::Path(Root::Pipe(pipe), names) => {
                let value = self.pipe(pipe, dot)?;
                self.fields(&value, names)
            }
        }
    }

    fn fields(&self, from: &Value, names: &[String]) -> Result<Value, TemplateError> {
        let mut value = from;
        for name in names {
            let known = value.as_object();
            let found = known.and_then(|map| map.get(name));
            // Methods are of the subject itself.
            let found = found.or_else(|| self.subject.methods.get(name).filter(|_| *value == self.subject.fields));
            value = found.ok_or_else(|| no_field(name, known))?;
        }
        Ok(value.clone())
    }
}

fn no_field(name: &str, known: Option<&Map<String, Value>>) -> TemplateError {
    let known = known.map(|map| map.keys().map(|key| format!(".{key}")).collect()).unwrap_or_default();
    TemplateError::NoField { field: format!(".{name}"), known }
}

fn no_arguments(head: &Operand) -> TemplateError {
    let function = match head {
        Operand::Path(_, names) => format!(".{}", names.join(".")),
        Operand::Literal(value) => value.to_string(),
        Operand::Function(name) => name.clone(),
    };
    TemplateError::Function { function, why: "takes no arguments".to_owned() }
}

/// What a range goes through: keys in their order, and what is under them.
fn elements(value: Value) -> Result<Vec<(Value, Value)>, TemplateError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(all) => Ok(all.into_iter().enumerate().map(|(index, element)| (Value::from(index), element)).collect()),
        Value::Object(map) => {
            let mut all: Vec<_> = map.into_iter().collect();
            all.sort_by(|(a, _), (b, _)| a.cmp(b));
            Ok(all.into_iter().map(|(key, element)| (Value::from(key), element)).collect())
        }
        other => Err(TemplateError::Range { what: other.to_string() }),
    }
}
