//! How a list is shown: as a table, as JSON, or as a template says, with Docker's names of fields (`--format`). Knows nothing
//! of what is listed: rows of cells go in, text comes out.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::render::table::{self, Cell};
use super::template::{Subject, Template, TemplateError};

/// `table`, `table TEMPLATE`, `json`, or a template for each row.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    #[default]
    Table,
    /// Columns that are separated by tabs, under their headings.
    TableOf(Template),
    /// An object a line.
    Json,
    Each(Template),
}

impl FromStr for Format {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        match text.split_once(char::is_whitespace) {
            None if text == "table" || text.is_empty() => Ok(Self::Table),
            None if text == "json" => Ok(Self::Json),
            Some(("table", template)) if template.trim().is_empty() => Ok(Self::Table),
            Some(("table", template)) => Ok(Self::TableOf(template.trim_start().parse()?)),
            _ => Ok(Self::Each(text.parse()?)),
        }
    }
}

/// A field that each row has, and what stands above it in a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub field: &'static str,
    pub heading: &'static str,
}

/// Short for a table of columns.
pub const fn column(field: &'static str, heading: &'static str) -> Column {
    Column { field, heading }
}

/// What can be listed of a kind of thing.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// All fields, in the order of JSON objects.
    pub columns: &'static [Column],
    /// Fields that take a name and are no part of the row's JSON, such as `Label`.
    pub methods: &'static [&'static str],
}

/// One thing of a list: a cell for each column, in their order.
#[derive(Clone, Debug)]
pub struct Row {
    pub cells: Vec<Cell>,
    /// What the kind's methods choose from, in their order.
    pub methods: Vec<Map<String, Value>>,
}

impl Row {
    pub fn new(cells: impl IntoIterator<Item = Cell>) -> Self {
        Self { cells: cells.into_iter().collect(), methods: Vec::new() }
    }

    /// With labels, or whatever else a method chooses from.
    pub fn with<'a>(mut self, choices: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let choices = choices.into_iter().map(|(key, value)| (key.clone(), Value::from(value.as_str())));
        self.methods.push(choices.collect());
        self
    }
}

impl Kind {
    /// Refuses a format that asks for fields which there are not, before anything is fetched.
    pub fn check(&self, format: &Format) -> Result<(), TemplateError> {
        let template = match format {
            Format::Table | Format::Json => return Ok(()),
            Format::TableOf(template) | Format::Each(template) => template,
        };
        match template.render(&self.headings()) {
            // Whatever else is wrong with headings may be right with values.
            Err(error @ (TemplateError::NoField { .. } | TemplateError::NoVariable { .. })) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The rows as text. `shown` are the fields of a plain table.
    pub fn render(&self, rows: &[Row], format: &Format, shown: &[&str], colour: bool) -> Result<String, TemplateError> {
        match format {
            Format::Table => {
                let places: Vec<usize> =
                    shown.iter().filter_map(|field| self.columns.iter().position(|column| column.field == *field)).collect();
                let headings: Vec<&str> = places.iter().map(|place| self.columns[*place].heading).collect();
                let cells = |row: &Row| places.iter().map(|place| row.cells[*place].clone()).collect::<Vec<_>>();
                Ok(table::render_all(&headings, &rows.iter().map(cells).collect::<Vec<_>>(), colour))
            }
            Format::TableOf(template) => {
                let split = |text: String| text.split('\t').map(|cell| Cell::from(cell.trim_end())).collect::<Vec<_>>();
                let lines = rows.iter().map(|row| Ok(split(template.render(&self.subject(row))?)));
                let lines = lines.collect::<Result<Vec<_>, _>>()?;
                let headings = template.render(&self.headings())?;
                let headings: Vec<&str> = headings.split('\t').collect();
                Ok(table::render_all(&headings, &lines, colour))
            }
            Format::Json => Ok(rows.iter().map(|row| format!("{}\n", self.subject(row).fields)).collect()),
            Format::Each(template) => {
                rows.iter().map(|row| template.render(&self.subject(row)).map(|text| format!("{text}\n"))).collect()
            }
        }
    }

    /// One field of each row, a line each: what `--quiet` prints.
    pub fn only(&self, rows: &[Row], field: &str) -> String {
        let place = self.columns.iter().position(|column| column.field == field);
        rows.iter().filter_map(|row| row.cells.get(place?)).map(|cell| format!("{}\n", cell.text())).collect()
    }

    fn subject(&self, row: &Row) -> Subject {
        let fields =
            self.columns.iter().zip(&row.cells).map(|(column, cell)| (column.field.to_owned(), Value::from(cell.text())));
        let methods =
            self.methods.iter().zip(&row.methods).map(|(name, choices)| ((*name).to_owned(), Value::from(choices.clone())));
        Subject { fields: Value::Object(fields.collect()), methods: methods.collect() }
    }

    fn headings(&self) -> Subject {
        let fields = self.columns.iter().map(|column| (column.field.to_owned(), Value::from(column.heading)));
        let methods = self.methods.iter().map(|name| ((*name).to_owned(), Value::Object(Map::new())));
        Subject { fields: Value::Object(fields.collect()), methods: methods.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind =
        Kind { columns: &[column("ID", "THING ID"), column("Names", "NAMES"), column("Size", "SIZE")], methods: &["Label"] };

    fn rows() -> Vec<Row> {
        let labels = std::collections::BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        [["1", "one", "3B"], ["22", "two", "40B"]].map(|row| Row::new(row.map(Cell::from)).with(&labels)).into()
    }

    fn shown(format: &str) -> String {
        let format: Format = format.parse().unwrap();
        KIND.check(&format).unwrap();
        KIND.render(&rows(), &format, &["ID", "Size"], false).unwrap()
    }

    #[test]
    fn a_list_in_each_form() {
        for table in ["", "table", "table  "] {
            assert_eq!(shown(table), "THING ID   SIZE\n1          3B\n22         40B\n");
        }
        assert_eq!(shown("table {{.Names}}\\t{{.ID}}"), "NAMES   THING ID\none     1\ntwo     22\n");
        assert_eq!(
            shown("table {{.ID}}: {{upper .Names}}\t{{.Size}}"),
            "THING ID: NAMES   SIZE\n1: ONE            3B\n22: TWO           40B\n"
        );
        assert_eq!(shown("json").lines().next(), Some(r#"{"ID":"1","Names":"one","Size":"3B"}"#));
        assert_eq!(shown("json"), shown("{{json .}}"));
        assert_eq!(shown("{{.ID}}={{.Label \"k\"}}"), "1=v\n22=v\n");
        assert_eq!(shown("{{index (split .Names \"o\") 1}}").lines().next(), Some("ne"));
        assert_eq!(KIND.only(&rows(), "ID"), "1\n22\n");
    }

    #[test]
    fn fields_that_there_are_not() {
        let format: Format = "{{.Nmae}}".parse().unwrap();
        let error = KIND.check(&format).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("the fields here are .ID, .Names, .Size"));
        assert!("{{.ID".parse::<Format>().is_err());
    }
}
