//! Just enough of PostgreSQL's protocol to run a simple query over TCP.
//! Source: PostgreSQL documentation, "Frontend/Backend Protocol", "Message Formats".

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::harness::net;

/// Runs `sql` as user `postgres` (without a password): the first column of every row.
pub(crate) fn query(port: u16, sql: &str) -> io::Result<Vec<String>> {
    let mut stream = net::connect(port)?;
    let mut startup = 196_608u32.to_be_bytes().to_vec();
    startup.extend_from_slice(b"user\0postgres\0database\0postgres\0\0");
    send(&mut stream, None, &startup)?;
    until_ready(&mut stream)?;
    send(&mut stream, Some(b'Q'), format!("{sql}\0").as_bytes())?;
    until_ready(&mut stream)
}

fn send(stream: &mut TcpStream, kind: Option<u8>, body: &[u8]) -> io::Result<()> {
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend_from_slice(&(u32::try_from(body.len()).unwrap() + 4).to_be_bytes());
    message.extend_from_slice(body);
    stream.write_all(&message)
}

/// Reads messages until the server waits for the next query.
fn until_ready(stream: &mut TcpStream) -> io::Result<Vec<String>> {
    let mut rows = Vec::new();
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length - 4];
        stream.read_exact(&mut body)?;
        match head[0] {
            b'Z' => return Ok(rows),
            b'D' => rows.push(first_column(&body)),
            b'E' => return Err(io::Error::other(String::from_utf8_lossy(&body).replace('\0', " "))),
            b'R' if body != [0; 4] => return Err(io::Error::other("the server wants a password")),
            _ => {}
        }
    }
}

/// Two bytes of column count, then each column's length (-1 is NULL) and bytes.
fn first_column(row: &[u8]) -> String {
    let length = i32::from_be_bytes(row[2..6].try_into().unwrap());
    match usize::try_from(length) {
        Ok(length) => String::from_utf8_lossy(&row[6..6 + length]).into_owned(),
        Err(_) => "NULL".to_owned(),
    }
}
