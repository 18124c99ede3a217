// SPDX-License-Identifier: Apache-2.0
//! As much of HTTP/1.1 (RFC 9112) as a client of `kubectl proxy` needs, over a Unix socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A response: its status code and what is left to read of it.
#[derive(Debug)]
pub(super) struct Response {
    /// 200, 404, ...
    pub(super) status: u16,
    body: BufReader<UnixStream>,
    length: Length,
}

#[derive(Debug, Clone, Copy)]
enum Length {
    Known(u64),
    Chunked,
    UntilClosed,
}

/// One request on a connection of its own.
pub(super) fn send(
    socket: &Path,
    method: &str,
    path: &str,
    content: Option<(&str, &[u8])>,
) -> std::io::Result<Response> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(70)))?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: application/json\r\n"
    );
    if let Some((kind, body)) = content {
        head.push_str(&format!(
            "Content-Type: {kind}\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if let Some((_, body)) = content {
        stream.write_all(body)?;
    }
    receive(BufReader::new(stream))
}

fn receive(mut body: BufReader<UnixStream>) -> std::io::Result<Response> {
    let mut line = String::new();
    body.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no HTTP: {line:?}")))?;
    let mut length = Length::UntilClosed;
    loop {
        line.clear();
        body.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_or(length, Length::Known);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            length = Length::Chunked;
        }
    }
    Ok(Response {
        status,
        body,
        length,
    })
}

impl Response {
    /// All of the body.
    pub(super) fn whole(mut self) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        match self.length {
            Length::Known(len) => {
                (&mut self.body).take(len).read_to_end(&mut out)?;
            }
            Length::UntilClosed => {
                self.body.read_to_end(&mut out)?;
            }
            Length::Chunked => while self.chunk(&mut out)? {},
        }
        Ok(out)
    }

    /// Appends the next chunk; false after the last.
    pub(super) fn chunk(&mut self, out: &mut Vec<u8>) -> std::io::Result<bool> {
        let mut line = String::new();
        self.body.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim_end(), 16)
            .map_err(|_| std::io::Error::other(format!("no chunk: {line:?}")))?;
        (&mut self.body).take(size).read_to_end(out)?;
        line.clear();
        self.body.read_line(&mut line)?;
        Ok(size != 0)
    }
}
